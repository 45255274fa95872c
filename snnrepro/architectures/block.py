"""The Block paper's networks: spiking layers, then leaky integrators as readout.

Shapes: input `[T, B, *]` (BlockDense) or `[T, B, C, H, W]` (BlockConvNet); output `[T, B, K]`, potentials over time.
Source: Taylor, King, Harper, arXiv 2205.15286, and its code.
"""

import math
from collections.abc import Sequence

from torch import nn

from snnrepro.architectures.layers import (
    NeuronFactory,
    PerPosition,
    SpikingSequential,
    require_image,
    require_sizes,
)
from snnrepro.architectures.readout import READOUT_BETA, LeakyIntegrator
from snnrepro.errors import UserError
from snnrepro.types import Fraction, PositiveFloat, PositiveInt


class BlockDense(SpikingSequential):
    """[Linear, neuron] for every hidden size, then a Linear into leaky integrators: the Block paper's linear nets.

    All biases start at 0, weights U(-1/sqrt n_in, 1/sqrt n_in), the first layer's times first_gain. integrator_beta,
    learn_integrator_beta: decay of each output's integrator, where it starts, and whether it is learned. num_outputs:
    null for one a class; the paper's N-MNIST net has 20 for 10 classes.
    Raises UserError for no or non-positive sizes, or fewer outputs than classes.
    """

    def __init__(
        self,
        neuron: NeuronFactory,
        input_shape: tuple[int, ...],
        num_classes: int,
        num_steps: int,
        *,
        hidden: Sequence[PositiveInt] = (1000,),
        first_gain: PositiveFloat = 1.0,
        integrator_beta: Fraction = READOUT_BETA,
        learn_integrator_beta: bool = True,
        num_outputs: PositiveInt | None = None,
    ) -> None:
        require_sizes("hidden", hidden)
        layers: list[tuple[str, nn.Module]] = [("flatten", nn.Flatten())]
        features = math.prod(input_shape)
        for number, size in enumerate(hidden):
            layers.append(("linear", unbiased_linear(features, size, 1.0 if number else first_gain)))
            layers.append(("neuron", neuron(num_steps=num_steps, num_features=size)))
            features = size
        outputs = num_classes if num_outputs is None else num_outputs
        if outputs < num_classes:
            raise UserError(f"architecture.num_outputs={outputs} is less than the {num_classes} classes")
        super().__init__(
            *layers,
            ("readout", unbiased_linear(features, outputs)),
            ("integrator", LeakyIntegrator(outputs, integrator_beta, learn_integrator_beta)),
        )


class BlockConvNet(SpikingSequential):
    """{conv 5x5 with padding 2, neuron, MaxPool 2} for every number of `channels`, then Linear, neuron, Linear and
    leaky integrators: the Block paper's 32-64-1000-10 net.

    Neurons have their learned parameters for each position, not for each channel. All biases start at 0; convolutions
    start U(-1/5, 1/5) whatever their number of input channels, as released.
    Raises UserError for no or non-positive sizes, or where the input is not `C x H x W` or a side is halved to nothing.
    """

    def __init__(
        self,
        neuron: NeuronFactory,
        input_shape: tuple[int, ...],
        num_classes: int,
        num_steps: int,
        *,
        channels: Sequence[PositiveInt] = (32, 64),
        hidden: Sequence[PositiveInt] = (1000,),
        integrator_beta: Fraction = 1.0,
        learn_integrator_beta: bool = True,
    ) -> None:
        require_sizes("channels", channels)
        require_sizes("hidden", hidden)
        require_image("the Block paper's convolutional net", input_shape, 2 ** len(channels))
        layers: list[tuple[str, nn.Module]] = []
        in_channels, height, width = input_shape
        for number in channels:
            conv = nn.Conv2d(in_channels, number, kernel_size=5, padding=2)
            nn.init.uniform_(conv.weight, -1 / 5, 1 / 5)
            assert conv.bias is not None
            nn.init.zeros_(conv.bias)
            positions = neuron(num_steps=num_steps, num_features=number * height * width)
            layers += [("conv", conv), ("neuron", PerPosition(positions)), ("pool", nn.MaxPool2d(2))]
            in_channels, height, width = number, height // 2, width // 2
        layers.append(("flatten", nn.Flatten()))
        features = in_channels * height * width
        for size in hidden:
            layers.append(("linear", unbiased_linear(features, size)))
            layers.append(("neuron", neuron(num_steps=num_steps, num_features=size)))
            features = size
        super().__init__(
            *layers,
            ("readout", unbiased_linear(features, num_classes)),
            ("integrator", LeakyIntegrator(num_classes, integrator_beta, learn_integrator_beta)),
        )


def unbiased_linear(features: int, size: int, gain: float = 1.0) -> nn.Linear:
    """A Linear whose weights start U(-gain/sqrt n_in, gain/sqrt n_in) and whose biases start at 0."""
    linear = nn.Linear(features, size)
    bound = gain / math.sqrt(features)
    nn.init.uniform_(linear.weight, -bound, bound)
    nn.init.zeros_(linear.bias)
    return linear
