"""Membrane potential estimation: the state after reset is guessed from each step's own input, so steps are independent.

Shapes: x, h (membrane), vhat, v, noise `[T, B, *]`; kappa `[T]` or `[T-1]`.
Source: Chen et al., arXiv 2409.04978.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from snnrepro.errors import UserError, require_positive
from snnrepro.neurons.kernels import ops
from snnrepro.neurons.kernels.families import Guessed
from snnrepro.neurons.neuron import Operations, State, wide
from snnrepro.neurons.noise import StochasticNeuron
from snnrepro.neurons.surrogate import SurrogateSpec
from snnrepro.types import Fraction, PositiveFloat


def mpe_psn_reference(x: Tensor, noise: Tensor, beta: float, variant: str) -> tuple[Tensor, Tensor]:
    """(vhat, h), step by step."""
    vhat, membrane = [], []
    for t in range(len(x)):
        drawn = noise[t] < torch.sigmoid(x[t])
        vhat.append(torch.where(drawn, 0.0, x[t]))
        estimate = 0.0 if t == 0 else vhat[t - 1] if variant == "previous" else vhat[t]
        membrane.append(beta * estimate + x[t])
    return torch.stack(vhat), torch.stack(membrane)


class MPEPSN(StochasticNeuron):
    """Parallel neuron with an estimated membrane: a step is taken to have fired with probability sigmoid(x[t]).

        b[t] ~ Bernoulli(sigmoid(x[t])), no gradient through the draw
        vhat[t] = (1 - b[t]) x[t]
        h[t] = beta vhat[t-1] + x[t]   (variant previous)   or   beta vhat[t] + x[t]   (current);   h[0] = x[0]
        s[t] = 1[h[t] > v_threshold]
        auxiliary loss = mean over t, B, * of kappa[t] (vhat[t] - v[t])^2,   v[t] = (1 - s[t]) h[t]

    `v_threshold` []: learned, one for the layer. `kappa` [T], starts at 1/T; variant current pairs vhat[t] with v[t-1]:
    [T-1], starts at 1/(T-1). beta: the decay factor (the paper's tau, 0.25). The draw stays on at evaluation. Another
    T than the built one works, but its auxiliary loss raises.
    Cost: O(T), every step by itself.
    Source: Chen et al., arXiv 2409.04978: variant previous (CIFAR, CIFAR10-DVS); current is in its N-Caltech101 and
    DVS-Gesture code.
    Differences: its DVS-Gesture code draws from a softmax over time instead of the sigmoid. The abstract says no
    additional parameters; its code learns v_threshold and kappa. kappa is free, so the auxiliary loss can become
    negative; only its CIFAR-10 script stops the sum at 0.
    Raises UserError for a missing num_steps, v_threshold <= 0 or an unknown variant.
    """

    fires_at_threshold = False
    backends = ("fused", "torch", "reference")

    def __init__(
        self,
        num_steps: int | None = None,
        num_features: int | None = None,
        *,
        variant: Literal["previous", "current"] = "previous",
        beta: Fraction = 0.25,
        v_threshold: PositiveFloat = 1.0,
        surrogate: SurrogateSpec = "triangle",
        backend: Literal["auto", "fused", "torch", "reference"] = "auto",
    ) -> None:
        super().__init__(num_steps, num_features, v_threshold, surrogate, backend)
        if num_steps is None:
            raise UserError("MPEPSN's kappa has one weight for each step: give num_steps")
        if variant not in ("previous", "current"):
            raise UserError(f"variant is previous or current, got {variant!r}")
        if not 0 <= beta <= 1:
            raise UserError(f"beta is a decay factor from 0 to 1, got {beta}")
        require_positive(v_threshold=v_threshold)
        self.variant = variant
        self.beta = beta
        self.v_threshold = nn.Parameter(torch.tensor(float(v_threshold)))
        pairs = num_steps if variant == "previous" else num_steps - 1
        self.kappa = nn.Parameter(torch.full((pairs,), 1 / max(1, pairs)))
        self._auxiliary: Tensor | None = None
        self._auxiliary_steps = num_steps

    def __getstate__(self) -> dict[str, Any]:
        # The last loss belongs to a graph: it is neither copied nor saved.
        return self.__dict__ | {"_auxiliary": None}

    def auxiliary_loss(self) -> Tensor:
        """L_mem of the last training forward, a scalar. Raises UserError before one, or after one of another T."""
        if self._auxiliary_steps != self.num_steps:
            raise UserError(
                f"MPEPSN's kappa is for T = {self.num_steps}, the last input had T = {self._auxiliary_steps}: "
                "other lengths are for inference"
            )
        if self._auxiliary is None:
            raise UserError("MPEPSN has an auxiliary loss only after a forward in training mode")
        return self._auxiliary

    def _membrane_and_spikes(self, x: Tensor, *noise: Tensor) -> tuple[Tensor, Tensor]:
        if self.kernel(len(x), x.device) == "reference":
            vhat, h = mpe_psn_reference(x, noise[0], self.beta, self.variant)
        else:
            vhat = self._estimate(x, noise[0])
            h = x + self.beta * self._used(vhat, None)
        spikes = self._fire(h)
        if self.training and torch.is_grad_enabled():
            self._auxiliary_steps = len(x)
            self._auxiliary = self._loss(vhat, (1 - spikes) * h) if len(x) == self.num_steps else None
        return h, spikes

    def _fused(self, x: Tensor, membrane: bool, *noise: Tensor | None) -> Tensor:
        learns = not membrane and self.training and torch.is_grad_enabled()
        errors = learns and len(x) == self.num_steps
        given, current = noise[0] is not None, self.variant == "current"
        code, alpha, learned = self._surrogate(x)
        settings = Guessed(membrane, code, alpha, given, current, self.beta, errors)
        assert isinstance(self.v_threshold, Tensor)
        tensors = [x, wide(self.v_threshold, x), *self._source(x, noise[0]), *learned]
        out, error = ops.fused("guessed", tensors, settings)
        if learns:
            self._auxiliary_steps = len(x)
            self._auxiliary = self._weighted(error / max(1, x[0].numel())) if errors else None
        return out

    def _weighted(self, error: Tensor) -> Tensor:
        """The auxiliary loss of a mean error for each step."""
        return (error * self.kappa.to(error.dtype)).mean() if error.numel() else error.sum()

    def _loss(self, vhat: Tensor, v: Tensor) -> Tensor:
        error = (vhat - v) ** 2 if self.variant == "previous" else (vhat[1:] - v[:-1]) ** 2
        return self._weighted(error.flatten(1).mean(1)) if error.numel() else error.sum()

    def _estimate(self, x: Tensor, noise: Tensor) -> Tensor:
        return torch.where(noise < torch.sigmoid(x.detach()), torch.zeros_like(x), x)

    def _used(self, vhat: Tensor, before: Tensor | None) -> Tensor:
        """The estimate that h[t] adds; `before` is the last vhat of the chunk before, None at the start."""
        if self.variant == "current":
            return vhat if before is not None else torch.cat([torch.zeros_like(vhat[:1]), vhat[1:]])
        return torch.cat([torch.zeros_like(vhat[:1]) if before is None else before[None], vhat[:-1]])

    def _advance(self, x: Tensor, state: State, *noise: Tensor) -> Tensor:
        vhat = self._estimate(x, noise[0])
        h = x + self.beta * self._used(vhat, state.get("vhat"))
        state["vhat"] = vhat[-1]  # variant current only asks whether there is one
        return self._fire(h)

    def operations(self, num_steps: int) -> Operations:
        """A step: one MAC for h, one sigmoid; the last estimate is kept, by variant current nothing."""
        kept = 4 if self.variant == "previous" else 0
        return Operations(num_steps, 0, state_bytes=kept, function_evaluations=num_steps)

    def extra_repr(self) -> str:
        return f"variant={self.variant}, beta={self.beta:g}, {super().extra_repr()}"
