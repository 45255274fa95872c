"""The step-by-step leaky integrate-and-fire neuron, the baseline of every claim.

Shapes: x, membrane, spikes `[T, B, *]`; v `[B, *]`.
Source: the baselines of PSN, arXiv 2304.12760 (tau 2, soft reset, reset detached), and of MPE-PSN, arXiv 2409.04978
(hard reset, h = 0.25 v + x: tau = 4/3 and decay_input false).
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from snnrepro.errors import UserError, did_you_mean, require_positive
from snnrepro.neurons.neuron import Neuron, Operations, State
from snnrepro.neurons.surrogate import SurrogateSpec
from snnrepro.types import AtLeastOne, PositiveFloat


def lif_step(
    x: Tensor,
    v: Tensor | float,
    *,
    tau: float,
    v_threshold: float,
    v_reset: float,
    reset: str,
    decay_input: bool,
    detach_reset: bool,
    fire: Callable[[Tensor], Tensor],
) -> tuple[Tensor, Tensor, Tensor]:
    """One step: (input current, v after the last reset) -> (h, spikes, v after this reset).

    h = v - (v - v_rest) / tau + x (x / tau where `decay_input`), with v_rest = v_reset for a hard reset, else 0;
    soft reset: v = h - s v_threshold; hard: v = v_reset where s = 1.
    """
    rest = v_reset if reset == "hard" else 0.0
    h = v + (x - (v - rest)) / tau if decay_input else v - (v - rest) / tau + x
    spikes = fire(h)
    if reset == "none":
        return h, spikes, h
    s = spikes.detach() if detach_reset else spikes
    return h, spikes, h - s * v_threshold if reset == "soft" else h * (1 - s) + s * v_reset


class LIF(Neuron):
    """Leaky integrate-and-fire; fires where h >= v_threshold. Its one form is its reference, the loop over time.

    tau: membrane time constant in steps. decay_input: the input is divided by tau, as the leak is. reset: soft
    (subtract v_threshold), hard (to v_reset) or none. detach_reset: no gradient through the reset.
    Cost O(T), sequential. Raises UserError for tau < 1, v_threshold <= 0 or an unknown reset.
    """

    backends = ("reference",)

    def __init__(
        self,
        num_steps: int | None = None,
        num_features: int | None = None,
        *,
        tau: AtLeastOne = 2.0,
        v_threshold: PositiveFloat = 1.0,
        reset: Literal["soft", "hard", "none"] = "soft",
        v_reset: float = 0.0,
        detach_reset: bool = True,
        decay_input: bool = True,
        surrogate: SurrogateSpec = "atan",
        backend: Literal["auto", "reference"] = "auto",
    ) -> None:
        super().__init__(num_steps, num_features, v_threshold, surrogate, backend)
        require_positive(v_threshold=v_threshold)
        if not tau >= 1:
            raise UserError(f"tau is a time constant in steps, at least 1 for a LIF, got {tau}")
        if reset not in ("soft", "hard", "none"):
            raise UserError(f"unknown reset {reset!r}{did_you_mean(reset, ['soft', 'hard', 'none'])}")
        self.tau = tau
        self.reset = reset
        self.v_reset = v_reset
        self.detach_reset = detach_reset
        self.decay_input = decay_input

    def _at_step(self, x: Tensor, v: Tensor | float) -> tuple[Tensor, Tensor, Tensor]:
        return lif_step(
            x,
            v,
            tau=self.tau,
            v_threshold=self.v_threshold,
            v_reset=self.v_reset,
            reset=self.reset,
            decay_input=self.decay_input,
            detach_reset=self.detach_reset,
            fire=self._fire,
        )

    def _start(self) -> float:
        return self.v_reset if self.reset == "hard" else 0.0

    def _membrane_and_spikes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        v: Tensor | float = self._start()
        membrane, spikes = [], []
        for step in x:
            h, s, v = self._at_step(step, v)
            membrane.append(h)
            spikes.append(s)
        return torch.stack(membrane), torch.stack(spikes)

    def _step(self, x: Tensor, state: State) -> Tensor:
        _, spikes, state["v"] = self._at_step(x, state.get("v", self._start()))
        return spikes

    def operations(self, num_steps: int) -> Operations:
        """A step: one MAC for leak and input, one AC more where the input decays too; a reset at most one AC."""
        acs = num_steps * (int(self.decay_input) + int(self.reset == "soft"))
        return Operations(macs=num_steps, acs=acs, state_bytes=4)

    def extra_repr(self) -> str:
        return f"tau={self.tau:g}, reset={self.reset}, {super().extra_repr()}"
