"""The PaddlePaddle port's `.pdparams`: a pickled dict of numpy arrays, read so that nothing in it can run."""

import pickle
import re
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from moganet.errors import WeightsError
from moganet.weights.checkpoint import Checkpoint

BOOKKEEPING = "StructuredToParameterName@@"
ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("_codecs", "encode"),
}
# The port's names against the reference's, applied in this order.
RENAMES = (
    (r"^patch_embed1\.norm\.", "patch_embed1.projection.4."),
    (r"^(patch_embed\d)\.proj\.", r"\1.projection."),
    (r"\.attn\.proj([12])\.", r".attn.proj_\1."),
    (r"\.value\.dwconv(\d)\.", r".value.DW_conv\1."),
    (r"\.value\.pwconv\.", ".value.PW_conv."),
    (r"\.ffn\.", ".mlp."),
    (r"\.layer_scales?_?([12])$", r".layer_scale_\1"),
    (r"\._mean$", ".running_mean"),
    (r"\._variance$", ".running_var"),
)


class _ArrayUnpickler(pickle.Unpickler):
    """Admits numpy's array reconstruction and nothing else, so that a file can't run code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module, name)


def load_arrays(file: IO[bytes], path: Path) -> dict[str, np.ndarray]:
    """Unpickle a dict of arrays. Raises WeightsError for anything else, nothing of it having run."""
    try:
        content = _ArrayUnpickler(file).load()
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise WeightsError(
            f"{path} is no dict of plain arrays, as .pdparams files are ({error}); nothing was run"
        ) from None
    if not isinstance(content, dict):
        raise WeightsError(f"{path} holds a {type(content).__name__}, not a dict of arrays")
    return {str(name): array for name, array in content.items() if isinstance(array, np.ndarray)}


def is_paddle(content: Any) -> bool:
    """Tell whether a loaded dict has this format's keys."""
    return isinstance(content, dict) and isinstance(content.get("patch_embed1.proj.0.weight"), np.ndarray)


def read_paddle(arrays: dict[str, np.ndarray]) -> Checkpoint:
    """Read a dict of arrays. The port computes the channel aggregation without `decompose`, and so does the result."""
    state: dict[str, Tensor] = {}
    for name, array in arrays.items():
        for pattern, replacement in RENAMES:
            name = re.sub(pattern, replacement, name)
        tensor = torch.from_numpy(np.array(array))
        state[name] = tensor.T.contiguous() if name == "head.weight" else tensor  # Paddle's Linear is (in, out)
    reason = "plain weights; the port's function, whose channel aggregation leaves `decompose` unused"
    return Checkpoint("paddle", state, "single", "paddle", "plain", reason)
