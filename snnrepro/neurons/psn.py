"""Parallel Spiking Neuron: a learned T x T matrix over time in place of the recursion and its reset.

Shapes: X, H `[T, B, *]`; weight W `[T, T]`, bias b `[T]`, one of each per layer, shared by all its neurons.
    H = W X + b,  S = 1[H >= 0]; b starts at -1, that is, a threshold of 1.
Source: Fang et al., NeurIPS 2023, arXiv 2304.12760.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from snnrepro.neurons.neuron import Neuron, Operations
from snnrepro.neurons.surrogate import SurrogateSpec


def psn_reference(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """H `[T, B, *]`, h[i] = sum_j W[i, j] x[j] + b[i], written out."""
    steps = range(x.shape[0])
    return torch.stack([sum((weight[i, j] * x[j] for j in steps), start=bias[i]) for i in steps])


class PSN(Neuron):
    """Parallel Spiking Neuron. Fires where h >= 0; the threshold is in the bias. Not causal; T is fixed by the weight.

    Cost O(T^2). Weight: Kaiming uniform with a = sqrt 5, U(-1/sqrt T, 1/sqrt T).
    """

    causal = False
    fixed_length = True

    def __init__(
        self,
        num_steps: int | None = None,
        num_features: int | None = None,
        *,
        surrogate: SurrogateSpec = "atan",
        backend: Literal["auto", "torch", "reference"] = "auto",
    ) -> None:
        super().__init__(num_steps, num_features, 0.0, surrogate, backend)
        assert num_steps is not None
        self.weight = nn.Parameter(torch.empty(num_steps, num_steps))
        self.bias = nn.Parameter(torch.full((num_steps,), -1.0))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    def _membrane_and_spikes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
        if self.kernel == "reference":
            h = psn_reference(x, weight, bias)
        else:
            h = torch.addmm(bias[:, None], weight, x.flatten(1)).view(x.shape)
        return h, self._fire(h)

    def operations(self, num_steps: int) -> Operations:
        """T products for each of T outputs and one addition of the bias; all T inputs are kept until the last."""
        return Operations(macs=num_steps**2, acs=num_steps, state_bytes=4 * num_steps)
