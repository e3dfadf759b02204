"""What the world does to a run (full disks, no memory, lost processes), told from our own faults and said in a line."""

from pathlib import Path

import pytorch_lightning as pl
import torch

from moganet.errors import OutputError, TrainingError
from moganet.files import FULL_ERRORS, PLACE_ERRORS

# What torch's and oneDNN's allocators say on a CPU, and the system when it can't start a process.
NO_MEMORY = (
    *("can't allocate memory", "could not create a primitive", "could not create a memory", "Cannot allocate memory"),
)
# What gloo and NCCL say when the other end of a connection is gone.
LOST_CONNECTION = (
    *("Connection closed by peer", "Connection reset by peer", "Broken pipe", "pair closure"),
    *("remote process exited", "Socket Timeout", "Connection refused", "imed out"),
)


class OutOfMemory(Exception):  # noqa: N818 (it is caught, and a smaller step tried)
    """A step did not fit the device's memory."""


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that more memory was asked for than there is."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(sign in str(error) for sign in NO_MEMORY)


def explained(error: OSError | RuntimeError | MemoryError, trainer: pl.Trainer, out: Path, how: str) -> Exception:
    """Give the one-line error of what happened to a run in `out`; our own faults stay what they are.

    how: what to do to go on.
    """
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and (
        error.errno in FULL_ERRORS or (error.errno in PLACE_ERRORS and str(error.filename or "").startswith(str(out)))
    ):
        return OutputError(f"can't write in {out}: {error.strerror}; mend that, then {how}")
    if is_out_of_memory(error):
        return OutOfMemory(text.partition(".")[0] or "no memory")
    if trainer.world_size > 1 and (
        isinstance(error, torch.distributed.DistError) or any(sign in text for sign in LOST_CONNECTION)
    ):
        return TrainingError(f"another process of this job is gone, or never came; {how}")
    return error
