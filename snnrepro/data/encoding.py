"""From an image to an input over time; each function is the one place where its time axis is made.

Shapes: images `[1, B, C, H, W]`, float; output `[T, B, *]`.
"""

from torch import Tensor


def repeat(images: Tensor, num_steps: int) -> Tensor:
    """The same image at every step, `[T, B, C, H, W]`, as a view without copies ("direct encoding")."""
    return images.expand(num_steps, *images.shape[1:])


def columns(images: Tensor) -> Tensor:
    """One image column a step, left to right: `[W, B, C, H]` (sequential CIFAR of the PSN paper)."""
    return images.squeeze(0).permute(3, 0, 1, 2).contiguous()
