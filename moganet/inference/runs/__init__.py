"""What answers: a callable from arrays to named arrays. Here are those that need no torch, a file a runtime."""

from typing import Protocol

from moganet.tasks.task import Array, Outputs


class Run(Protocol):
    """Float images (B, C, H, W), or of a raw graph uint8 (B, H, W, C), to outputs by name, a row an image."""

    def __call__(self, images: Array) -> Outputs: ...


__all__ = ["Array", "Outputs", "Run"]
