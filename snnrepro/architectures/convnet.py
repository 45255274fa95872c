"""The two convolutional networks of the PSN paper (Fang et al., NeurIPS 2023, arXiv 2304.12760).

Shapes: input `[T, B, C, H, W]` (image repeated) or `[T, B, C, L]` (one column a step); output `[T, B, K]`.
"""

import math

from torch import nn

from snnrepro.architectures.layers import NeuronFactory, SpikingSequential, describe
from snnrepro.errors import UserError
from snnrepro.types import PositiveInt


class PSNConvNet(SpikingSequential):
    """{[conv k3 without bias, BatchNorm, neuron] x 3, AvgPool 2} x 2, Linear to a quarter, neuron, Linear.

    Two-dimensional for `C x H x W` (CIFAR-10 at 256 channels: FC 16384-4096-10), one-dimensional for `C x L`
    (sequential CIFAR at 128 channels: FC 1024-256-10). Raises UserError where the input is neither, or a side is
    below 4, so that nothing is left after two poolings.
    """

    def __init__(
        self,
        neuron: NeuronFactory,
        input_shape: tuple[int, ...],
        num_classes: int,
        num_steps: int,
        *,
        channels: PositiveInt = 128,
        dimensions: PositiveInt = 2,
    ) -> None:
        if dimensions not in (1, 2):
            raise UserError(f"architecture.dimensions is 1 or 2, got {dimensions}")
        if len(input_shape) != dimensions + 1 or min(input_shape[1:]) < 4:
            wanted = "channels x height x width" if dimensions == 2 else "channels x length (one column a step)"
            raise UserError(
                f"this convolutional network takes {wanted} with sides of at least 4, the data set gives "
                f"{describe(input_shape)}; take architecture=dense or another data set"
            )
        conv, norm, pool = (
            (nn.Conv1d, nn.BatchNorm1d, nn.AvgPool1d),
            (nn.Conv2d, nn.BatchNorm2d, nn.AvgPool2d),
        )[dimensions - 1]
        layers: list[tuple[str, nn.Module]] = []
        in_channels = input_shape[0]
        for _ in range(2):
            for _ in range(3):
                layers.append(("conv", conv(in_channels, channels, kernel_size=3, padding=1, bias=False)))
                layers.append(("norm", norm(channels)))
                layers.append(("neuron", neuron(num_steps=num_steps, num_features=channels)))
                in_channels = channels
            layers.append(("pool", pool(2)))
        features = channels * math.prod(side // 4 for side in input_shape[1:])
        hidden = max(1, features // 4)
        super().__init__(
            *layers,
            ("flatten", nn.Flatten()),
            ("linear", nn.Linear(features, hidden)),
            ("neuron", neuron(num_steps=num_steps, num_features=hidden)),
            ("readout", nn.Linear(hidden, num_classes)),
        )
