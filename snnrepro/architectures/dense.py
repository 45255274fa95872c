"""Fully connected spiking networks.

Shapes: input `[T, B, *]`, flattened to `[T, B, F]`; output `[T, B, K]`.
"""

import math
from collections.abc import Sequence

from torch import nn

from snnrepro.architectures.attention import STSC
from snnrepro.architectures.layers import NeuronFactory, SpikingSequential, require_sizes
from snnrepro.types import Fraction, PositiveInt


class Dense(SpikingSequential):
    """[Linear, BatchNorm, neuron, Dropout] for every hidden size, then a Linear readout without neuron.

    hidden: sizes of the hidden layers. batch_norm: normalise before each neuron. bias: of the hidden Linears, null for
    one only where no BatchNorm follows. dropout: probability after each neuron, or with dropout_before_norm right
    after the Linear. attention: STSC in front. Takes any input shape. Raises UserError for no or non-positive sizes.
    Source of the SHD networks (700-1024-1024-20 with attention, 700-128-128-128-20): PSU's code, arXiv 2402.00449.
    """

    def __init__(
        self,
        neuron: NeuronFactory,
        input_shape: tuple[int, ...],
        num_classes: int,
        num_steps: int,
        *,
        hidden: Sequence[PositiveInt] = (256,),
        batch_norm: bool = True,
        bias: bool | None = None,
        dropout: Fraction = 0.0,
        dropout_before_norm: bool = False,
        attention: bool = False,
    ) -> None:
        require_sizes("hidden", hidden)
        layers: list[tuple[str, nn.Module]] = [("flatten", nn.Flatten())]
        features = math.prod(input_shape)
        if attention:
            layers.append(("attention", STSC(features)))
        for size in hidden:
            layers.append(("linear", nn.Linear(features, size, bias=not batch_norm if bias is None else bias)))
            drop: list[tuple[str, nn.Module]] = [("dropout", nn.Dropout(dropout))] if dropout > 0 else []
            layers += drop if dropout_before_norm else []
            if batch_norm:
                layers.append(("norm", nn.BatchNorm1d(size)))
            layers.append(("neuron", neuron(num_steps=num_steps, num_features=size)))
            layers += [] if dropout_before_norm else drop
            features = size
        super().__init__(*layers, ("readout", nn.Linear(features, num_classes)))
