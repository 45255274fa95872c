"""Readouts with weights of their own, at the end of a network: `[T, B, F]` -> `[T, B, K]`.

What is made of the K outputs over time (mean, max, sum) is snnrepro.training.readout's.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from snnrepro.architectures.layers import TimeLayer
from snnrepro.errors import UserError
from snnrepro.neurons.neuron import Operations, per_feature
from snnrepro.neurons.scan import exponential_scan

# Where the decay of the Block paper's readouts starts.
READOUT_BETA = math.exp(-1 / 20)


class LeakyIntegrator(TimeLayer):
    """A potential for each output that neither fires nor resets: V[t] = beta V[t-1] + I[t], `[T, B, K]` -> `[T, B, K]`.

    `beta` [K]: learned where learn_beta, used within [0, 1].
    Source: readout of Taylor, King, Harper, arXiv 2205.15286. Raises UserError for beta outside [0, 1].
    """

    def __init__(self, num_outputs: int, beta: float = READOUT_BETA, learn_beta: bool = True) -> None:
        super().__init__()
        if not 0 <= beta <= 1:
            raise UserError(f"architecture.integrator_beta is a decay factor from 0 to 1, got {beta}")
        self.beta = nn.Parameter(torch.full((num_outputs,), float(beta)), requires_grad=learn_beta)

    def forward(self, x: Tensor) -> Tensor:
        return self._integrated(x, None)

    def stream(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        v = self._integrated(x, state)
        return v, v[-1]

    def operations(self, num_steps: int) -> Operations:
        """A step: one MAC for V, which is kept."""
        return Operations(num_steps, 0, state_bytes=4)

    def _integrated(self, x: Tensor, before: Tensor | None) -> Tensor:
        # In fp32 as the neurons: a sum over many steps loses small inputs in half precision.
        current = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        return exponential_scan(current, per_feature(self.beta.clamp(0, 1), current[0]), 1.0, before)


class Voting(nn.Module):
    """The mean of `votes` outputs in a row for each class, `[N, K x votes]` -> `[N, K]`."""

    def __init__(self, votes: int) -> None:
        super().__init__()
        self.votes = votes

    def forward(self, x: Tensor) -> Tensor:
        return torch.unflatten(x, -1, (-1, self.votes)).mean(-1)

    def extra_repr(self) -> str:
        return f"votes={self.votes}"
