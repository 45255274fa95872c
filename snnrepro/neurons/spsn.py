"""The stochastic parallelisable neuron: spikes are drawn from the membrane without reset.

Shapes: x, D (membrane), noise `[T, B, *]`.
Source: Yarga, Wood, arXiv 2306.12666, as in the code of arXiv 2402.00449.
"""

from typing import Any, Literal

import torch
from torch import Tensor

from snnrepro.errors import UserError
from snnrepro.neurons.kernels import families, ops
from snnrepro.neurons.neuron import Operations, State, check_tau
from snnrepro.neurons.noise import StochasticNeuron
from snnrepro.neurons.psu import psu_kernels
from snnrepro.neurons.scan import exponential_scan, exponential_scan_dense, scan_or_dense
from snnrepro.types import AtLeastOne


class _Draw(torch.autograd.Function):
    """Spikes where noise < sigmoid(D); what passes back to D is the named gradient."""

    @staticmethod
    def forward(ctx: Any, d: Tensor, noise: Tensor, gradient: str) -> Tensor:
        p = torch.sigmoid(d)
        ctx.gradient = gradient
        ctx.save_for_backward(*([p] if gradient == "sigmoid" else []))
        return (noise < p).to(d.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, None, None]:
        (g,) = gradients
        if ctx.gradient == "sigmoid":
            (p,) = ctx.saved_tensors
            return g * (p * (1 - p)), None, None
        return (g if ctx.gradient == "straight_through" else torch.zeros_like(g)), None, None


_GRADIENTS = {
    "sigmoid": families.SIGMOID_GRADIENT,
    "straight_through": families.STRAIGHT_THROUGH,
    "none": families.NO_GRADIENT,
}


class SPSN(StochasticNeuron):
    """Stochastic parallelisable spiking neuron: a leaky integrator that fires with probability sigmoid(D), no reset.

        D = A X,   A[i, j] = tau^-(i-j+1) for j <= i
        s[t] ~ Bernoulli(sigmoid(D[t]))

    tau: decay constant, at least 1. Nothing is learned. gradient: `sigmoid`, that of the probability;
    `straight_through`, 1; `none`, nothing passes the draw, as released, so that only layers after it learn.
    Cost: O(T) as a scan (`fused`, `torch`), O(T^2) as a product (`dense`).
    Source: Yarga, Wood, arXiv 2306.12666, as in the code of arXiv 2402.00449.
    Differences: that code draws without gradient; the default here is `sigmoid`.
    Raises UserError for tau < 1 or an unknown gradient.
    """

    fires_at_threshold = False
    backends = ("fused", "torch", "dense", "reference")

    def __init__(
        self,
        num_steps: int | None = None,
        num_features: int | None = None,
        *,
        tau: AtLeastOne = 2.0,
        gradient: Literal["none", "straight_through", "sigmoid"] = "sigmoid",
        backend: Literal["auto", "fused", "torch", "dense", "reference"] = "auto",
    ) -> None:
        super().__init__(num_steps, num_features, 0.0, "sigmoid", backend)
        if gradient not in ("none", "straight_through", "sigmoid"):
            raise UserError(f"gradient is none, straight_through or sigmoid, got {gradient!r}")
        self.tau = check_tau(tau)
        self.gradient = gradient

    def _membrane_and_spikes(self, x: Tensor, *noise: Tensor) -> tuple[Tensor, Tensor]:
        kernel, decay = self.kernel(len(x), x.device), 1 / self.tau
        if kernel == "reference":
            d = torch.tensordot(psu_kernels(len(x), self.tau, x)[0], x, 1)
        else:
            d = (exponential_scan if kernel == "torch" else exponential_scan_dense)(x, decay, decay)
        return d, self._drawn(d, noise[0])

    def _fused(self, x: Tensor, membrane: bool, *noise: Tensor | None) -> Tensor:
        settings = families.Drawn(membrane, noise[0] is not None, 1 / self.tau, _GRADIENTS[self.gradient])
        return ops.fused("drawn", [x, *self._source(x, noise[0])], settings)[0]

    def _drawn(self, d: Tensor, noise: Tensor) -> Tensor:
        spikes: Tensor = _Draw.apply(d, noise, self.gradient)  # type: ignore[no-untyped-call]
        return spikes

    def _advance(self, x: Tensor, state: State, *noise: Tensor) -> Tensor:
        d = exponential_scan(x, 1 / self.tau, 1 / self.tau, state.get("d"))
        state["d"] = d[-1]
        return self._drawn(d, noise[0])

    def _fastest(self, num_steps: int, device: torch.device) -> str:
        return scan_or_dense(num_steps, device)

    def operations(self, num_steps: int) -> Operations:
        """A step: one MAC for the running sum, one sigmoid."""
        return Operations(num_steps, 0, state_bytes=4, function_evaluations=num_steps)

    def extra_repr(self) -> str:
        return f"tau={self.tau:g}, gradient={self.gradient}, backend={self.backend}"
