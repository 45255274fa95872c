"""What the neurons of a trained network do: `python scripts/preview.py run=FOLDER`.

Shapes: input x `[T, N, *]`, spikes and membrane of a layer `[T, B, *]`, outputs `[T, N, K]`; N samples seen, B of them
at once, F neurons of a layer, all its positions.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from preview import Array, choice, picture, raster
from rich.table import Table
from torch import Tensor, nn

from snnrepro.errors import UserError, did_you_mean
from snnrepro.ledger.tables import amount, of_all, percent, show
from snnrepro.metrics.hooks import ForwardHooks
from snnrepro.metrics.speed import input_shapes
from snnrepro.neurons import Neuron, hold_draws
from snnrepro.pictures import save_png
from snnrepro.restore import Restored

SAMPLES = 128  # test samples seen, at most
MAX_SEEN = 2**29  # of a layer's elements in all samples; those that are drawn may exceed it
MAX_ELEMENTS = 2**23  # of a layer's `[T, B, *]`: 32 MiB in fp32; one sample may exceed it
MEMBRANES = 2**18  # values of a layer in its histogram, drawn where there are more
MAX_HEIGHT = 32.0  # inches of a picture
MAX_COLUMNS = 32
RIGHT, WRONG = "#1a7a2e", "#c0261c"


class Layer:
    """What one neuron layer did in the samples seen so far.

    fired `[F]`, fired_at `[T]`: spikes of each neuron, of each step. thresholds: the lowest and the highest.
    """

    def __init__(self, name: str, neuron: Neuron, shape: tuple[int, ...], samples: int, count: int, units: int) -> None:
        self.name = name
        self.neuron = neuron
        self.steps = shape[0]
        self.neurons = torch.Size(shape[2:]).numel()
        self.samples = 0
        self.fired = torch.zeros(self.neurons, dtype=torch.float64)
        self.fired_at = torch.zeros(self.steps, dtype=torch.float64)
        self.thresholds = (0.0, 0.0)
        self._above = self._sum = self._squares = 0.0
        self._drawn_share = min(1.0, MEMBRANES / (samples * self.steps * self.neurons))
        self._membranes: list[Tensor] = []
        self._count = count
        self._units = torch.linspace(0, self.neurons - 1, min(units, self.neurons)).round().long()
        self._shown: list[Tensor] = []

    def see(self, module: nn.Module, inputs: tuple[Tensor, ...], spikes: Tensor) -> None:
        """The neuron's forward hook: what reached it and what it fired."""
        h = self.neuron.membrane(inputs[0])
        threshold = torch.as_tensor(self.neuron.threshold(h[0]))
        self.thresholds = (float(threshold.min()), float(threshold.max()))
        self._above += float((h >= threshold if self.neuron.fires_at_threshold else h > threshold).sum())
        self._sum += float(h.sum(dtype=torch.float64))
        self._squares += float(h.square().sum(dtype=torch.float64))
        some = torch.randint(h.numel(), (round(self._drawn_share * h.numel()),))
        self._membranes.append(h.flatten()[some] if self._drawn_share < 1 else h.flatten())
        flat = spikes.reshape(self.steps, -1, self.neurons)
        self.fired += flat.sum((0, 1), dtype=torch.float64)
        self.fired_at += flat.sum((1, 2), dtype=torch.float64)
        if self.samples < self._count:
            self._shown.append(flat[:, : self._count - self.samples, self._units])
        self.samples += flat.shape[1]

    @property
    def membranes(self) -> Tensor:
        """`[M]`: all, or as many drawn as MEMBRANES."""
        return torch.cat(self._membranes)

    @property
    def shown(self) -> Tensor:
        """Spikes of the first samples and of evenly spaced neurons, `[T, N', F']`."""
        return torch.cat(self._shown, 1)

    @property
    def rates(self) -> Tensor:
        """Of each neuron, `[F]`."""
        return self.fired / (self.samples * self.steps)

    def rate(self) -> str:
        """Of the layer."""
        return amount(float(self.rates.mean()))

    @property
    def silent(self) -> float:
        """Share of the neurons that never fired."""
        return float((self.fired == 0).double().mean())

    @property
    def saturated(self) -> float:
        """Share of the neurons that fired at every step of every sample."""
        return float((self.fired == self.samples * self.steps).double().mean())

    @property
    def above(self) -> float:
        """Share of the membranes that reach the threshold; those of a single-spike neuron need not fire."""
        return self._above / (self.samples * self.steps * self.neurons)

    def membrane(self) -> str:
        """Mean and standard deviation of all membranes."""
        values = self.samples * self.steps * self.neurons
        mean = self._sum / values
        return f"{mean:.3g} ± {max(0.0, self._squares / values - mean**2) ** 0.5:.3g}"


class Watch(ForwardHooks):
    """Context in which every forward of the layers' neurons is seen by its Layer."""

    def __init__(self, layers: list[Layer]) -> None:
        super().__init__()
        self._layers = layers

    def _attach(self) -> list[Any]:
        return [layer.neuron.register_forward_hook(layer.see) for layer in self._layers]


class Seen(NamedTuple):
    """The layers' activity; of the samples that are drawn, the first ones, input and outputs; and labels `[N]`."""

    layers: list[Layer]
    x: Tensor
    outputs: Tensor
    labels: Tensor
    predicted: Tensor


def watched(run: Restored, rows: Array, seed: int, count: int, units: int, names: list[str]) -> Seen:
    """Send test samples through the network, the first of `rows`, in batches as the largest layer allows.

    names: of the layers to watch, none for all. Raises UserError for one that the network has not.
    """
    dataset: Any = run.data.test_dataloader().dataset

    def batch(chosen: Array) -> tuple[Tensor, Tensor]:
        x, y = dataset[(torch.from_numpy(chosen), seed)]
        return run.data.prepare(x, y, training=False)

    found = input_shapes(run.network, batch(rows[:1])[0])
    known = [name for name, _, _ in found]
    for name in names:
        if name not in known:
            raise UserError(f"unknown layer {name!r}{did_you_mean(name, known)}")
    largest = max(torch.Size(shape).numel() for _, _, shape in found)
    rows = rows[: max(count, min(SAMPLES, MAX_SEEN // largest))]
    at_once = max(1, MAX_ELEMENTS // largest)
    chosen = [layer for layer in found if not names or layer[0] in names]
    layers = [Layer(*layer, len(rows), count, units) for layer in chosen]
    inputs, outputs, labels, predicted = [], [], [], []
    torch.manual_seed(seed)
    with torch.no_grad(), Watch(layers):
        for number, start in enumerate(range(0, len(rows), at_once)):
            x, y = batch(rows[start : start + at_once])
            hold_draws(run.network, 2 * number + 1)  # odd: the draws of the test, not of training
            output = run.network(x)
            drawn = max(0, count - start)
            inputs.append(x[:, :drawn])
            outputs.append(output[:, :drawn])
            labels.append(y)
            predicted.append(run.readout(output).argmax(1))
    return Seen(layers, torch.cat(inputs, 1), torch.cat(outputs, 1), torch.cat(labels), torch.cat(predicted))


def raster_picture(seen: Seen, class_names: tuple[str, ...], title: str, file: Path) -> None:
    """A column for each sample, a row for its input, for each layer's spikes, and for the outputs."""
    from matplotlib import pyplot
    from matplotlib.ticker import MaxNLocator

    steps, count = seen.x.shape[:2]
    rows = len(seen.layers) + 2
    size = (max(7.5, 1.6 + 2.3 * count), min(MAX_HEIGHT, 1.2 + 1.15 * rows))
    figure, grid = pyplot.subplots(rows, count, figsize=size, squeeze=False, layout="constrained")
    figure.suptitle(title, fontsize=10)
    images = seen.x.ndim == 5 and seen.x.shape[2] <= 3
    dash = max(1.5, 110 / steps)  # points: a spike is as wide as its step
    for column, (top, *middle, bottom) in enumerate(grid.T):
        true, predicted = int(seen.labels[column]), int(seen.predicted[column])
        verdict, color = ("right", RIGHT) if true == predicted else ("wrong", WRONG)
        names = f"{class_names[true][:16]} → {class_names[predicted][:16]}"
        top.set_title(f"{names}, {verdict}", fontsize=9, color=color)
        x = seen.x[:, column].numpy()
        if images:
            top.imshow(picture(x.mean(0)), interpolation="nearest")
            top.set_yticks([])
        else:
            raster(top, x)
            top.set_xlim(-0.5, steps - 0.5)
        for axis, layer in zip(middle, seen.layers, strict=True):
            fired = layer.shown[:, column]
            at, neuron = fired.nonzero(as_tuple=True)
            axis.scatter(at, neuron, s=dash**2, marker="_", color="0.1", linewidths=0.8)
            axis.set(ylim=(-0.5, fired.shape[1] - 0.5))
            axis.set_yticks(*([0, fired.shape[1] - 1], ["0", f"{layer.neurons - 1:,}"]) if layer.neurons > 1 else [[0]])
        for label, values in enumerate(seen.outputs[:, column].T.numpy()):
            color, width = (RIGHT, 2.2) if label == true else (WRONG, 1.2) if label == predicted else ("0.7", 0.6)
            bottom.plot(values, color=color, lw=width, zorder=2 + width, marker="." if steps < 30 else None)
        for axis in (*middle, bottom):
            axis.set_xlim(-0.5, steps - 0.5)
        for axis in (top, *middle):
            axis.set_xticks([])
            axis.tick_params(labelsize=6)
        bottom.tick_params(labelsize=6)
        bottom.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        bottom.set_xlabel("time-step", fontsize=8)
    names_of_rows = ["input, mean over time" if images else "input"]
    for layer in seen.layers:
        neurons = of_all(layer.shown.shape[2], layer.neurons)
        names_of_rows.append(f"{layer.name}\nneurons: {neurons}\nrate {layer.rate()}")
    for axis, name in zip(grid[:, 0], [*names_of_rows, "outputs\nbold: true class"], strict=True):
        axis.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    save_png(figure, file, dpi=110)


def membrane_picture(layers: list[Layer], title: str, file: Path) -> None:
    """For each layer a histogram of the membrane just before firing, from its 0.1 to its 99.9 percentile.

    The axis goes on to the threshold where that lies outside. ALIF's is the resting one, which its spikes raise; at
    SPSN's, 0, it fires with probability 1/2.
    """
    from matplotlib import pyplot
    from matplotlib.ticker import NullFormatter

    columns = min(4, len(layers))
    rows = -(-len(layers) // columns)
    size = (max(7.5, 3.0 * columns), min(MAX_HEIGHT, 0.9 + 2.4 * rows))
    figure, grid = pyplot.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    figure.suptitle(title, fontsize=10)
    for axis in grid.flat[len(layers) :]:
        axis.set_visible(False)
    for axis, layer in zip(grid.flat, layers, strict=False):
        values = layer.membranes
        low, high = torch.quantile(values, torch.tensor([0.001, 0.999])).tolist()
        if low == high:
            low, high = low - 0.5, high + 0.5
        density, _, _ = axis.hist(values.numpy(), bins=60, range=(low, high), density=True, log=True, color="0.6")
        axis.set_ylim(0.7 * min(density[density > 0].min(), 0.1 * density.max()), 1.5 * density.max())
        axis.yaxis.set_minor_formatter(NullFormatter())
        first, last = layer.thresholds
        axis.axvspan(first, last, color="C3", alpha=0.3)
        axis.vlines([first, last], 0, 1, transform=axis.get_xaxis_transform(), color="C3", lw=1.2)
        margin = 0.03 * (high - low)
        axis.set_xlim(min(low, first) - margin, max(high, last) + margin)
        reached = "at or above" if layer.neuron.fires_at_threshold else "above"
        threshold = f"{first:.3g}" if first == last else f"{first:.3g} to {last:.3g}"
        axis.set_title(f"{layer.name}\n{percent(layer.above)} {reached} {threshold}", fontsize=9)
        axis.set_xlabel(f"membrane: {layer.membrane()}", fontsize=8)
        axis.tick_params(labelsize=7)
    figure.supylabel("density", fontsize=9)
    save_png(figure, file, dpi=110)


def rates_picture(layers: list[Layer], title: str, file: Path) -> None:
    """For each layer the rate over time, and a histogram of its neurons' rates."""
    from matplotlib import pyplot
    from matplotlib.ticker import MaxNLocator

    size = (8.0, min(MAX_HEIGHT, 1.2 + 1.5 * len(layers)))
    figure, grid = pyplot.subplots(len(layers), 2, figsize=size, squeeze=False, layout="constrained")
    figure.suptitle(title, fontsize=10)
    for (over_time, histogram), layer in zip(grid, layers, strict=True):
        at = layer.fired_at / (layer.samples * layer.neurons)
        over_time.plot(at.numpy(), marker="." if layer.steps < 30 else None)
        over_time.set(xlim=(-0.5, layer.steps - 0.5), ylim=(0, 1.1 * max(float(at.max()), 0.01)))
        over_time.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        rates = layer.rates
        over_time.set_ylabel(f"{layer.name}\nrate {layer.rate()}", rotation=0, ha="right", va="center", fontsize=8)
        histogram.hist(rates.numpy(), bins=40, range=(0, max(float(rates.max()), 0.01)), color="0.6")
        histogram.set_title(f"silent {percent(layer.silent)}, saturated {percent(layer.saturated)}", fontsize=8)
        for axis in (over_time, histogram):
            axis.tick_params(labelsize=7)
    grid[-1, 0].set_xlabel("time-step", fontsize=8)
    grid[-1, 1].set_xlabel("rate of a neuron", fontsize=8)
    save_png(figure, file, dpi=110)


def table(layers: list[Layer], title: str) -> Table:
    """A row for each layer."""
    made = Table(title=title, title_justify="left")
    made.add_column("layer", overflow="fold")
    for column in ("neurons", "T", "rate", "spikes/sample", "silent", "saturated", "membrane"):
        made.add_column(column, justify="right")
    made.add_column("kernel")
    for layer in layers:
        made.add_row(
            layer.name,
            f"{layer.neurons:,}",
            f"{layer.steps:,}",
            layer.rate(),
            amount(float(layer.fired.sum()) / layer.samples),
            percent(layer.silent),
            percent(layer.saturated),
            layer.membrane(),
            layer.neuron.kernel(layer.steps, torch.device("cpu")),
        )
    return made


def preview_run(run: Restored, count: int, seed: int, names: list[str], units: int, out: Path | None) -> None:
    """The table and the three pictures. Raises UserError for a layer that the network has not, or a count too large."""
    import matplotlib

    matplotlib.use("Agg")
    if count > MAX_COLUMNS:
        raise UserError(f"--count={count} makes too many columns: of a run at most {MAX_COLUMNS}")
    dataset: Any = run.data.test_dataloader().dataset
    rows, order = choice(dataset.samples.labels[dataset.rows].numpy(), count, seed)
    rows = np.concatenate([rows, order[~np.isin(order, rows)]])
    seen = watched(run, rows, seed, count, units, names)
    identity = run.record["identity"]
    best = "best on the test set" if run.record["protocol"] == "paper" else "best on validation"
    title = f"{identity}, weights of epoch {run.epoch + 1}, {best}"
    samples = f"{of_all(len(seen.labels), len(dataset))} test samples"
    folder = out or Path("runs/preview") / identity.replace("/", "-")
    raster_picture(seen, run.data.class_names, title, folder / "raster.png")
    membrane_picture(seen.layers, f"{title}\nmembrane just before firing, {samples}", folder / "membranes.png")
    rates_picture(seen.layers, f"{title}\nfiring rates, {samples}", folder / "rates.png")
    right = int((seen.predicted == seen.labels).sum())
    show(table(seen.layers, f"{title}\n{samples}, {right:,} of them right"))
    print(f"pictures: {folder / 'raster.png'}, membranes.png and rates.png")
