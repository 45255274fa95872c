"""Look at a data set as the network gets it, or at what the neurons of a trained network do.

    python scripts/preview.py dataset=nmnist
    python scripts/preview.py dataset=spoken_digits dataset.code=level --count 5
    python scripts/preview.py run=runs/digits-dense/psu-0bcb4bef/seed0 --layers neuron1

dataset= takes the overrides of train.py. It writes NAME.png, a sheet of samples with their labels, the rate of events
or spikes over time and a histogram of how many each sample has (of speech the raster beside the waveform), and
NAME.gif, the same samples over time.

run= takes the folder of a finished run, or its run.json, and of the overrides only paths.*. Its best weights see up to
128 test samples, in fp32 on the CPU. It prints a table of the neuron layers and writes raster.png (input, spikes and
outputs over time), membranes.png (the potential just before firing, and the threshold) and rates.png (rates over time
and by neuron).
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from snnrepro.command import Parser, ended
from snnrepro.errors import UserError
from snnrepro.pictures import save_png
from snnrepro.writing import written_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from snnrepro.data.datamodule import DataModule

Array = NDArray[np.generic]
SHOWN_STEPS = 10  # frames of a sample on the sheet
COUNTED = 1000  # samples of the histogram, at most
ON, OFF = np.array([0.85, 0.2, 0.15]), np.array([0.1, 0.35, 0.8])


class Sample(NamedTuple):
    """What the network gets of one sample, `[T, *]`, its class's name, and its waveform where it is sound."""

    x: Array
    name: str
    waveform: Array | None


def samples_of(module: "DataModule", count: int, seed: int) -> tuple[list[Sample], Array]:
    """`count` test samples, one of each class as far as they go, and the sums `[N, T]` of some more."""
    import torch

    dataset: Any = module.test_dataloader().dataset
    labels = dataset.samples.labels[dataset.rows].numpy()
    rows, order = choice(labels, count, seed)

    def inputs(chosen: Array) -> Array:
        x, y = dataset[(torch.from_numpy(chosen), seed)]
        found: Array = module.prepare(x, y, training=False)[0].numpy()
        return found

    x = inputs(rows)
    chosen = [
        Sample(x[:, i], module.class_names[labels[row]], waveform_of(module, int(row))) for i, row in enumerate(rows)
    ]
    some = order[:COUNTED]
    sums = [
        inputs(some[i : i + 64]).reshape(module.num_steps, len(some[i : i + 64]), -1) for i in range(0, len(some), 64)
    ]
    return chosen, np.concatenate([part.sum(2).T for part in sums])


def choice(labels: Array, count: int, seed: int) -> tuple[Array, Array]:
    """`count` rows, one of each class as far as they go, by class; and all rows in the order that they are drawn in."""
    order = np.random.default_rng(seed).permutation(len(labels))
    _, first = np.unique(labels[order], return_index=True)
    rows = np.concatenate([order[np.sort(first)], np.delete(order, first)])[:count]
    return rows[np.argsort(labels[rows], kind="stable")], order


def waveform_of(module: "DataModule", row: int) -> Array | None:
    """The sound of a test sample, cut and padded as the network hears it."""
    from snnrepro.data.speech import SpeechDataModule, read_wav

    if not isinstance(module, SpeechDataModule):
        return None
    parts = module.find().parts
    recording = (parts["test"] or parts["train"])[row]
    heard = np.zeros(round(module.known.sample_rate * module.ear.duration_ms / 1000), np.float32)
    sound = read_wav(recording.file, module.known.sample_rate).numpy()[: len(heard)]
    heard[: len(sound)] = sound
    return heard


def picture(frame: Array) -> Array:
    """A frame `[C, H, W]` as RGB `[H, W, 3]`: one channel grey, on red and off blue, or three colours."""
    values = frame.astype(np.float64)
    low, high = min(0.0, float(values.min())), float(values.max())
    level = (values - low) / (high - low) if high > low else np.zeros_like(values)
    if len(level) == 2:
        off, on = np.sqrt(level)[:, :, :, None]
        mixed: Array = np.clip(1 - on * (1 - ON) - off * (1 - OFF), 0, 1)
        return mixed
    return np.repeat(1 - level[0][:, :, None], 3, 2) if len(level) == 1 else level.transpose(1, 2, 0)


def sheet(chosen: list[Sample], sums: Array, title: str, unit: str, file: Path) -> None:
    """The contact sheet."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    steps = len(chosen[0].x)
    images = chosen[0].x.ndim == 4
    shown = np.unique(np.linspace(0, steps - 1, min(SHOWN_STEPS, steps)).round().astype(int))
    sound = chosen[0].waveform is not None
    columns = len(shown) if images else 2 if sound else 1
    height = 0.95 if images else 1.25
    figure = pyplot.figure(figsize=(max(7.5, columns * 0.95 + 1.6), len(chosen) * height + 3.2), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=[len(chosen) * height, 2.6])
    top, bottom = parts
    top.suptitle(title, x=0.01, ha="left", fontsize=11)
    axes = top.subplots(len(chosen), columns, squeeze=False)
    for row, sample in zip(axes, chosen, strict=True):
        if images:
            for axis, step in zip(row, shown, strict=True):
                axis.imshow(picture(sample.x[step]), interpolation="nearest")
                axis.set(xticks=[], yticks=[])
        else:
            if sound:
                assert sample.waveform is not None
                row[0].plot(np.linspace(0, steps, len(sample.waveform)), sample.waveform, lw=0.4, color="0.3")
                row[0].set(xlim=(0, steps), ylim=(-1, 1), yticks=[])
            raster(row[-1], sample.x)
        row[0].set_ylabel(sample.name, rotation=0, ha="right", va="center", fontsize=8)
    if images:
        for axis, step in zip(axes[0], shown, strict=True):
            axis.set_title(f"t = {step}", fontsize=8)
    else:
        for axis in axes[:-1].flat:
            axis.set_xticks([])
        for axis in axes[-1]:
            axis.set_xlabel("time-step", fontsize=8)
            axis.tick_params(labelsize=7)
    over_time, histogram = bottom.subplots(1, 2)
    for sample in chosen:
        over_time.plot(sample.x.reshape(steps, -1).sum(1), lw=0.8, marker="." if steps < 40 else None)
    over_time.plot(sums.mean(0), color="black", lw=2, label=f"mean of {len(sums):,} samples")
    over_time.set(xlabel="time-step", title=f"{unit} per step")
    over_time.legend(fontsize=8)
    histogram.hist(sums.sum(1), bins=40, color="0.5")
    histogram.set(xlabel=f"{unit} per sample", title=f"histogram of {len(sums):,} samples")
    save_png(figure, file, dpi=110)


def raster(axis: "Axes", x: Array) -> None:
    """Features over time: spikes as dots, anything else as shades."""
    flat = x.reshape(len(x), -1)
    if set(np.unique(flat)) <= {0, 1}:
        at, feature = np.nonzero(flat)
        axis.scatter(at, feature, s=1.5, color="0.1", linewidths=0)
        axis.set(xlim=(0, len(x)), ylim=(-0.5, flat.shape[1] - 0.5))
    else:
        # Columns of an image begin at its top, bands of sound at the lowest.
        origin: Literal["upper", "lower"] = "upper" if x.ndim == 3 else "lower"
        axis.imshow(flat.T, aspect="auto", origin=origin, cmap="gray_r", interpolation="nearest")
    axis.set_yticks([0, flat.shape[1] - 1])
    axis.tick_params(labelsize=6)


def animation(chosen: list[Sample], file: Path) -> None:
    """All samples side by side over time, with their names; one-dimensional ones as rasters that fill up."""
    from PIL import Image, ImageDraw

    steps = len(chosen[0].x)
    pictures = []
    for step in range(steps):
        tiles = []
        for sample in chosen:
            if sample.x.ndim == 4:
                tile = picture(sample.x[step])
            else:
                past = sample.x.reshape(steps, -1).T.copy()
                past[:, step + 1 :] = min(0, past.min())
                tile = picture(past[None] if sample.x.ndim == 3 else past[None, ::-1])
            scale = max(1, round(120 / max(tile.shape[:2])))
            tiles.append((255 * tile.repeat(scale, 0).repeat(scale, 1)).astype(np.uint8))
        height, width = tiles[0].shape[:2]
        canvas = Image.new("RGB", (len(tiles) * (width + 8) + 8, height + 38), "white")
        draw = ImageDraw.Draw(canvas)
        for i, (tile, sample) in enumerate(zip(tiles, chosen, strict=True)):
            canvas.paste(Image.fromarray(tile), (8 + i * (width + 8), 22))
            draw.text((8 + i * (width + 8), 6), sample.name[: width // 6], fill="black")
        draw.text((8, height + 24), f"t = {step}", fill="gray")
        pictures.append(canvas)
    file.parent.mkdir(parents=True, exist_ok=True)
    timing: dict[str, Any] = {"duration": max(30, 2000 // steps), "loop": 0}
    with written_whole(file) as partial:
        pictures[0].save(partial, format="GIF", save_all=True, append_images=pictures[1:], **timing)


def preview_data(overrides: list[str], count: int, seed: int, folder: Path) -> None:
    """The sheet and the animation of a data set."""
    from snnrepro.build import data_module

    module, name = data_module(overrides)
    module.setup()
    chosen, sums = samples_of(module, count, seed)
    binary = all(set(np.unique(sample.x)) <= {0, 1} for sample in chosen)
    shape = " x ".join(map(str, (module.num_steps, *module.input_shape)))
    title = f"{name}: {module.splits['test']:,} test samples, {module.num_classes} classes, T x input = {shape}"
    counts = bool((sums == np.rint(sums)).all() and sums.min() >= 0)
    unit = "spikes" if binary else "events" if counts else "sum of inputs"
    sheet(chosen, sums, title, unit, folder / f"{name}.png")
    animation(chosen, folder / f"{name}.gif")
    print(f"pictures: {folder / name}.png and {name}.gif")


def preview_trained(
    overrides: list[str], count: int, seed: int, layers: list[str], neurons: int, folder: Path | None
) -> None:
    """The table and the pictures of a run. Raises UserError for overrides that would change what the run was."""
    from snnrepro.config.compose import compose_job

    where, *more = (word for word in overrides if word.startswith("run="))
    paths = [word for word in overrides if word.startswith("paths.")]
    others = [*more, *(word for word in overrides if not word.startswith(("run=", "paths.")))]
    if others:
        raise UserError(
            f"run= draws one run as its record has it: leave out {' '.join(others)}, only paths.* can be set"
        )
    config = compose_job(paths).config
    run = Path(where.removeprefix("run=")).expanduser()

    from preview_run import preview_run

    from snnrepro.restore import restored_run

    restored = restored_run(run.parent if run.name == "run.json" else run, config)
    preview_run(restored, count, seed, layers, neurons, folder)


def main() -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words = "dataset=NAME and any other override of train.py, or run=FOLDER"
    parser.add_argument("overrides", nargs="*", metavar="key=value", help=words)
    parser.add_argument("--count", type=int, help="samples (default 10; of a run 4)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of samples")
    parser.add_argument("--out", type=Path, help="folder of the pictures (default runs/preview; of a run one below)")
    parser.add_argument("--layers", nargs="+", default=[], metavar="NAME", help="of a run: these neuron layers only")
    parser.add_argument("--neurons", type=int, help="of a run: in a layer's raster at most (default 200)")
    arguments = parser.parse_intermixed_args()
    # No layer's name holds an equals sign: an override after --layers is one.
    overrides = [*arguments.overrides, *(word for word in arguments.layers if "=" in word)]
    layers = [word for word in arguments.layers if "=" not in word]
    count, seed, neurons = arguments.count, arguments.seed, arguments.neurons
    if (count is not None and count < 1) or (neurons is not None and neurons < 1) or seed < 0:
        raise UserError("--count and --neurons must be above 0 and --seed not below 0")
    if any(word.startswith("run=") for word in overrides):
        preview_trained(overrides, count or 4, seed, layers, neurons or 200, arguments.out)
    elif not overrides:
        raise UserError("nothing to look at: give dataset=NAME or run=FOLDER")
    elif layers or neurons:
        raise UserError("--layers and --neurons are of a trained network: give run=FOLDER")
    else:
        preview_data(overrides, count or 10, seed, arguments.out or Path("runs/preview"))


if __name__ == "__main__":
    sys.exit(ended(main))
