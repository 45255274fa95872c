"""The loading benchmarks of scripts/benchmark.py: batches from the packed cache, and events to frames.

Both run on one thread in one process and alternate with tonic's way of doing the same on the same recordings.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from snnrepro.errors import DataNotFoundError, UserError

if TYPE_CHECKING:
    from snnrepro.data.datamodule import DataModule
    from snnrepro.data.events import EventDataModule

Row = dict[str, Any]
SECONDS = 1.5  # of each repeat, at least one epoch
RANDOM_SHD = "shd_random"  # SHD's layout and size of a sample, where SHD is not at hand
SAMPLES, EVENTS, UNITS, DURATION = 512, 8000, 700, 0.9


def loading(arguments: argparse.Namespace) -> Iterator[Row]:
    """Batches of the training loader, and those up to the network's input; beside them tonic's DiskCachedDataset."""
    import torch

    from snnrepro.build import data_module
    from snnrepro.config.check import options
    from snnrepro.data.events import EventDataModule

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        for name in arguments.datasets or [*options("dataset"), RANDOM_SHD]:
            folder = arguments.data_dir
            if name == RANDOM_SHD:
                folder = Path(scratch) / "random"
                write_random_shd(folder / "SHD")
            words = [f"dataset={name.removesuffix('_random')}", "dataset.num_workers=0", "protocol=paper"]
            places = [f"paths.cache_dir={scratch}/cache", *([f"paths.data_dir={folder}"] if folder else [])]
            module, _ = data_module([*words, *places])
            try:
                module.setup()
            except DataNotFoundError as error:
                if arguments.datasets:
                    raise
                print(f"left out: {str(error).split(';')[0]}")
                continue
            ways: dict[str, Callable[[int], tuple[int, int]]] = {
                "loader": partial(epoch_of, module, False),
                "input": partial(epoch_of, module, True),
            }
            if isinstance(module, EventDataModule):
                ways["tonic"] = tonic_epochs(module, Path(scratch) / f"tonic-{name}")
            rates: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
            for repeat in range(arguments.repeats):
                for way, run in ways.items():
                    rates[way].append(timed(run, repeat))
            per_second = {way: statistics.median(samples for samples, _ in found) for way, found in rates.items()}
            tonic = per_second.get("tonic")
            yield {
                "dataset": name,
                "T": module.num_steps,
                "input": "x".join(map(str, module.input_shape)),
                "samples": module.splits["train"],
                "augmentation": module.augmentation.describe(),
                "batch_size": module.batch_size,
                "loader_samples_per_second": per_second["loader"],
                "loader_slowest": min(samples for samples, _ in rates["loader"]),
                "loader_fastest": max(samples for samples, _ in rates["loader"]),
                "loader_mb_per_second": statistics.median(size for _, size in rates["loader"]) / 1e6,
                "input_samples_per_second": per_second["input"],
                "tonic_samples_per_second": tonic,
                "loader_vs_tonic": per_second["loader"] / tonic if tonic else None,
                "repeats": arguments.repeats,
                "processes": 1,
            }


def timed(run: Callable[[int], tuple[int, int]], repeat: int) -> tuple[float, float]:
    """Samples and bytes per second over whole epochs."""
    samples = size = 0
    start = time.perf_counter()
    epoch = 1000 * repeat
    while (seconds := time.perf_counter() - start) < SECONDS or not samples:
        found = run(epoch)
        samples, size, epoch = samples + found[0], size + found[1], epoch + 1
    return samples / seconds, size / seconds


def epoch_of(module: "DataModule", whole: bool, epoch: int) -> tuple[int, int]:
    """Samples and bytes of one epoch of the training loader; `whole`: made the network's input too."""
    samples = size = 0
    loader: Any = module.train_dataloader()
    loader.sampler.set_epoch(epoch)
    for x, y in loader:
        samples, size = samples + x.shape[1], size + x.nbytes
        if whole:
            module.prepare(x, y, training=True)
    return samples, size


def tonic_epochs(module: "EventDataModule", folder: Path) -> Callable[[int], tuple[int, int]]:
    """Epochs over the same training recordings, binned by tonic's ToFrame and read back from its DiskCachedDataset."""
    from tonic import DiskCachedDataset
    from torch.utils.data import DataLoader

    found = module.find()
    recordings = found.parts["train"] or found.parts["test"]
    to_frame = tonic_transform(module)

    class Recordings:
        def __len__(self) -> int:
            return len(recordings)

        def __getitem__(self, i: int) -> tuple[Any, int]:
            return to_frame(structured(module.events(recordings[i]))), recordings[i].label

    cached = DiskCachedDataset(Recordings(), cache_path=str(folder))
    loader: Any = DataLoader(cached, batch_size=module.batch_size, shuffle=True)
    for _ in loader:  # fills the cache
        pass

    def run(epoch: int) -> tuple[int, int]:
        samples = size = 0
        for x, _ in loader:
            samples, size = samples + len(x), size + x.nbytes
        return samples, size

    return run


def tonic_transform(module: "EventDataModule") -> Any:
    """tonic's ToFrame for the module's binning; cut or padded to T where tonic leaves T open; its own down-sampling."""
    from tonic import transforms

    (height, width), (low, narrow) = module.grid.sensor, module.grid.size
    binning, steps = module.binning, module.num_steps
    kinds: dict[str, dict[str, Any]] = {
        "number": {"n_event_bins": steps},
        "time": {"n_time_bins": steps},
        "duration": {"time_window": binning.bin_us, "start_time": 0, "end_time": steps * (binning.bin_us or 0)},
        "count": {"event_count": binning.bin_events},
    }
    frames = transforms.ToFrame(sensor_size=(narrow, low, module.grid.channels), **kinds[binning.by])
    if (height, width) == (low, narrow):
        return frames
    smaller = transforms.Downsample(spatial_factor=(narrow / width, low / height))
    return transforms.Compose([smaller, frames])


def structured(events: Any) -> Any:
    """Events as tonic's structured array."""
    table = np.empty(len(events.t), [("x", np.int16), ("y", np.int16), ("t", np.int64), ("p", np.int8)])
    for name in "xytp":
        table[name] = getattr(events, name)
    return table


def write_random_shd(folder: Path) -> None:
    """Random spike trains of SHD's usual length in its layout."""
    import h5py

    folder.mkdir(parents=True)
    draws = np.random.default_rng(0)
    for part in ("train", "test"):
        with h5py.File(folder / f"shd_{part}.h5", "w") as file:
            for name, kind in (("times", np.float16), ("units", np.uint16)):
                file.create_dataset(f"spikes/{name}", (SAMPLES,), h5py.vlen_dtype(kind))
            for i in range(SAMPLES):
                file["spikes/times"][i] = np.sort(draws.random(EVENTS) * DURATION).astype(np.float16)
                file["spikes/units"][i] = draws.integers(0, UNITS, EVENTS).astype(np.uint16)
            file["labels"] = (np.arange(SAMPLES) % 20).astype(np.uint8)


MODES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "number": ({"n_event_bins": 16}, {"num_steps": 16, "by": "number", "remainder": "drop"}),
    "time": ({"n_time_bins": 16}, {"num_steps": 16, "by": "time", "remainder": "drop"}),
    "duration": ({"time_window": 100_000}, {"by": "duration", "bin_us": 100_000}),
    "count": ({"event_count": 8000}, {"by": "count", "bin_events": 8000}),
}


def framing(arguments: argparse.Namespace) -> Iterator[Row]:
    """Each recording of DVS-Gesture in memory to 128 x 128 frames: ours and tonic's ToFrame, one after the other."""
    import torch
    from tonic.transforms import ToFrame

    from snnrepro.build import data_module
    from snnrepro.data.events import EventDataModule
    from snnrepro.data.frames import Binning, Grid, frames_of

    torch.set_num_threads(1)
    folder = [f"paths.data_dir={arguments.data_dir}"] if arguments.data_dir else []
    module, _ = data_module(["dataset=dvs_gesture", *folder])
    assert isinstance(module, EventDataModule)
    found = module.find()
    recordings = [module.events(r) for part in found.parts.values() for r in part][: arguments.recordings]
    grid = Grid((128, 128), (128, 128), (0, 1))
    for mode, (theirs, ours) in MODES.items():
        to_frame = ToFrame(sensor_size=(128, 128, 2), **theirs)
        seconds: dict[str, list[float]] = {"ours": [], "tonic": []}
        for repeat in range(arguments.repeats + 1):
            for events in recordings:
                table = structured(events)
                start = time.perf_counter()
                expected = to_frame(table)
                middle = time.perf_counter()
                binning = Binning(**{"num_steps": len(expected)} | ours)
                start_ours = time.perf_counter()
                frames = frames_of(events, binning, grid)
                end = time.perf_counter()
                if not np.array_equal(frames, expected):
                    raise UserError(f"frames by {mode} differ from tonic's: nothing is reported")
                if repeat:  # the first warms up
                    seconds["tonic"].append(middle - start)
                    seconds["ours"].append(end - start_ours)
        ratios = [b / a for a, b in zip(seconds["ours"], seconds["tonic"], strict=True)]
        events_each = statistics.mean(len(events.t) for events in recordings)
        yield {
            "split_by": mode,
            "recordings": len(recordings),
            "events_per_recording": round(events_each),
            "ours_ms": 1e3 * statistics.median(seconds["ours"]),
            "tonic_ms": 1e3 * statistics.median(seconds["tonic"]),
            "ours_vs_tonic": statistics.median(ratios),
            "smallest": min(ratios),
            "largest": max(ratios),
            "million_events_per_second": events_each / statistics.median(seconds["ours"]) / 1e6,
            "repeats": arguments.repeats,
        }
