"""VGG-like spiking networks for frames of events and for images, from a list of their layers.

Shapes: input `[T, B, C, H, W]`; output `[T, B, K]`.
"""

from collections.abc import Sequence
from typing import Literal

from torch import nn

from snnrepro.architectures.layers import NeuronFactory, SpikingSequential, describe
from snnrepro.architectures.readout import Voting
from snnrepro.errors import UserError, require_positive
from snnrepro.types import Fraction, PositiveInt

POOLS: dict[str, type[nn.AvgPool2d] | type[nn.MaxPool2d]] = {"A": nn.AvgPool2d, "M": nn.MaxPool2d}


class VGG(SpikingSequential):
    """[conv 3x3, BatchNorm, neuron] for every number in `layers`, a pooling for every mark, then fully connected.

    layers: numbers of channels, and the marks "A" for AvgPool 2 and "M" for MaxPool 2. bias: of the convolutions.
    conv_init: their weights start `uniform` as in PyTorch, or `kaiming_normal` with variance 2 / (9 channels out).
    global_pool: average every channel over its height and width before the fully connected part.
    hidden: sizes of its [Linear, neuron] layers. dropout: probability before every Linear, the last too, drawn anew for
    each value and time-step. voting: how many outputs in a row each class has; their mean is its output.

    Raises UserError where the input is not `C x H x W`, a side is halved to nothing, or a list holds something else.
    Sources: the CIFAR10-DVS network of PSN (arXiv 2304.12760), the DVS-Gesture network of MPE-PSN (arXiv 2409.04978),
    the CIFAR and CIFAR10-DVS networks of PSU (arXiv 2402.00449).
    """

    def __init__(
        self,
        neuron: NeuronFactory,
        input_shape: tuple[int, ...],
        num_classes: int,
        num_steps: int,
        *,
        layers: Sequence[int | str],
        bias: bool = False,
        conv_init: Literal["uniform", "kaiming_normal"] = "uniform",
        global_pool: bool = False,
        hidden: Sequence[PositiveInt] = (),
        dropout: Fraction = 0.0,
        voting: PositiveInt = 1,
    ) -> None:
        _check(input_shape, layers, hidden)
        require_positive(voting=voting)
        parts: list[tuple[str, nn.Module]] = []
        channels, height, width = input_shape
        for entry in layers:
            if isinstance(entry, str):
                parts.append(("pool", POOLS[entry](2)))
                height, width = height // 2, width // 2
                continue
            conv = nn.Conv2d(channels, entry, kernel_size=3, padding=1, bias=bias)
            if conv_init == "kaiming_normal":
                nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            parts.append(("conv", conv))
            parts.append(("norm", nn.BatchNorm2d(entry)))
            parts.append(("neuron", neuron(num_steps=num_steps, num_features=entry)))
            channels = entry
        if global_pool:
            parts.append(("pool", nn.AdaptiveAvgPool2d(1)))
            height = width = 1
        parts.append(("flatten", nn.Flatten()))
        features = channels * height * width
        for size in hidden:
            if dropout > 0:
                parts.append(("dropout", nn.Dropout(dropout)))
            parts.append(("linear", nn.Linear(features, size)))
            parts.append(("neuron", neuron(num_steps=num_steps, num_features=size)))
            features = size
        if dropout > 0:
            parts.append(("dropout", nn.Dropout(dropout)))
        parts.append(("readout", nn.Linear(features, num_classes * voting)))
        if voting > 1:
            parts.append(("voting", Voting(voting)))
        super().__init__(*parts)


def _check(input_shape: tuple[int, ...], layers: Sequence[int | str], hidden: Sequence[int]) -> None:
    for entry in layers:
        is_number = isinstance(entry, int) and not isinstance(entry, bool) and entry > 0
        if not is_number and entry not in tuple(POOLS):
            raise UserError(
                "architecture.layers lists numbers of channels above 0 and the poolings A (average) and M (maximum), "
                f"got {entry!r}"
            )
    if not any(isinstance(entry, int) for entry in layers):
        raise UserError(f"architecture.layers must list at least one number of channels, got {list(layers)}")
    if any(size < 1 for size in hidden):
        raise UserError(f"architecture.hidden must list sizes above 0, got {list(hidden)}")
    halvings = sum(isinstance(entry, str) for entry in layers)
    if len(input_shape) != 3 or min(input_shape[1:]) < 2**halvings:
        raise UserError(
            f"this VGG takes channels x height x width with sides of at least {2**halvings}, halved {halvings} times, "
            f"the data set gives {describe(input_shape)}; take architecture=dense or another data set"
        )
