"""Methods that read gradients: saliency with SmoothGrad, and with captum integrated gradients and Grad-CAM."""

from typing import Any

import torch
from torch import Tensor, nn

from moganet.errors import ConfigError
from moganet.explanations.method import Explanation, as_found, check_inputs, need

FEW = (6, 0.1, 8, 0)  # copies, their noise, batch size, seed: what a page of many images has time for
FEWEST = 4  # places on a side that a stage's map must have to be chosen by itself


def integrated_gradients(
    model: nn.Module, images: Tensor, targets: Tensor, *, steps: int = 50, batch_size: int = 8
) -> list[Explanation]:
    """Add up the gradients on the way from the mean colour to the image, times the way (Sundararajan et al. 2017).

    A map sums to the target's score less that of a plane in the data set's mean colour, but for `completeness_gap`,
    which shrinks with more `steps`.
    """
    check_inputs(images, targets)
    method, found = need("captum.attr").IntegratedGradients(model), []
    how = {"n_steps": steps, "internal_batch_size": batch_size, "return_convergence_delta": True}
    with as_found(model) as device:
        for image, target in zip(images.to(device), targets.tolist(), strict=True):
            given, gap = method.attribute(image[None], torch.zeros_like(image[None]), target, **how)
            details = {"steps": steps, "completeness_gap": abs(gap.item())}
            found.append(Explanation(given[0].detach().sum(0).float().cpu(), details))
    return found


def saliency(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    *,
    copies: int = 25,
    noise: float = 0.15,
    batch_size: int = 8,
    seed: int = 0,
) -> list[Explanation]:
    """Give the gradient's size, averaged over noisy copies of the image (SmoothGrad, Smilkov et al. 2017).

    noise: its standard deviation as a fraction of the image's range. copies=0 is the plain gradient (Simonyan et al.
    2014). A map is the largest absolute value among the channels.
    """
    check_inputs(images, targets)
    details: dict[str, Any] = {"copies": copies, "noise": noise if copies else 0.0}
    found, how = [], (copies, noise, batch_size, seed)
    with as_found(model) as device:
        for image, target in zip(images.to(device), targets.tolist(), strict=True):
            gradient = _noisy_gradients(model, image, target, how).mean(0)
            found.append(Explanation(gradient.abs().amax(0).float().cpu(), details))
    return found


def input_gradients(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """Give maps (B, H, W) of how strongly each pixel moves the target's logit: sizes of a few copies' gradients."""
    with as_found(model):
        found = [_noisy_gradients(model, *one, FEW) for one in zip(images, targets.tolist(), strict=True)]
    return torch.stack([gradients.abs().amax(1).mean(0) for gradients in found])


def _noisy_gradients(model: nn.Module, image: Tensor, target: int, how: tuple[int, float, int, int]) -> Tensor:
    """Give the target's gradients (copies, C, H, W) at noisy copies of an image (C, H, W), or its own (1, C, H, W)."""
    copies, noise, batch_size, seed = how
    generator = torch.Generator().manual_seed(seed)
    found: list[Tensor] = []
    spread = noise * (image.max() - image.min()) if copies else torch.zeros(())
    for some in torch.split(torch.empty(max(1, copies), 0), batch_size):
        drawn = torch.randn((len(some), *image.shape), generator=generator).to(image)
        noisy = (image + spread * drawn).requires_grad_()
        found += torch.autograd.grad(model(noisy)[:, target].sum(), noisy)
    return torch.cat(found)


def gradcam(
    model: nn.Module, images: Tensor, targets: Tensor, *, stage: int | None = None, batch_size: int = 8
) -> list[Explanation]:
    """Weigh a stage's map by its mean gradients and keep what speaks for the target (Selvaraju et al. 2017).

    stage: counted from 1; None is the last whose map has 4 by 4 places or more, since fewer show nothing. The map is
    brought to the image's resolution (bilinear).
    Raises ConfigError for a network that does not name its stages (timm's `feature_info`), or has no such stage.
    """
    check_inputs(images, targets)
    captum, found = need("captum.attr"), []
    stage, layer = _layer(model, stage, min(images.shape[2:]))
    with as_found(model) as device:
        method = captum.LayerGradCam(model, layer)
        for start in range(0, len(images), batch_size):
            x = images[start : start + batch_size].to(device).clone().requires_grad_()
            target = targets[start : start + batch_size].to(device)
            given = method.attribute(x, target=target, relu_attributions=True)  # (B, 1, h, w)
            size = [int(side) for side in given.shape[2:]]
            maps = captum.LayerAttribution.interpolate(given.detach().float(), x.shape[2:], "bilinear")[:, 0].cpu()
            found += [Explanation(one, {"stage": stage, "stage_size": size}) for one in maps]
    return found


def _layer(model: nn.Module, stage: int | None, side: int) -> tuple[int, nn.Module]:
    stages: Any = getattr(model, "feature_info", None)
    if not stages:
        raise ConfigError(f"{type(model).__name__} does not name its stages; gradcam needs a MogaNet or a timm network")
    if stage is None:
        fine = [n for n in range(1, len(stages) + 1) if side >= FEWEST * stages[n - 1]["reduction"]]
        stage = max(fine, default=1)
    if not 1 <= stage <= len(stages):
        raise ConfigError(f"there is no stage {stage}; choose 1 to {len(stages)}")
    return stage, model.get_submodule(stages[stage - 1]["module"])
