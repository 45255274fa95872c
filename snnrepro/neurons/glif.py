"""The gated LIF: every choice between two ways of leaking, resetting and charging is a learned gate.

Shapes: x, h, spikes `[T, B, F, *]`; parameters `[F]`, conduct `[T, F]`, all as logits: their sigmoid is used.
"""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from snnrepro.errors import UserError
from snnrepro.neurons.neuron import Operations, State, per_feature
from snnrepro.neurons.stepped import SteppedNeuron
from snnrepro.neurons.surrogate import SurrogateSpec


class _Gates(NamedTuple):
    """What GLIF's gates come to: D = decay h, h' = D - fall + charge[t] x - s (hard D + drop)."""

    decay: Tensor
    fall: Tensor
    hard: Tensor
    drop: Tensor
    charge: list[Tensor]
    threshold: Tensor


class GLIF(SteppedNeuron):
    """Gated LIF, one set of gates for each feature (channel).

        D    = (1 - alpha (1 - tau)) h[t-1]
        h[t] = D - (1 - alpha) linear_decay + x[t] (1 - beta (1 - conduct[t]))
               - s[t-1] (gamma D + (1 - gamma) v_subreset)
        s[t] = 1[h[t] >= v_threshold]

    alpha (leak: exponential or linear), beta (charge: gated by conduct or not), gamma (reset: hard or soft), tau (a
    decay factor), v_threshold, linear_decay, v_subreset `[F]` and conduct `[T, F]` are all learned as logits.
    tau, v_threshold, conduct: where they start, between 0 and 1; linear_decay starts at v_threshold / (2 T),
    v_subreset at v_threshold, the three gates' logits uniformly within 0.1 of 0.
    Cost: O(T), sequential; conduct fixes T.
    Source: Yao et al., NeurIPS 2022 (openreview UmFSx2c4ubT) as spikingjelly's GatedLIFNode implements it; the
    channel-wise baseline of PSN, arXiv 2304.12760.
    Raises UserError for a missing num_features or a start value outside (0, 1).
    """

    fixed_length = True
    per_feature = True

    def __init__(
        self,
        num_steps: int | None = None,
        num_features: int | None = None,
        *,
        tau: float = 0.25,
        v_threshold: float = 0.5,
        conduct: float = 0.5,
        surrogate: SurrogateSpec = "atan",
        backend: Literal["auto", "reference"] = "auto",
    ) -> None:
        super().__init__(num_steps, num_features, v_threshold, surrogate, backend)
        assert num_steps is not None
        assert num_features is not None
        for name, value in (("tau", tau), ("v_threshold", v_threshold), ("conduct", conduct)):
            if not 0 < value < 1:
                raise UserError(f"GLIF's {name} is the sigmoid of a logit: it starts between 0 and 1, got {value}")

        def logit(start: float, *shape: int) -> nn.Parameter:
            return nn.Parameter(torch.full(shape, math.log(start / (1 - start))))

        self.alpha, self.beta, self.gamma = (nn.Parameter(0.2 * (torch.rand(num_features) - 0.5)) for _ in range(3))
        self.tau = logit(tau, num_features)
        self.v_threshold = logit(v_threshold, num_features)
        self.linear_decay = logit(v_threshold / (2 * num_steps), num_features)
        self.v_subreset = logit(v_threshold, num_features)
        self.conduct = logit(conduct, num_steps, num_features)

    def threshold(self, step: Tensor) -> Tensor:
        assert isinstance(self.v_threshold, Tensor)
        return torch.sigmoid(per_feature(self.v_threshold, step))

    def _constants(self, step: Tensor) -> "_Gates":
        def gate(logits: Tensor) -> Tensor:
            return torch.sigmoid(per_feature(logits, step))

        alpha, gamma, beta = gate(self.alpha), gate(self.gamma), gate(self.beta)
        return _Gates(
            decay=1 - alpha * (1 - gate(self.tau)),
            fall=(1 - alpha) * gate(self.linear_decay),
            hard=gamma,
            drop=(1 - gamma) * gate(self.v_subreset),
            charge=[1 - beta * (1 - gate(conduct)) for conduct in self.conduct],
            threshold=self.threshold(step),
        )

    def _update(self, x: Tensor, state: State, constants: "_Gates") -> tuple[Tensor, Tensor]:
        h = x * constants.charge[state["step"]] - constants.fall
        if "h" in state:
            leaked = constants.decay * state["h"]
            h = h + leaked - state["s"] * (constants.hard * leaked + constants.drop)
        spikes: Tensor = self.surrogate(h - constants.threshold)
        state.update(h=h, s=spikes)
        return h, spikes

    def operations(self, num_steps: int) -> Operations:
        """A step: MACs for leak, gated input and gated reset (gates folded into constants); ACs for both decays."""
        return Operations(3 * num_steps, 2 * num_steps, state_bytes=8)
