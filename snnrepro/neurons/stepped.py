"""What every step-by-step neuron shares: the loop over time is its one form, and its reference."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from snnrepro.errors import UserError, did_you_mean
from snnrepro.neurons.neuron import Neuron, State


class SteppedNeuron(Neuron):
    """Base of the neurons that are simulated step by step; subclasses give `_update`, some `_constants`.

    `_constants` is what the parameters come to before the loop: their sigmoids and decays, not taken at every step.
    """

    backends: ClassVar[tuple[str, ...]] = ("reference",)

    def _constants(self, step: Tensor) -> Any:
        """What `_update` takes as constants, in the dtype of one step `[B, *]` and broadcasting to it."""
        return None

    def _update(self, x: Tensor, state: State, constants: Any) -> tuple[Tensor, Tensor]:
        """One step `[B, *]` -> (h, spikes); `state` (only `step` at the start) is updated in place."""
        raise NotImplementedError

    def _membrane_and_spikes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        membrane, spikes = self._loop(x, {"step": 0})
        return torch.stack(membrane), torch.stack(spikes)

    def _advance(self, x: Tensor, state: State) -> Tensor:
        return torch.stack(self._loop(x, state)[1])

    def _loop(self, x: Tensor, state: State) -> tuple[list[Tensor], list[Tensor]]:
        membrane, spikes, constants = [], [], self._constants(x[0])
        for step in x:
            h, s = self._update(step, state, constants)
            state["step"] += 1
            membrane.append(h)
            spikes.append(s)
        return membrane, spikes


def check_reset(reset: str) -> None:
    """Raise UserError for a reset that is none of soft, hard, none."""
    if reset not in ("soft", "hard", "none"):
        raise UserError(f"unknown reset {reset!r}{did_you_mean(str(reset), ['soft', 'hard', 'none'])}")


def charge(x: Tensor, v: Tensor | float, leak: float | Tensor, rest: float, decay_input: bool) -> Tensor:
    """h = v - leak (v - rest) + x, where `decay_input` with x scaled by leak too; leak = 1/tau."""
    return v + (x - (v - rest)) * leak if decay_input else v - (v - rest) * leak + x


def reset_membrane(h: Tensor, spikes: Tensor, reset: str, drop: float | Tensor, v_reset: float) -> Tensor:
    """v after firing: soft, h - s drop; hard, v_reset where s = 1; none, h."""
    if reset == "none":
        return h
    return h - spikes * drop if reset == "soft" else h * (1 - spikes) + spikes * v_reset
