"""From an image to an input over time; each function is the one place where its time axis is made.

Shapes: images `[1, B, C, H, W]`, float; output `[T, B, *]`, of the same dtype, on the same device. Spikes are 0 or 1.
"""

import numpy as np
import torch
from torch import Tensor

from snnrepro.errors import UserError, require_positive


def repeat(images: Tensor, num_steps: int) -> Tensor:
    """The same image at every step, `[T, B, C, H, W]`, as a view without copies ("direct encoding").

    Raises UserError for num_steps below 1.
    """
    require_positive(num_steps=num_steps)
    return images.expand(num_steps, *images.shape[1:])


def columns(images: Tensor) -> Tensor:
    """One image column a step, left to right: `[W, B, C, H]` (sequential CIFAR of the PSN paper)."""
    return images.squeeze(0).permute(3, 0, 1, 2).contiguous()


def rows(images: Tensor) -> Tensor:
    """One image row a step, top to bottom: `[H, B, C, W]`."""
    return images.squeeze(0).permute(2, 0, 1, 3).contiguous()


def pixels(images: Tensor, order: Tensor | None = None) -> Tensor:
    """One pixel a step, `[H*W, B, C]`: row by row (sequential MNIST), or pixel `order[t]` at step t (permuted MNIST).

    order: `[H*W]` int64, see `pixel_order`. Raises UserError where it is no permutation of the pixels.
    """
    steps = images.squeeze(0).flatten(2).permute(2, 0, 1)
    if order is None:
        return steps.contiguous()
    num_pixels = len(steps)
    if order.dtype != torch.int64 or not torch.equal(order.sort().values.cpu(), torch.arange(num_pixels)):
        raise UserError(f"the order of pixels must hold each of 0 to {num_pixels - 1} once: take pixel_order")
    return steps[order.to(steps.device)].contiguous()


def pixel_order(num_pixels: int, seed: int) -> Tensor:
    """The permutation of permuted MNIST, `[num_pixels]` int64: one for each seed, the same on every machine."""
    require_positive(num_pixels=num_pixels)
    return torch.from_numpy(np.random.default_rng(seed).permutation(num_pixels))


def rate(intensity: Tensor, num_steps: int, generator: torch.Generator | None = None) -> Tensor:
    """Bernoulli spikes, P(spike) = intensity at every step, independent over steps: the field's "Poisson" coding.

    intensity: `[1, B, *]` in [0, 1], clipped to it. generator: on the intensity's device; default torch's own there.
    Raises UserError for num_steps below 1.
    """
    require_positive(num_steps=num_steps)
    chance = intensity.clamp(0, 1).expand(num_steps, *intensity.shape[1:])
    return torch.bernoulli(chance, generator=generator)


def latency(intensity: Tensor, num_steps: int) -> Tensor:
    """Every pixel spikes once, at step floor((1 - intensity) (T - 1)): the brightest first, black at the last step.

    intensity: `[1, B, *]` in [0, 1], clipped to it. Raises UserError for num_steps below 1.
    Source: second version of Block, arXiv 2205.15286.
    """
    require_positive(num_steps=num_steps)
    return _spike_at((1 - intensity.double().clamp(0, 1)) * (num_steps - 1), intensity, num_steps)


def latency_v1(byte_values: Tensor, num_steps: int) -> Tensor:
    """When a leaky integrator fed by a pixel first reaches its threshold: step round(20000 ln(x / (x - 0.2))).

    byte_values: x `[1, B, *]` from 0 to 255. A step is 1 ms. Byte 255 spikes at step 16, byte 41 at step 98; no spike
    where the step would be num_steps or later, nor at 0 (in general: x up to 0.2).
    Raises UserError for num_steps below 1. Source: released code of Block's first version, arXiv 2205.15286.
    """
    require_positive(num_steps=num_steps)
    x = byte_values.double()  # x / (x - 0.2) is so near 1 that float32 leaves its logarithm four digits
    return _spike_at(torch.where(x > 0.2, 20_000 * torch.log(x / (x - 0.2)), torch.inf).round(), byte_values, num_steps)


def _spike_at(step: Tensor, like: Tensor, num_steps: int) -> Tensor:
    """1 at the whole part of `step` `[1, B, *]`, nothing where that is num_steps or later; dtype of `like`."""
    spikes = torch.zeros(num_steps, *like.shape[1:], dtype=like.dtype, device=like.device)
    index = step.clamp(max=num_steps - 1).long()
    return spikes.scatter_(0, index, (step < num_steps).to(like.dtype))


def delta(sequence: Tensor, threshold: float) -> Tensor:
    """Send-on-delta: `[T, B, C, *]` -> `[T, B, 2C, *]`, rises in channels 0 to C-1, falls in C to 2C-1.

    Each element keeps a reference, at first its value at step 0 (no spike). A value at least `threshold` (in units of
    the sequence) above or below the reference spikes once and becomes the reference.
    Raises UserError for a threshold that is not above 0.
    """
    require_positive(threshold=threshold)
    num_steps, batch, channels, *rest = sequence.shape
    spikes = sequence.new_zeros(num_steps, batch, 2 * channels, *rest)
    rises, falls = spikes.chunk(2, dim=2)
    reference = sequence[0]
    for t in range(1, num_steps):
        change = sequence[t] - reference
        up, down = change >= threshold, change <= -threshold
        rises[t], falls[t] = up, down
        reference = torch.where(up | down, sequence[t], reference)
    return spikes
