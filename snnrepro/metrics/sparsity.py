"""How often the neurons of a network fire, counted in the forward pass itself.

Firing rate = all spikes / sum over layers of (neurons x T x samples); the input and the readout are not counted.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from snnrepro.metrics.hooks import ForwardHooks
from snnrepro.neurons.neuron import Neuron


class LayerSpikes(NamedTuple):
    """Totals of one layer over all samples seen."""

    spikes: float
    possible: float  # neurons x T x samples

    @property
    def rate(self) -> float:
        return self.spikes / self.possible if self.possible else 0.0


class SpikeCounter(ForwardHooks):
    """Context in which every Neuron of `network` has its output `[T, B, *]` counted, exactly, in float64.

    layers: one LayerSpikes for each neuron layer, by module name. samples: how many samples went through.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._neurons = {name: m for name, m in network.named_modules() if isinstance(m, Neuron)}
        self._spikes: dict[str, Tensor] = {}
        self._possible: dict[str, int] = {}
        self._samples: dict[str, int] = {}

    def _attach(self) -> list[Any]:
        return [neuron.register_forward_hook(self._hook(name)) for name, neuron in self._neurons.items()]

    def _hook(self, name: str) -> Any:
        def count(module: nn.Module, inputs: tuple[Tensor, ...], spikes: Tensor) -> None:
            total = spikes.detach().sum(dtype=torch.float64)
            self._spikes[name] = self._spikes[name] + total if name in self._spikes else total
            self._possible[name] = self._possible.get(name, 0) + spikes.numel()
            self._samples[name] = self._samples.get(name, 0) + spikes.shape[1]

        return count

    @property
    def layers(self) -> dict[str, LayerSpikes]:
        return {name: LayerSpikes(float(total), self._possible[name]) for name, total in self._spikes.items()}

    @property
    def samples(self) -> int:
        return max(self._samples.values(), default=0)

    def summary(self) -> dict[str, float]:
        """test/firing_rate of the net (from total spikes, not a mean of layers) and of each layer, spikes a sample."""
        layers = self.layers
        spikes = sum(layer.spikes for layer in layers.values())
        possible = sum(layer.possible for layer in layers.values())
        metrics = {
            "test/firing_rate": spikes / possible if possible else 0.0,
            "test/spikes_per_sample": spikes / self.samples if self.samples else 0.0,
        }
        return metrics | {f"test/firing_rate/{name}": layer.rate for name, layer in layers.items()}
