"""STSC: a temporal filter times a gate, in front of a network of spike trains.

Shapes: x `[T, B, F]`.
"""

from typing import Any

import torch
from torch import Tensor, nn

from snnrepro.architectures.layers import TimeLayer
from snnrepro.errors import NonCausalError

FILTER_STEPS, GATE_STEPS = 5, 3


class STSC(TimeLayer):
    """y = filter(x) (1 - sigmoid(M relu(gate(x)))), `[T, B, F]` -> `[T, B, F]`.

    filter: each feature over 5 steps around t, without bias. gate: all features over 3 steps around t, with bias.
    M: F x F. Both windows are centred, so a step sees later ones and nothing can be streamed.
    Source: the SHD network of PSU's code (arXiv 2402.00449).
    """

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.filter = nn.Conv1d(
            num_features, num_features, FILTER_STEPS, padding=FILTER_STEPS // 2, groups=num_features, bias=False
        )
        self.gate = nn.Conv1d(num_features, num_features, GATE_STEPS, padding=GATE_STEPS // 2)
        self.mix = nn.Linear(num_features, num_features, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        over_time = x.permute(1, 2, 0)  # [B, F, T]
        opened = self.mix(torch.relu(self.gate(over_time)).transpose(1, 2))  # [B, T, F]
        filtered: Tensor = self.filter(over_time).permute(2, 0, 1)
        return filtered * torch.sigmoid(-opened).transpose(0, 1)

    def stream(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        raise NonCausalError("the STSC attention sees later steps and cannot run step by step; architecture=dense can")
