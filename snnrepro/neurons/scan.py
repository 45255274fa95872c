"""The exponential kernel in linear time: y[t] = decay y[t-1] + gain x[t].

Shapes: x, y `[T, B, *]`; decay a number or `[F, 1, ...]`, broadcasting to one step `[B, *]`; initial `[B, *]`.
Cost and memory grow linearly in T. Nothing is rescaled by decay^-t, so that decay 0, 0.01 and 1 are exact at any T.
"""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

Decay = float | Tensor

# A narrow sequence longer than twice this is scanned in blocks of this many steps, all blocks at once, so that the
# number of calls grows with the block, not with T. A wide one is bound by memory: one pass, step after step.
BLOCK = 64
WIDE = 2**13


def exponential_kernel(num_steps: int, decay: float, like: Tensor) -> Tensor:
    """K `[T, T]`, K[i, j] = decay^(i-j) for j <= i, else 0, in the dtype and on the device of `like`."""
    t = torch.arange(num_steps, device=like.device)
    lag = t[:, None] - t[None, :]
    # No negative lag is raised to a power: it would overflow at long T.
    powers = torch.pow(torch.tensor(decay, dtype=like.dtype, device=like.device), lag.clamp(min=0))
    return powers * (lag >= 0)


def exponential_scan_dense(x: Tensor, decay: float, gain: float = 1.0) -> Tensor:
    """The same as a T x T product over time: the papers' form, quadratic in T."""
    kernel = exponential_kernel(x.shape[0], decay, x) * gain
    return (kernel @ x.flatten(1)).view(x.shape)


def scan_or_dense(num_steps: int, device: torch.device) -> str:
    """Which form `auto` takes: the scan (`torch`), but on a GPU `dense` for a short sequence.

    A step of the scan would be a launch each there.
    """
    return "dense" if device.type == "cuda" and num_steps <= 256 else "torch"


def exponential_scan(x: Tensor, decay: Decay, gain: float = 1.0, initial: Tensor | None = None) -> Tensor:
    """y `[T, B, *]` with y[t] = decay y[t-1] + gain x[t] and y[-1] = initial, or 0.

    decay from 0 to 1; a tensor of its own for each feature receives a gradient, as x and initial do; gain is then not
    0. What follows an infinite x is infinite or NaN.
    """
    if torch.compiler.is_compiling():
        learned, fixed = (decay, 0.0) if isinstance(decay, Tensor) else (None, decay)
        opaque: Tensor = _scan_op(x, learned, fixed, gain, initial)
        return opaque
    y: Tensor = _Scan.apply(x, decay, gain, initial)  # type: ignore[no-untyped-call]
    return y


def _forward(x: Tensor, decay: Decay, gain: float, initial: Tensor | None, reverse: bool = False) -> Tensor:
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    if y[0].numel() <= WIDE:
        torch.mul(x, gain, out=y)
        if initial is not None:
            _add(y[0], initial, decay)
        _scan_in_place(y, decay, reverse)
        return y
    # Scaled and added step by step, while the step is in the cache.
    previous = initial
    steps = list(zip(x.unbind(0), y.unbind(0), strict=True))
    for current, out in reversed(steps) if reverse else steps:
        torch.mul(current, gain, out=out)
        if previous is not None:
            _add(out, previous, decay)
        previous = out
    return y


def _backward(g: Tensor, y: Tensor | None, decay: Decay, gain: float, initial: Tensor | None) -> tuple[Any, ...]:
    """Gradients to x, decay (where y is given) and initial (where there is one)."""
    to_x = _forward(g, decay, gain, None, reverse=True)
    to_decay = None
    if y is not None and isinstance(decay, Tensor):
        each = (to_x[1:] * y[:-1]).sum(0)
        to_decay = (each if initial is None else each + to_x[0] * initial).sum_to_size(decay.shape) / gain
    to_initial = None if initial is None else to_x[0] * decay / gain
    return to_x, to_decay, to_initial


class _Scan(torch.autograd.Function):
    """The scan in eager mode. y is kept only where the decay is learned: its gradient is the one that needs it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, decay: Decay, gain: float, initial: Tensor | None) -> Tensor:
        y = _forward(x, decay, gain, initial)
        learned = isinstance(decay, Tensor)
        ctx.decay, ctx.gain = None if learned else decay, gain
        ctx.save_for_backward(initial, *((decay, y) if learned else ()))
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        initial, *learned = ctx.saved_tensors
        decay, y = learned or (ctx.decay, None)
        to_x, to_decay, to_initial = _backward(gradients[0], y, decay, ctx.gain, initial)
        return to_x, to_decay, None, to_initial


# The same as one opaque call for torch.compile, which loses the gradient of a Function that writes to its output in
# place (torch 2.11). In eager mode the Function costs 20 microseconds less a call.
@torch.library.custom_op("snnrepro::exponential_scan", mutates_args=())
def _scan_op(x: Tensor, learned: Tensor | None, fixed: float, gain: float, initial: Tensor | None) -> Tensor:
    return _forward(x, fixed if learned is None else learned, gain, initial)


@_scan_op.register_fake
def _(x: Tensor, learned: Tensor | None, fixed: float, gain: float, initial: Tensor | None) -> Tensor:
    return torch.empty(x.shape, dtype=x.dtype, device=x.device)


@torch.library.custom_op("snnrepro::exponential_scan_backward", mutates_args=())
def _scan_backward_op(
    g: Tensor, y: Tensor | None, learned: Tensor | None, fixed: float, gain: float, initial: Tensor | None
) -> list[Tensor]:
    """Gradients to x, learned and initial; an empty tensor for one that is not there."""
    found = _backward(g, y, fixed if learned is None else learned, gain, initial)
    return [g.new_empty(0) if part is None else part for part in found]


@_scan_backward_op.register_fake
def _(
    g: Tensor, y: Tensor | None, learned: Tensor | None, fixed: float, gain: float, initial: Tensor | None
) -> list[Tensor]:
    parts = [learned, initial]
    return [g.new_empty(g.shape), *(g.new_empty(0 if part is None else part.shape) for part in parts)]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, learned, ctx.fixed, ctx.gain, initial = inputs
    ctx.save_for_backward(learned, initial, output if learned is not None else None)


def _differentiate(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
    learned, initial, y = ctx.saved_tensors
    to_x, to_decay, to_initial = _scan_backward_op(g, y, learned, ctx.fixed, ctx.gain, initial)
    return to_x, None if learned is None else to_decay, None, None, None if initial is None else to_initial


_scan_op.register_autograd(_differentiate, setup_context=_keep)


def _scan_in_place(y: Tensor, decay: Decay, reverse: bool) -> None:
    """y[t] += decay y[t-1] for t = 1, 2, ..., T-1; reverse: y[t] += decay y[t+1] for t = T-2, ..., 0."""
    num_steps = y.shape[0]
    if num_steps <= 2 * BLOCK or y[0].numel() > WIDE:
        _chain(y.unbind(0), decay, reverse)
        return
    blocks = num_steps // BLOCK
    whole = blocks * BLOCK
    body = torch.unflatten(y[num_steps - whole :] if reverse else y[:whole], 0, (blocks, BLOCK))
    steps = body.unbind(1)  # step i of every block
    _chain(steps, decay, reverse)
    ends = steps[0 if reverse else -1]
    _scan_in_place(ends, decay**BLOCK, reverse)
    for i in range(1, BLOCK) if reverse else range(BLOCK - 1):
        away = BLOCK - i if reverse else i + 1  # steps from the neighbouring block's end
        here, carry = (steps[i][:-1], ends[1:]) if reverse else (steps[i][1:], ends[:-1])
        _add(here, carry, decay**away)
    rest = y[: num_steps - whole + 1] if reverse else y[whole - 1 :]
    _chain(rest.unbind(0), decay, reverse)


def _chain(steps: tuple[Tensor, ...], decay: Decay, reverse: bool) -> None:
    for previous, current in pairwise(reversed(steps) if reverse else steps):
        _add(current, previous, decay)


def _add(to: Tensor, other: Tensor, factor: Decay) -> None:
    if isinstance(factor, Tensor):
        to.addcmul_(other, factor)
    else:
        to.add_(other, alpha=factor)
