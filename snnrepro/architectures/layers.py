"""What every network is built from: layers over `T*B` at once, layers over time.

Shapes: x `[T, B, *]`.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from snnrepro.errors import UserError
from snnrepro.neurons.neuron import Neuron

NeuronFactory = Callable[..., Neuron]


class TimeLayer(nn.Module):
    """A layer that is given all time-steps, `[T, B, *]` -> `[T, B, *]`; every other layer sees `[T*B, *]`.

    `stream` takes a chunk `[t, B, *]` and the state of the chunk before (None at the start). Raises NonCausalError
    where the layer looks ahead.
    """

    def stream(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        raise NotImplementedError


class SpikingSequential(nn.Sequential, TimeLayer):
    """Layers in a row: a Neuron or a TimeLayer sees `[T, B, *]`, any other layer all steps as one batch `[T*B, *]`.

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
            x = layer(x) if isinstance(layer, Neuron | TimeLayer) else over_time(layer, x)
        return x

    def stream(self, x: Tensor, state: list[Any] | None = None) -> tuple[Tensor, list[Any]]:
        """Outputs of a chunk `[t, B, *]` and the state to pass on with the next; batch norm must be in eval mode.

        Raises NonCausalError where a layer of the network looks ahead.
        """
        state = [None] * len(self) if state is None else list(state)
        for i, layer in enumerate(self):
            if isinstance(layer, Neuron | TimeLayer):
                x, state[i] = layer.stream(x, state[i])
            else:
                x = over_time(layer, x)
        return x, state


class Residual(TimeLayer):
    """`body(x) + shortcut(x)`, or + x without a shortcut; through `neuron` afterwards where there is one."""

    def __init__(self, body: SpikingSequential, shortcut: SpikingSequential | None, neuron: Neuron | None) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut
        self.neuron = neuron

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x) + (x if self.shortcut is None else self.shortcut(x))
        return y if self.neuron is None else self.neuron(y)

    def stream(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        of_body, of_shortcut, of_neuron = (None, None, None) if state is None else state
        y, of_body = self.body.stream(x, of_body)
        if self.shortcut is not None:
            x, of_shortcut = self.shortcut.stream(x, of_shortcut)
        y = y + x
        if self.neuron is not None:
            y, of_neuron = self.neuron.stream(y, of_neuron)
        return y, (of_body, of_shortcut, of_neuron)


class PerPosition(TimeLayer):
    """A neuron whose features are all the positions of its input, not the channels: `[T, B, C, *]` as `[T, B, C x *]`.

    What the neuron learns for each feature it then learns for each position.
    """

    def __init__(self, neuron: Neuron) -> None:
        super().__init__()
        self.neuron = neuron

    def forward(self, x: Tensor) -> Tensor:
        spikes: Tensor = self.neuron(x.flatten(2))
        return spikes.view(x.shape)

    def stream(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        spikes, state = self.neuron.stream(x.flatten(2), state)
        return spikes.view(x.shape), state


def over_time(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply a layer without memory to all time-steps in one call, `[T, B, *]` -> `[T, B, *]`."""
    return torch.unflatten(layer(x.flatten(0, 1)), 0, x.shape[:2])


def describe(shape: Sequence[int]) -> str:
    """An input shape without T and B, as users read it: 3 x 32 x 32."""
    return " x ".join(map(str, shape))


def require_image(what: str, input_shape: tuple[int, ...], smallest: int) -> None:
    """Raise UserError where the input is not channels x height x width with sides of at least `smallest`."""
    if len(input_shape) != 3 or min(input_shape[1:]) < smallest:
        raise UserError(
            f"{what} takes channels x height x width with sides of at least {smallest}, the data set gives "
            f"{describe(input_shape)}; take architecture=dense or another data set"
        )


def require_sizes(key: str, sizes: Sequence[int]) -> None:
    """Raise UserError where `sizes` is empty or one of them is below 1."""
    if not sizes or any(size < 1 for size in sizes):
        raise UserError(f"architecture.{key} must list sizes above 0, got {list(sizes)}")
