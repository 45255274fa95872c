"""Adaptive LIFs, step by step: spikes raise the threshold (ALIF) or feed an adaptation current (SE-adLIF).

Shapes: x, h (membrane), spikes `[T, B, F, *]`; every parameter `[F]`.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from snnrepro.errors import UserError, require_positive
from snnrepro.neurons.kernels import ops
from snnrepro.neurons.kernels.families import Adaptive
from snnrepro.neurons.neuron import Operations, State, per_feature, wide
from snnrepro.neurons.stepped import SteppedNeuron
from snnrepro.neurons.surrogate import SurrogateSpec
from snnrepro.types import NonNegativeFloat, PositiveFloat

# A time constant is held above this many steps, where its decay is already below 1e-4.
SHORTEST_TAU = 0.1


class ALIF(SteppedNeuron):
    """LIF with an adaptive threshold; fires where h > theta.

        a[t]     = rho a[t-1] + (1 - rho) s[t-1],   rho = exp(-1 / tau_adp),   a[-1] = v_threshold
        theta[t] = v_threshold + beta a[t]
        h[t]     = alpha h[t-1] + (1 - alpha) x[t] - theta[t] s[t-1],   alpha = exp(-1 / tau_m)
        s[t]     = 1[h[t] > theta[t]]

    `tau_m`, `tau_adp` [F]: learned, in steps; they start normally distributed around the given means. v_threshold: the
    resting threshold. beta: how much a spike raises it. The membrane h is compared with theta[t], not v_threshold.
    Cost: O(T), sequential.
    Source: Yin, Corradi, Bohte, arXiv 2103.12593, and the SHD code published with it.
    Differences: that code starts h at random; here at 0. Its layers are recurrent and its surrogate is a sum of
    Gaussians times 0.5: here neither. A learned time constant is held above 0.1 steps, there it is free.
    Raises UserError for a missing num_features or a setting that is not positive.
    """

    fires_at_threshold = False
    per_feature = True
    backends = ("fused", "reference")

    def __init__(
        self,
        num_steps: int | None = None,
        num_features: int | None = None,
        *,
        tau_m: PositiveFloat = 20.0,
        tau_m_std: NonNegativeFloat = 5.0,
        tau_adp: PositiveFloat = 150.0,
        tau_adp_std: NonNegativeFloat = 10.0,
        beta: NonNegativeFloat = 1.8,
        v_threshold: PositiveFloat = 0.01,
        surrogate: SurrogateSpec = "atan",
        backend: Literal["auto", "fused", "reference"] = "auto",
    ) -> None:
        super().__init__(num_steps, num_features, v_threshold, surrogate, backend)
        require_positive(tau_m=tau_m, tau_adp=tau_adp, v_threshold=v_threshold)
        for name, value in (("tau_m_std", tau_m_std), ("tau_adp_std", tau_adp_std), ("beta", beta)):
            if not value >= 0:
                raise UserError(f"{name} must be 0 or above, got {value}")
        assert num_features is not None
        self.beta = beta
        self.tau_m = nn.Parameter(tau_m + tau_m_std * torch.randn(num_features))
        self.tau_adp = nn.Parameter(tau_adp + tau_adp_std * torch.randn(num_features))

    def _fused(self, x: Tensor, membrane: bool, *noise: Tensor | None) -> Tensor:
        assert isinstance(self.v_threshold, float | int)
        taus = (wide(tau, x).clamp(min=SHORTEST_TAU) for tau in (self.tau_m, self.tau_adp))
        decays = [torch.exp(-1 / tau) for tau in taus]
        code, alpha, learned = self._surrogate(x)
        settings = Adaptive(membrane, code, alpha, self.v_threshold, self.beta)
        return ops.fused("adaptive", [x, *decays, *learned], settings)[0]

    def _constants(self, step: Tensor) -> tuple[Tensor, ...]:
        taus = (per_feature(tau, step).clamp(min=SHORTEST_TAU) for tau in (self.tau_m, self.tau_adp))
        return tuple(torch.exp(-1 / tau) for tau in taus)

    def _update(self, x: Tensor, state: State, constants: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        alpha, rho = constants
        if "h" in state:
            a = rho * state["a"] + (1 - rho) * state["s"]
            theta = self.v_threshold + self.beta * a
            h = alpha * state["h"] + (1 - alpha) * x - theta * state["s"]
        else:
            a = rho * self.v_threshold + torch.zeros_like(x)
            theta = self.v_threshold + self.beta * a
            h = (1 - alpha) * x
        spikes: Tensor = self.surrogate(h - theta, strict=True)
        state.update(a=a, h=h, s=spikes)
        return h, spikes

    def operations(self, num_steps: int) -> Operations:
        """A step: MACs for a, theta and the two of h; ACs for the spike's share in a and for the reset."""
        return Operations(4 * num_steps, 2 * num_steps, state_bytes=12)


class SEAdLIF(SteppedNeuron):
    """Adaptive LIF in symplectic Euler steps: the adaptation sees the membrane of its own step, after the reset.

        u[t] = alpha v[t-1] + (1 - alpha) (x[t] - w[t-1]),   alpha = exp(-1 / tau_u)
        s[t] = 1[u[t] > v_threshold]
        v[t] = u[t] (1 - s[t]), no gradient through this reset
        w[t] = rho w[t-1] + (1 - rho) q (a v[t] + b s[t]),   rho = exp(-1 / tau_w)

    `a`, `b` [F]: learned, held within [0, 1] and [0, 2], where they start uniformly. `tau_u_weight`, `tau_w_weight`
    [F]: learned, held within [0, 1], tau = weight * longest + (1 - weight) * shortest of its range in steps. q scales
    both couplings. The membrane is u.
    Cost: O(T), sequential.
    Source: Baronig et al., Nature Communications 2025, arXiv 2408.07517, and the code published with it: SHD takes
    tau_u from 5 to 25, tau_w from 60 to 300, q 120.
    Differences: that code clips the parameters after each optimiser step, here they are clipped where they are used,
    so that one pushed out gets no gradient; its surrogate is 0.4 times `exponential` with alpha 5; its layers are
    recurrent.
    Raises UserError for a missing num_features or an empty range.
    """

    fires_at_threshold = False
    per_feature = True

    def __init__(
        self,
        num_steps: int | None = None,
        num_features: int | None = None,
        *,
        tau_u_range: Sequence[PositiveFloat] = (5.0, 25.0),
        tau_w_range: Sequence[PositiveFloat] = (60.0, 300.0),
        q: PositiveFloat = 120.0,
        v_threshold: PositiveFloat = 1.0,
        surrogate: SurrogateSpec = "exponential",
        backend: Literal["auto", "reference"] = "auto",
    ) -> None:
        super().__init__(num_steps, num_features, v_threshold, surrogate, backend)
        require_positive(q=q, v_threshold=v_threshold)
        for name, bounds in (("tau_u_range", tau_u_range), ("tau_w_range", tau_w_range)):
            if len(bounds) != 2 or not 0 < bounds[0] <= bounds[1]:
                raise UserError(f"{name} is the shortest and the longest time constant in steps, got {list(bounds)}")
        assert num_features is not None
        self.tau_u_range = (tau_u_range[0], tau_u_range[1])
        self.tau_w_range = (tau_w_range[0], tau_w_range[1])
        self.q = q
        self.a = nn.Parameter(torch.rand(num_features))
        self.b = nn.Parameter(2 * torch.rand(num_features))
        self.tau_u_weight = nn.Parameter(torch.rand(num_features))
        self.tau_w_weight = nn.Parameter(torch.rand(num_features))

    def _constants(self, step: Tensor) -> tuple[Tensor, ...]:
        alpha = _decay(per_feature(self.tau_u_weight, step), self.tau_u_range)
        rho = _decay(per_feature(self.tau_w_weight, step), self.tau_w_range)
        driven = (1 - rho) * self.q
        a, b = per_feature(self.a, step).clamp(0, 1), per_feature(self.b, step).clamp(0, 2)
        return alpha, rho, driven * a, driven * b

    def _update(self, x: Tensor, state: State, constants: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        alpha, rho, of_membrane, of_spike = constants
        u = (1 - alpha) * (x - state["w"]) + alpha * state["v"] if "v" in state else (1 - alpha) * x
        spikes = self._fire(u)
        v = u * (1 - spikes.detach())
        driven = of_membrane * v + of_spike * spikes
        state.update(v=v, w=rho * state["w"] + driven if "w" in state else driven)
        return u, spikes

    def operations(self, num_steps: int) -> Operations:
        """A step: two MACs each for u and w; ACs for x - w and for the spike's share in w. The reset overwrites."""
        return Operations(4 * num_steps, 2 * num_steps, state_bytes=8)


def _decay(weight: Tensor, bounds: tuple[float, float]) -> Tensor:
    shortest, longest = bounds
    return torch.exp(-1 / (shortest + (longest - shortest) * weight.clamp(0, 1)))
