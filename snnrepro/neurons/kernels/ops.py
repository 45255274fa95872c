"""Fused operations over time, differentiable: `[T, B, *]` in, `[T, B, *]` out, on the CPU (numba) or CUDA (Triton).

Eager calls go through an autograd function; under torch.compile, which cannot look into the kernels, the same is one
opaque operator, snnrepro::fused. Second derivatives are refused.
"""

import importlib
import importlib.util
import os
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from snnrepro.errors import UserError
from snnrepro.neurons.kernels.families import FAMILIES, Gradients, Tensors

# Of each family's tensors, which are over time `[T, B, *]` (t), for each feature `[F]` or one for all (f), or neither.
_KINDS = {
    "resetting": "tf",
    "estimated": "tt",
    "first_crossing": "tf",
    "drawn": "tt",
    "guessed": "t-t",
    "adaptive": "tff",
    "product": "t--",
    "filter": "t--",
}
# Their noise is a function of a neuron's number, so that neurons keep their order.
_IN_ORDER = ("drawn", "guessed")
# The longest product that a GPU's kernel is made and tested for.
LONGEST_PRODUCT = 256

_forked = False


def _after_fork() -> None:
    global _forked
    _forked = True


# GNU OpenMP's threads do not survive a fork, and numba ends a child that asks for them.
os.register_at_fork(after_in_child=_after_fork)


@cache
def _missing(device_type: str) -> str | None:
    """Why there are no kernels for this kind of device."""
    if device_type == "cpu":
        try:
            importlib.import_module("numba.np.ufunc.omppool")
        except ImportError:
            return "numba has no OpenMP here"
        return None
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    return None if device_type == "cuda" else f"no kernels for {device_type}"


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def unserved(device: torch.device) -> str | None:
    """Why the kernels cannot run on this device in this process; None: they can."""
    if device.type == "cpu" and _forked:
        return "in a forked process numba's threads are gone"
    return _missing(device.type)


def name_of(device: torch.device) -> str:
    """What compiles the kernels for a device."""
    return "triton" if device.type == "cuda" else "numba"


def constant(value: float, x: Tensor) -> Tensor:
    """A number `[1]` as a kernel takes one that others learn, at least in fp32, on x's device."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    if torch.compiler.is_compiling():
        return torch.full((1,), value, dtype=dtype, device=x.device)
    return _constant(value, dtype, x.device)


@cache
def _constant(value: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.full((1,), value, dtype=dtype, device=device)


@cache
def _kernel(device_type: str, name: str) -> Any:
    module = "triton_ops" if device_type == "cuda" else "cpu_ops"
    return getattr(importlib.import_module(f"snnrepro.neurons.kernels.{module}"), name)


class _Layout(NamedTuple):
    """How `[T, B, *]` is laid out as `[T, N]`: the order of the dimensions after the first in memory."""

    shape: torch.Size
    order: tuple[int, ...] | None  # None: as they come

    @classmethod
    def of(cls, x: Tensor, keep_order: bool) -> "_Layout":
        if not keep_order and not x.is_contiguous():
            strides = x.stride()
            # As a channels-last network has it: neurons are independent, so that any dense order will do.
            order = (0, *sorted(range(1, x.ndim), key=lambda d: -strides[d]))
            if x.permute(order).is_contiguous():
                return cls(x.shape, order)
        return cls(x.shape, None)

    def flat(self, x: Tensor) -> Tensor:
        """`[T, B, *]` -> `[T, N]`, contiguous."""
        if self.order is not None:
            x = x.permute(self.order)
        if not x.is_contiguous():
            x = x.contiguous()
        return x.view(self.shape[0], self.shape.numel() // self.shape[0])

    def back(self, flat: Tensor) -> Tensor:
        """`[T, N]`, which nobody else holds, becomes `[T, B, *]`: no view of it, so that it may be changed in place."""
        if self.order is None:
            return flat.resize_(self.shape)
        strides = [1] * len(self.shape)
        step = 1
        for d in reversed(self.order):
            strides[d] = step
            step *= max(1, self.shape[d])
        return flat.as_strided_(self.shape, strides)

    def of_neurons(self, parameter: Tensor) -> Tensor:
        """`[F]` -> `[N]`; one for all as it is."""
        if parameter.numel() == 1:
            return parameter
        _, batch, _, *rest = self.shape
        each = parameter.view(1, -1, *[1] * len(rest)).expand(batch, -1, *rest)
        return (each if self.order is None else each.permute([d - 1 for d in self.order[1:]])).reshape(-1)

    def to_features(self, gradient: Tensor) -> Tensor:
        """`[N]` -> `[F]`, summed over samples and places."""
        _, batch, features, *rest = self.shape
        if not gradient.numel():
            return gradient.new_zeros(features)
        sizes = [batch, features, *rest]
        if self.order is not None:
            order = [d - 1 for d in self.order[1:]]
            gradient = gradient.view([sizes[d] for d in order])
            gradient = gradient.permute(sorted(range(len(order)), key=order.__getitem__))
        return gradient.reshape(batch, features, -1).sum((0, 2))


def _laid_out(family: str, tensors: Sequence[Tensor], layout: _Layout) -> Tensors:
    found = list(tensors)
    for i, (tensor, kind) in enumerate(zip(tensors, _KINDS[family], strict=False)):
        if kind == "t" and tensor.shape == layout.shape:
            found[i] = layout.flat(tensor)
        elif kind == "f":
            found[i] = layout.of_neurons(tensor)
    return found


def _forward(
    family: str, tensors: Sequence[Tensor], settings: Any, layout: _Layout
) -> tuple[Tensors, Tensors, Tensors]:
    """Outputs as the family gives them but the first in its shape, the tensors as laid out, and what backward keeps."""
    flat = _laid_out(family, tensors, layout)
    first, *others = _kernel(tensors[0].device.type, f"{family}_forward")(flat, settings)
    layout.back(first)
    return ([first, *others], flat, []) if family == "guessed" else ([first], flat, others)


def _backward(
    family: str, grads: Sequence[Tensor], flat: Tensors, settings: Any, layout: _Layout, needs: list[bool],
    shapes: Sequence[torch.Size],
) -> Gradients:  # fmt: skip
    """Gradients in the shapes of the tensors; None where not needed."""
    upstream = [layout.flat(grads[0]), *(g.contiguous() for g in grads[1:])]
    found = _kernel(flat[0].device.type, f"{family}_backward")(upstream, flat, settings, needs)
    kinds = _KINDS[family]
    back: Gradients = []
    for i, (gradient, shape) in enumerate(zip(found, shapes, strict=True)):
        if gradient is None or not needs[i]:
            back.append(None)
        elif shape == layout.shape:
            back.append(layout.back(gradient))
        elif i < len(kinds) and kinds[i] == "f" and gradient.numel() != 1:
            back.append(layout.to_features(gradient).view(shape))
        else:
            back.append(gradient.reshape(shape))
    return back


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, family: str, settings: Any, *tensors: Tensor) -> Any:
        layout = _Layout.of(tensors[0], family in _IN_ORDER)
        outputs, flat, kept = _forward(family, tensors, settings, layout)
        ctx.call = family, settings, layout, list(ctx.needs_input_grad[2:]), [tensor.shape for tensor in tensors]
        ctx.save_for_backward(*flat, *kept)
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        family, settings, layout, needs, shapes = ctx.call
        with torch.no_grad():
            found = _backward(family, grads, list(ctx.saved_tensors), settings, layout, needs, shapes)
        if torch.is_grad_enabled():  # a graph is made of the gradients
            anchor = grads[0].new_zeros((), requires_grad=True)
            found = [None if g is None else _Refuse.apply(g, anchor) for g in found]  # type: ignore[no-untyped-call]
        return None, None, *found


class _Refuse(torch.autograd.Function):
    """A gradient of which no further one can be taken: without this it would silently be 0."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, anchor: Tensor) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, None]:
        raise UserError("a fused kernel has no second derivative; a neuron with backend: torch or reference has")


def fused(family: str, tensors: Sequence[Tensor], settings: Any) -> Tensors:
    """The outputs of a family (families.py), tensors over time `[T, B, *]`, values for each feature `[F]`."""
    if torch.compiler.is_compiling():
        return list(_fused_op(family, list(tensors), [float(value) for value in settings]))
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        outputs = _Fused.apply(family, settings, *tensors)  # type: ignore[no-untyped-call]
        return [outputs] if isinstance(outputs, Tensor) else list(outputs)
    with torch.no_grad():
        return _forward(family, tensors, settings, _Layout.of(tensors[0], family in _IN_ORDER))[0]


def _settings(family: str, numbers: Sequence[float]) -> Any:
    kind = FAMILIES[family]
    types = kind.__annotations__.values()
    return kind(*(of(number) for of, number in zip(types, numbers, strict=True)))


@torch.library.custom_op("snnrepro::fused", mutates_args=())
def _fused_op(family: str, tensors: Sequence[Tensor], numbers: Sequence[float]) -> list[Tensor]:
    settings = _settings(family, numbers)
    if family == "product":
        settings = settings._replace(keep=False)  # of one output, whoever calls
    return _forward(family, tensors, settings, _Layout(tensors[0].shape, None))[0]


@_fused_op.register_fake
def _(family: str, tensors: Sequence[Tensor], numbers: Sequence[float]) -> list[Tensor]:
    x, settings = tensors[0], _settings(family, numbers)
    outputs = [x.new_empty(x.shape)]
    if family == "guessed":
        outputs.append(x.new_empty((len(x) - settings.current) * settings.errors))
    return outputs


@torch.library.custom_op("snnrepro::fused_backward", mutates_args=())
def _fused_backward_op(
    family: str, grads: Sequence[Tensor], tensors: Sequence[Tensor], numbers: Sequence[float], needs: Sequence[bool]
) -> list[Tensor]:
    """A gradient for each tensor, of no elements where it is not needed."""
    layout = _Layout(tensors[0].shape, None)
    shapes, flat = [tensor.shape for tensor in tensors], _laid_out(family, tensors, layout)
    found = _backward(family, grads, flat, _settings(family, numbers), layout, list(needs), shapes)
    # What is over time is memory of its own; the sums may be views of one, which an operator must not return.
    return [
        t.new_empty(0) if g is None else g if g.shape == layout.shape else g.to(t.dtype).clone()
        for g, t in zip(found, tensors, strict=True)
    ]


@_fused_backward_op.register_fake
def _(
    family: str, grads: Sequence[Tensor], tensors: Sequence[Tensor], numbers: Sequence[float], needs: Sequence[bool]
) -> list[Tensor]:
    return [t.new_empty(t.shape if need else (0,)) for t, need in zip(tensors, needs, strict=True)]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    family, tensors, numbers = inputs
    ctx.family, ctx.numbers = family, numbers
    ctx.output_shapes = [o.shape for o in output]
    ctx.save_for_backward(*tensors)


def _differentiate(ctx: Any, grads: list[Tensor | None]) -> tuple[None, list[Tensor | None], None]:
    tensors = list(ctx.saved_tensors)
    x = tensors[0]
    upstream = [x.new_zeros(s) if g is None else g for g, s in zip(grads, ctx.output_shapes, strict=True)]
    needs = [tensor.is_floating_point() for tensor in tensors]
    found = _fused_backward_op(ctx.family, upstream, tensors, ctx.numbers, needs)
    return None, [g if need else None for g, need in zip(found, needs, strict=True)], None


_fused_op.register_autograd(_differentiate, setup_context=_keep)
