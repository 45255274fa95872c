"""What every network is built from: layers over `T*B` at once, neurons over time.

Shapes: x `[T, B, *]`.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor, nn

from snnrepro.neurons.neuron import Neuron, State

NeuronFactory = Callable[..., Neuron]


class SpikingSequential(nn.Sequential):
    """Layers in a row: a Neuron sees `[T, B, *]`, any other layer sees all steps as one batch `[T*B, *]`.

    Built from (kind, layer) pairs, named by kind and number: conv1, norm1, neuron1, conv2, ...
    `forward` `[T, B, *]` -> `[T, B, K]`. `stream` runs chunks in time, for networks of causal neurons.
    """

    def __init__(self, *layers: tuple[str, nn.Module]) -> None:
        seen: Counter[str] = Counter()
        named: OrderedDict[str, nn.Module] = OrderedDict()
        for kind, layer in layers:
            seen[kind] += 1
            named[f"{kind}{seen[kind]}"] = layer
        super().__init__(named)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self:
            x = layer(x) if isinstance(layer, Neuron) else over_time(layer, x)
        return x

    def stream(self, x: Tensor, state: list[State | None] | None = None) -> tuple[Tensor, list[State | None]]:
        """Outputs of a chunk `[t, B, *]` and the state to pass on with the next; batch norm must be in eval mode.

        Raises NonCausalError where a neuron of the network looks ahead.
        """
        state = [None] * len(self) if state is None else list(state)
        for i, layer in enumerate(self):
            if isinstance(layer, Neuron):
                x, state[i] = layer.stream(x, state[i])
            else:
                x = over_time(layer, x)
        return x, state


def over_time(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply a layer without memory to all time-steps in one call, `[T, B, *]` -> `[T, B, *]`."""
    return torch.unflatten(layer(x.flatten(0, 1)), 0, x.shape[:2])


def describe(shape: tuple[int, ...]) -> str:
    """An input shape without T and B, as users read it: 3 x 32 x 32."""
    return " x ".join(map(str, shape))
