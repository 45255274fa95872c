"""Residual spiking networks: ResNet-19 for CIFAR, SEW-ResNet-18 and -34 for ImageNet.

Shapes: input `[T, B, C, H, W]`; output `[T, B, K]`.
"""

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from snnrepro.architectures.layers import (
    NeuronFactory,
    Residual,
    SpikingSequential,
    TimeLayer,
    require_image,
    require_sizes,
)
from snnrepro.errors import UserError, require_positive
from snnrepro.types import PositiveFloat, PositiveInt


class ResNet19(SpikingSequential):
    """conv 3x3, neuron, then 3 + 3 + 2 blocks of 128, 256, 512 channels, global average, Linear, neuron, Linear.

    A block is neuron(body(x) + shortcut(x)), body conv-norm-neuron-conv-norm; the first block of the second and third
    stage halves height and width. Normalisation is over time and batch together (tdBN), its weight starting at
    norm_gain: alpha V_th in the paper of tdBN (arXiv 2011.05280), 1 in MPE-PSN's code. conv_init: weights of the
    convolutions start `uniform` as in PyTorch or `kaiming_normal` with variance 2 / fan_out.
    Raises UserError where the input is not `C x H x W` or a side is below 4, or for non-positive sizes.
    Source: the CIFAR networks of MPE-PSN's code, arXiv 2409.04978.
    """

    def __init__(
        self,
        neuron: NeuronFactory,
        input_shape: tuple[int, ...],
        num_classes: int,
        num_steps: int,
        *,
        stem: PositiveInt = 64,
        channels: Sequence[PositiveInt] = (128, 256, 512),
        blocks: Sequence[PositiveInt] = (3, 3, 2),
        hidden: PositiveInt = 256,
        norm_gain: PositiveFloat = 1.0,
        conv_init: Literal["uniform", "kaiming_normal"] = "uniform",
    ) -> None:
        _check_stages(channels, blocks)
        require_positive(stem=stem, hidden=hidden, norm_gain=norm_gain)
        require_image("ResNet-19", input_shape, 2 ** (len(channels) - 1))

        def spiking(size: int) -> nn.Module:
            return neuron(num_steps=num_steps, num_features=size)

        layers: list[tuple[str, nn.Module]] = [*_conv(input_shape[0], stem, 3, 1), ("neuron", spiking(stem))]
        before = stem
        for stage, (size, count) in enumerate(zip(channels, blocks, strict=True)):
            for number in range(count):
                stride = 2 if stage and not number else 1
                body = [*_conv(before, size, 3, stride), ("neuron", spiking(size)), *_conv(size, size, 3, 1)]
                projected = _conv(before, size, 1, stride) if stride > 1 or before != size else None
                layers.append(("block", _residual(body, projected, spiking(size))))
                before = size
        super().__init__(
            *layers,
            ("pool", nn.AdaptiveAvgPool2d(1)),
            ("flatten", nn.Flatten()),
            ("linear", nn.Linear(before, hidden)),
            ("neuron", spiking(hidden)),
            ("readout", nn.Linear(hidden, num_classes)),
        )
        _start(self, conv_init, norm_gain)


class SEWResNet(SpikingSequential):
    """conv 7x7 stride 2, neuron, AvgPool 3 stride 2, four stages of blocks, global average, Linear.

    A block is body(x) + shortcut(x) (spike-element-wise ADD, arXiv 2102.04159), body conv-norm-neuron-conv-norm-neuron,
    so that its outputs are sums, no longer spikes; the first block of every stage but the first halves height and
    width. blocks [2, 2, 2, 2] is SEW-ResNet-18, [3, 4, 6, 3] -34. Convolutions start kaiming_normal with
    variance 2 / fan_out. time_embedding: add a learned number for each step to the (repeated) image, as PSN's code does
    although the papers do not mention it. weights: `torchvision` starts from torchvision's ANN of the same shape, as
    PSN does; its file is read from torch's hub folder, never downloaded.
    Raises UserError where the input is not `C x H x W` or a side is below 32, for non-positive sizes, and for weights
    that are not there or do not fit.
    Source: the ImageNet networks of PSN's code, arXiv 2304.12760.
    """

    def __init__(
        self,
        neuron: NeuronFactory,
        input_shape: tuple[int, ...],
        num_classes: int,
        num_steps: int,
        *,
        stem: PositiveInt = 64,
        channels: Sequence[PositiveInt] = (64, 128, 256, 512),
        blocks: Sequence[PositiveInt] = (2, 2, 2, 2),
        time_embedding: bool = True,
        weights: Literal["torchvision"] | None = None,
    ) -> None:
        _check_stages(channels, blocks)
        require_positive(stem=stem)
        require_image("SEW-ResNet", input_shape, 2 ** (len(channels) + 1))

        def spiking(size: int) -> tuple[str, nn.Module]:
            return "neuron", neuron(num_steps=num_steps, num_features=size)

        layers: list[tuple[str, nn.Module]] = [("embedding", TimeEmbedding(num_steps))] if time_embedding else []
        layers += [*_conv(input_shape[0], stem, 7, 2), spiking(stem), ("pool", nn.AvgPool2d(3, stride=2, padding=1))]
        before = stem
        for stage, (size, count) in enumerate(zip(channels, blocks, strict=True)):
            for number in range(count):
                stride = 2 if stage and not number else 1
                body = [*_conv(before, size, 3, stride), spiking(size), *_conv(size, size, 3, 1), spiking(size)]
                changes = stride > 1 or before != size
                shortcut = [*_conv(before, size, 1, stride), spiking(size)] if changes else None
                layers.append(("block", _residual(body, shortcut, None)))
                before = size
        super().__init__(
            *layers,
            ("pool", nn.AdaptiveAvgPool2d(1)),
            ("flatten", nn.Flatten()),
            ("readout", nn.Linear(before, num_classes)),
        )
        _start(self, "kaiming_normal", 1.0)
        if weights == "torchvision":
            load_torchvision(self, blocks)


def load_torchvision(network: SEWResNet, blocks: Sequence[int]) -> None:
    """Copy the weights of torchvision's ResNet-18 or -34 into a SEW-ResNet with as many blocks a stage, in place.

    Raises UserError where there is no such ResNet, its file is not in torch's hub folder, or another size is built.
    """
    from torchvision.models import ResNet18_Weights, ResNet34_Weights

    known: dict[tuple[int, ...], tuple[str, Any]] = {
        (2, 2, 2, 2): ("resnet18", ResNet18_Weights),
        (3, 4, 6, 3): ("resnet34", ResNet34_Weights),
    }
    if tuple(blocks) not in known:
        raise UserError(f"architecture.weights=torchvision goes with blocks {' or '.join(map(str, map(list, known)))}")
    name, published = known[tuple(blocks)]
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(published.IMAGENET1K_V1.url).name
    if not file.is_file():
        raise UserError(
            f'architecture.weights=torchvision: {file} is not there; fetch it, python -c "import torchvision; '
            f"torchvision.models.{name}(weights='IMAGENET1K_V1')\", or take architecture.weights=null"
        )
    ours = {"conv1": "conv1", "bn1": "norm1", "fc": "readout1"}
    numbers = [(stage, number) for stage, count in enumerate(blocks, 1) for number in range(count)]
    parts = {"conv1": "body.conv1", "bn1": "body.norm1", "conv2": "body.conv2", "bn2": "body.norm2"}
    parts |= {"downsample.0": "shortcut.conv1", "downsample.1": "shortcut.norm1"}
    for at, (stage, number) in enumerate(numbers, 1):
        ours |= {f"layer{stage}.{number}.{theirs}": f"block{at}.{mine}" for theirs, mine in parts.items()}
    renamed = {}
    try:
        for full_name, value in torch.load(file, map_location="cpu", weights_only=True).items():
            module, _, kind = full_name.rpartition(".")
            renamed[f"{ours[module]}.{kind}"] = value
    except (OSError, EOFError, RuntimeError, KeyError, AttributeError, pickle.UnpicklingError):
        raise UserError(f"{file} cannot be read as torchvision's {name}: remove it and fetch it again") from None
    try:
        left = network.load_state_dict(renamed, strict=False)
    except RuntimeError:
        raise UserError(
            f"architecture.weights=torchvision fits torchvision's {name} only: its channels, 3 x H x W, 1,000 classes"
        ) from None
    assert not left.unexpected_keys


class TimeEmbedding(TimeLayer):
    """x[t] + e[t], one learned number for each of T steps, which starts normal with deviation 0.02."""

    def __init__(self, num_steps: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.empty(num_steps))
        nn.init.trunc_normal_(self.embedding, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        return self.stream(x)[0]

    def stream(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        first = 0 if state is None else int(state)
        end = first + len(x)
        if end > len(self.embedding):
            raise UserError(f"this network was built for T = {len(self.embedding)}, this input ends at {end}")
        return x + self.embedding[first:end].view(-1, *[1] * (x.ndim - 1)), end


def _check_stages(channels: Sequence[int], blocks: Sequence[int]) -> None:
    require_sizes("channels", channels)
    require_sizes("blocks", blocks)
    if len(channels) != len(blocks):
        raise UserError(
            f"architecture.channels and architecture.blocks list one number for each stage, got {list(channels)} and "
            f"{list(blocks)}"
        )


def _conv(in_channels: int, channels: int, kernel_size: int, stride: int) -> list[tuple[str, nn.Module]]:
    """Convolution without bias and its normalisation, in a size that only the stride changes."""
    conv = nn.Conv2d(in_channels, channels, kernel_size, stride, padding=kernel_size // 2, bias=False)
    return [("conv", conv), ("norm", nn.BatchNorm2d(channels))]


def _residual(body: list[tuple[str, nn.Module]], shortcut: list[tuple[str, nn.Module]] | None, neuron: Any) -> Residual:
    return Residual(SpikingSequential(*body), None if shortcut is None else SpikingSequential(*shortcut), neuron)


def _start(network: nn.Module, conv_init: str, norm_gain: float) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and conv_init == "kaiming_normal":
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.weight, norm_gain)
