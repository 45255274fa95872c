"""Spikes forward, a surrogate gradient backward.

The spike is a step function of the distance u = h - v_threshold; backward, the step's derivative is replaced by
g(u), the derivative of a smooth primitive G(u). With `learnable=True` the width alpha is trained by dG/dalpha, which
is what the PSU code does with its ATan (arXiv 2402.00449).
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from snnrepro.errors import UserError, did_you_mean, require_positive
from snnrepro.neurons.kernels.families import CODES

Alpha = float | Tensor


class _Shape(NamedTuple):
    derivative: Callable[[Tensor, Alpha], Tensor]  # g = dG/du, a tensor of its own that may be overwritten
    alpha_ratio: Callable[[Tensor, Alpha], Tensor]  # (dG/dalpha) / g
    default_alpha: float


def _atan(u: Tensor, alpha: Alpha) -> Tensor:
    return (u * (math.pi / 2 * alpha)).square_().add_(1).reciprocal_().mul_(alpha / 2)


def _sigmoid(u: Tensor, alpha: Alpha) -> Tensor:
    y = torch.sigmoid(alpha * u)
    return (1 - y).mul_(y).mul_(alpha)


def _triangle(u: Tensor, alpha: Alpha) -> Tensor:
    return (u.abs() * -alpha).add_(1).clamp_(min=0).mul_(alpha)


def _rectangle(u: Tensor, alpha: Alpha) -> Tensor:
    return ((alpha * u).abs() < 0.5).to(u.dtype).mul_(alpha)


def _fast_sigmoid(u: Tensor, alpha: Alpha) -> Tensor:
    return (u.abs() * alpha).add_(1).square_().reciprocal_()


def _exponential(u: Tensor, alpha: Alpha) -> Tensor:
    return (u.abs() * -alpha).exp_().mul_(alpha / 2)


def _of_scaled(u: Tensor, alpha: Alpha) -> Tensor:
    """For the family G(u) = Phi(alpha u): dG/dalpha = u phi, g = alpha phi."""
    return u / alpha


SHAPES: dict[str, _Shape] = {
    # g = alpha / (2 (1 + (pi/2 alpha u)^2)): PSN and PSU, alpha 2.
    "atan": _Shape(_atan, _of_scaled, 2.0),
    # g = alpha y (1 - y), y = sigmoid(alpha u).
    "sigmoid": _Shape(_sigmoid, _of_scaled, 4.0),
    # g = max(0, alpha - alpha^2 |u|): PSU's QGate with alpha 2, MPE-PSN's triangle with alpha 1.
    "triangle": _Shape(_triangle, _of_scaled, 1.0),
    # g = alpha where |u| < 1 / (2 alpha), else 0.
    "rectangle": _Shape(_rectangle, _of_scaled, 1.0),
    # g = 1 / (alpha |u| + 1)^2, G = u / (1 + alpha |u|): Block, alpha 10 (v1: 100).
    "fast_sigmoid": _Shape(_fast_sigmoid, lambda u, alpha: -u * u.abs(), 10.0),
    # g = alpha / 2 exp(-alpha |u|): SLAYER's, alpha 5 in SE-adLIF (which also scales it by 0.4).
    "exponential": _Shape(_exponential, _of_scaled, 5.0),
}


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, alpha: Alpha, name: str, strict: bool) -> Tensor:
        ctx.name = name
        ctx.alpha = None if isinstance(alpha, Tensor) else alpha
        ctx.save_for_backward(u, *([alpha] if isinstance(alpha, Tensor) else []))
        return (u > 0 if strict else u >= 0).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        (gradient,) = gradients
        u, *learned = ctx.saved_tensors
        alpha = learned[0].to(u.dtype) if learned else ctx.alpha
        shape = SHAPES[ctx.name]
        to_u = shape.derivative(u, alpha).mul_(gradient)
        to_alpha = (to_u * shape.alpha_ratio(u, alpha)).sum().to(learned[0].dtype) if learned else None
        return to_u, to_alpha, None, None


class Surrogate(nn.Module):
    """Spikes of a distance to threshold u `[*]` -> `[*]` in {0, 1}; NaN gives no spike.

    `name` is one of atan, sigmoid, triangle, rectangle, fast_sigmoid, exponential; `alpha` its width (default: the
    papers' value), a saved parameter where `learnable`. Raises UserError for an unknown name or alpha <= 0.
    """

    def __init__(self, name: str = "atan", alpha: float | None = None, learnable: bool = False) -> None:
        super().__init__()
        if name not in SHAPES:
            raise UserError(f"unknown surrogate {name!r}{did_you_mean(str(name), list(SHAPES))}")
        try:
            alpha = SHAPES[name].default_alpha if alpha is None else float(alpha)
        except ValueError:
            raise UserError(f"surrogate alpha must be a number above 0, got {alpha!r}") from None
        require_positive(alpha=alpha)
        self.name = name
        self.code = CODES[name]  # as the fused kernels take it
        self.learnable = learnable
        self.alpha: Alpha = nn.Parameter(torch.tensor(alpha)) if learnable else alpha

    def forward(self, u: Tensor, strict: bool = False) -> Tensor:
        """`strict`: spike where u > 0 (PSU, MPE-PSN, Block), else where u >= 0 (PSN, LIF)."""
        spikes: Tensor = _Spike.apply(u, self.alpha, self.name, strict)  # type: ignore[no-untyped-call]
        return spikes

    def extra_repr(self) -> str:
        alpha = self.alpha.item() if isinstance(self.alpha, Tensor) else self.alpha
        return f"{self.name}, alpha={alpha:g}, learnable={self.learnable}"


SurrogateSpec = Surrogate | str | Mapping[str, Any]


def make_surrogate(spec: SurrogateSpec) -> Surrogate:
    """A surrogate of its own for one layer, from its name or from {name, alpha, learnable}.

    Raises UserError for an unknown name or key.
    """
    if isinstance(spec, Surrogate):
        return spec
    if isinstance(spec, str):
        return Surrogate(spec)
    keys = {str(key): value for key, value in spec.items()}
    for key in keys:
        if key not in ("name", "alpha", "learnable"):
            raise UserError(f"unknown surrogate key {key!r}{did_you_mean(key, ['name', 'alpha', 'learnable'])}")
    return Surrogate(**keys)
