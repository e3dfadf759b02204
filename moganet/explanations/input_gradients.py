"""Where a network's answer is sensitive to its input: averaged input gradients (SmoothGrad, Smilkov et al. 2017)."""

import torch
from torch import Tensor, nn

SAMPLES = 6
NOISE = 0.1  # of an image's range
BATCH = 8  # images at a time


def input_gradients(network: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """Give maps (B, H, W) of how strongly each pixel moves the target's logit.

    images: preprocessed, (B, C, H, W). targets: class indices (B,). The network is left as it was.
    """
    generator = torch.Generator().manual_seed(0)
    maps = []
    for x, target in zip(torch.split(images, BATCH), torch.split(targets, BATCH), strict=True):
        spread = NOISE * (x.amax((1, 2, 3), keepdim=True) - x.amin((1, 2, 3), keepdim=True))
        total = torch.zeros_like(x[:, 0])
        for _ in range(SAMPLES):
            noise = torch.randn(x.shape, generator=generator).to(x.device)
            noisy = (x + spread * noise).requires_grad_()
            with torch.enable_grad():
                chosen = network(noisy).gather(1, target[:, None]).sum()
                (gradient,) = torch.autograd.grad(chosen, noisy)
            total += gradient.abs().amax(1)
        maps.append(total / SAMPLES)
    return torch.cat(maps)
