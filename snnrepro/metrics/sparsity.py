"""How often the neurons of a network fire, counted in the forward pass itself.

Firing rate = all spikes / sum over layers of (neurons x T x samples); the input and the readout are not counted. A
neuron is silent if it never fired in all that was seen, saturated if it fired at every step of every sample.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from snnrepro.metrics.hooks import ForwardHooks, summed_over_processes
from snnrepro.neurons.neuron import Neuron

EXACT_IN_FP32 = 2**24


class LayerSpikes(NamedTuple):
    """Totals of one layer over all samples seen."""

    spikes: float
    possible: float  # neurons x T x samples
    neurons: int
    samples: int
    silent: int  # neurons that never fired
    saturated: int  # neurons that always did
    rate_over_time: tuple[float, ...]  # [T], over neurons and samples; of a step that some samples lack, over the rest

    @property
    def rate(self) -> float:
        return self.spikes / self.possible if self.possible else 0.0

    @property
    def spikes_per_sample(self) -> float:
        return self.spikes / self.samples if self.samples else 0.0


class _Layer:
    """Sums of one layer: spikes of each neuron `[N]` and of each step `[T]`, and how often each could have fired."""

    def __init__(self) -> None:
        self.of_neuron: Tensor | None = None
        self.of_step = torch.zeros(0, dtype=torch.float64)
        self.samples_of_step = torch.zeros(0, dtype=torch.float64)
        self.opportunities = 0  # steps x samples: what a saturated neuron's spikes are
        self.samples = 0

    def see(self, spikes: Tensor) -> None:
        """spikes `[T, B, *]` in {0, 1}, of any dtype. Nothing is read back from the device."""
        steps, batch = spikes.shape[:2]
        few = max(steps * batch, spikes[0].numel()) < EXACT_IN_FP32
        exact = spikes.detach().to(torch.float32 if few else torch.float64)
        of_neuron = exact.sum((0, 1)).flatten().double()
        of_step = exact.flatten(1).sum(1).double()
        self.of_neuron = of_neuron if self.of_neuron is None else self.of_neuron + of_neuron
        self.of_step = _add(self.of_step.to(of_step.device), of_step)
        self.samples_of_step = _add(self.samples_of_step, torch.full((steps,), float(batch), dtype=torch.float64))
        self.opportunities += steps * batch
        self.samples += batch

    def of_all_processes(self) -> "_Layer":
        """The sums over all processes of a distributed run."""
        assert self.of_neuron is not None
        device, total = self.of_neuron.device, _Layer()
        total.of_neuron = summed_over_processes(self.of_neuron, device)
        total.of_step = summed_over_processes(self.of_step, device)
        total.samples_of_step = summed_over_processes(self.samples_of_step, device).cpu()
        counts = torch.tensor([self.opportunities, self.samples], dtype=torch.float64)
        total.opportunities, total.samples = (int(value) for value in summed_over_processes(counts, device))
        return total

    def result(self) -> LayerSpikes:
        assert self.of_neuron is not None
        neurons = self.of_neuron.numel()
        over_time = self.of_step.cpu() / (self.samples_of_step * neurons)
        return LayerSpikes(
            spikes=float(self.of_neuron.sum()),
            possible=float(neurons * self.opportunities),
            neurons=neurons,
            samples=self.samples,
            silent=int((self.of_neuron == 0).sum()),
            saturated=int((self.of_neuron == self.opportunities).sum()),
            rate_over_time=tuple(over_time.tolist()),
        )


def _add(a: Tensor, b: Tensor) -> Tensor:
    """Sum of two `[T]` of which one may be shorter."""
    long, short = (a, b) if len(a) >= len(b) else (b, a)
    total = long.clone()
    total[: len(short)] += short
    return total


class SpikeCounter(ForwardHooks):
    """Context in which every Neuron of `network` has its output `[T, B, *]` counted, exactly.

    layers: one LayerSpikes for each neuron layer, by module name. samples: how many samples went through.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._neurons = {name: m for name, m in network.named_modules() if isinstance(m, Neuron)}
        self._layers: dict[str, _Layer] = {}

    def _attach(self) -> list[Any]:
        return [neuron.register_forward_hook(self._hook(name)) for name, neuron in self._neurons.items()]

    def _hook(self, name: str) -> Any:
        def count(module: nn.Module, inputs: tuple[Tensor, ...], spikes: Tensor) -> None:
            self._layers.setdefault(name, _Layer()).see(spikes)

        return count

    def gather(self) -> None:
        """Add up what every process of a distributed run has counted, in place; a lone process keeps what it has.

        Every process must have seen every layer, at one and the same T.
        """
        self._layers = {name: layer.of_all_processes() for name, layer in self._layers.items()}

    def state(self) -> dict[str, dict[str, Tensor | int]]:
        """What all processes have counted so far, as a checkpoint takes it."""
        return {name: vars(layer.of_all_processes()) for name, layer in self._layers.items()}

    def load(self, state: dict[str, dict[str, Tensor | int]]) -> None:
        """Go on from what `state` gave."""
        for name, values in state.items():
            self._layers[name] = _Layer()
            vars(self._layers[name]).update(values)

    @property
    def layers(self) -> dict[str, LayerSpikes]:
        return {name: layer.result() for name, layer in self._layers.items()}

    @property
    def samples(self) -> int:
        return max((layer.samples for layer in self._layers.values()), default=0)

    def summary(self, stage: str = "test") -> dict[str, float]:
        """<stage>/firing_rate of the net (from total spikes, not a mean of layers) and of each layer; spikes a sample;
        which share of the neurons is silent, and saturated.
        """
        layers = self.layers
        spikes = sum(layer.spikes for layer in layers.values())
        possible = sum(layer.possible for layer in layers.values())
        neurons = max(1, sum(layer.neurons for layer in layers.values()))
        metrics = {
            f"{stage}/firing_rate": spikes / possible if possible else 0.0,
            f"{stage}/spikes_per_sample": spikes / self.samples if self.samples else 0.0,
            f"{stage}/silent_neurons": sum(layer.silent for layer in layers.values()) / neurons,
            f"{stage}/saturated_neurons": sum(layer.saturated for layer in layers.values()) / neurons,
        }
        return metrics | {f"{stage}/firing_rate/{name}": layer.rate for name, layer in layers.items()}
