"""Fully connected spiking networks.

Shapes: input `[T, B, *]`, flattened to `[T, B, F]`; output `[T, B, K]`.
"""

import math
from collections.abc import Sequence

from torch import nn

from snnrepro.architectures.layers import NeuronFactory, SpikingSequential
from snnrepro.errors import UserError
from snnrepro.types import Fraction, PositiveInt


class Dense(SpikingSequential):
    """[Linear, BatchNorm, neuron, Dropout] for every hidden size, then a Linear readout without neuron.

    hidden: sizes of the hidden layers. batch_norm: normalise before each neuron (the Linear then has no bias).
    dropout: probability after each neuron. Takes any input shape. Raises UserError for no or non-positive sizes.
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
        dropout: Fraction = 0.0,
    ) -> None:
        if not hidden or any(size < 1 for size in hidden):
            raise UserError(f"architecture.hidden must list sizes above 0, got {list(hidden)}")
        layers: list[tuple[str, nn.Module]] = [("flatten", nn.Flatten())]
        features = math.prod(input_shape)
        for size in hidden:
            layers.append(("linear", nn.Linear(features, size, bias=not batch_norm)))
            if batch_norm:
                layers.append(("norm", nn.BatchNorm1d(size)))
            layers.append(("neuron", neuron(num_steps=num_steps, num_features=size)))
            if dropout > 0:
                layers.append(("dropout", nn.Dropout(dropout)))
            features = size
        super().__init__(*layers, ("readout", nn.Linear(features, num_classes)))
