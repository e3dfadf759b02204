"""Occlusion: what the score loses where a window is covered (Zeiler and Fergus 2014; captum)."""

import torch
from torch import Tensor

from moganet.errors import ConfigError
from moganet.explanations.method import Explanation, Scores, check_inputs, need, score_of

WINDOWS_A_SIDE = 8


def occlusion(
    model: Scores, images: Tensor, targets: Tensor, *, window: int | None = None, batch_size: int = 32
) -> list[Explanation]:
    """Cover the image with a sliding window in the mean colour; a pixel's value is the mean loss of its windows.

    window: its side in pixels [an eighth of the shorter side]; it moves by half of that.
    """
    check_inputs(images, targets)
    if window is not None and window < 1:
        raise ConfigError(f"window is {window}; it must be at least 1 pixel")
    captum, found = need("captum.attr"), []
    height, width = images.shape[2:]
    side = min(height, width, window or max(1, min(height, width) // WINDOWS_A_SIDE))
    stride = max(1, side // 2)
    number = (1 + -(-(height - side) // stride)) * (1 + -(-(width - side) // stride))
    windows, strides = ((images.shape[1], length, length) for length in (side, stride))
    for image, target in zip(images, targets.tolist(), strict=True):
        method = captum.Occlusion(lambda x, target=target: score_of(model, x, target))
        with torch.no_grad():
            given = method.attribute(image[None], windows, strides, 0, perturbations_per_eval=batch_size)
        found.append(Explanation(given[0].mean(0).float().cpu(), {"window": side, "stride": stride, "samples": number}))
    return found
