"""Real recordings through the data module: every frame as it should be, packed once, in an order fixed by the seed.

Shapes: batches `[T, B, C, H, W]` (camera), `[T, B, F]` (cochlea).
"""

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from event_writers import write_aedat2, write_atis_bin
from torch import Tensor
from torch.nn.functional import interpolate

from snnrepro.data import event_files
from snnrepro.data.augment import Augmentation
from snnrepro.data.event_augment import EventAugmentation
from snnrepro.data.event_files import read_atis_bin, read_gesture_npy
from snnrepro.data.events import EventDataModule
from snnrepro.data.frames import CHANNEL_OF, Binning, Events, Grid, frames_of
from snnrepro.errors import UserError

NMNIST = {"source": "nmnist", "num_steps": 6, "batch_size": 64, "num_workers": 0, "allow_partial": True}
GESTURE = {"source": "dvs_gesture", "num_steps": 4, "size": [32, 32], "batch_size": 4, "num_workers": 0}
GESTURE |= {"allow_partial": True}
COCHLEA = {"source": "spoken_digits_spikes", "num_steps": 50, "split_by": "duration", "bin_ms": 20.0, "start": "zero"}
COCHLEA |= {"batch_size": 32, "num_workers": 0}


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


def module(folder: Path, cache: Path, protocol="validated", seed=0, augmentation=None, **options) -> EventDataModule:
    made = EventDataModule(str(folder), str(cache), protocol, seed, augmentation or EventAugmentation(), **options)
    made.setup()
    return made


def complaint(*args, **options) -> str:
    with pytest.raises(UserError) as caught:
        module(*args, **options)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def epoch(made: EventDataModule, number: int = 0) -> list[tuple[Tensor, Tensor]]:
    loader = made.train_dataloader()
    loader.sampler.set_epoch(number)
    return list(loader)


def whole(loader) -> tuple[Tensor, Tensor]:
    batches = list(loader)
    return torch.cat([x for x, _ in batches], 1), torch.cat([y for _, y in batches])


def identical(first: list, second: list) -> bool:
    pairs = zip(first, second, strict=True)
    return all(torch.equal(a, b) for batch, other in pairs for a, b in zip(batch, other, strict=True))


def digit_files(folder: Path) -> tuple[list[Path], list[int]]:
    """In the order of digits and of the numbers in the names."""
    files = sorted(folder.glob("*/*.bin"), key=lambda file: (file.parent.name, int(file.stem)))
    return files, [int(file.parent.name) for file in files]


def nmnist_frames(files: list[Path], binning: Binning, grid: Grid) -> Tensor:
    frames = [frames_of(read_atis_bin(file), binning, grid) for file in files]
    return torch.from_numpy(np.stack(frames, 1).astype(np.int64))


def some_digits(real: Path, folder: Path) -> Path:
    """Three recordings of every digit to train on and two to test on, copied with their times."""
    for part, taken in (("Train", 3), ("Test", 2)):
        for digit in range(10):
            place = folder / "NMNIST" / part / str(digit)
            place.mkdir(parents=True)
            for file in sorted((real / "NMNIST" / part / str(digit)).iterdir())[:taken]:
                shutil.copy2(file, place)
    return folder


FEW = NMNIST | {"batch_size": 8, "validation_fraction": 0.34}


@pytest.fixture(scope="module")
def few_digits(real_data, tmp_path_factory) -> Path:
    return some_digits(real_data("nmnist"), tmp_path_factory.mktemp("few"))


# --- N-MNIST


def test_test_batches_are_the_frames_of_the_recordings_in_their_order(real_data, cache):
    folder = real_data("nmnist")
    made = module(folder, cache, **NMNIST)
    x, y = whole(made.test_dataloader())
    files, labels = digit_files(folder / "NMNIST" / "Test")
    assert x.shape == (6, 100, 2, 34, 34)
    assert x.dtype == torch.uint8
    assert torch.equal(x.long(), nmnist_frames(files, Binning(6), Grid((34, 34), (34, 34), (0, 1))))
    assert y.dtype == torch.int64
    assert y.tolist() == labels
    assert [batch.shape[1] for batch, _ in made.test_dataloader()] == [64, 36]
    assert (made.num_steps, made.input_shape, made.num_classes) == (6, (2, 34, 34), 10)


def test_train_and_validation_batches_hold_every_train_recording_once_with_its_label(real_data, cache):
    folder = real_data("nmnist")
    made = module(folder, cache, **NMNIST)
    files, labels = digit_files(folder / "NMNIST" / "Train")
    wanted = nmnist_frames(files, Binning(6), Grid((34, 34), (34, 34), (0, 1))).to(torch.uint8)
    of_frames = {wanted[:, i].numpy().tobytes(): (i, label) for i, label in enumerate(labels)}
    assert len(of_frames) == 1000
    found = []
    for loader in (made.train_dataloader(), made.val_dataloader()):
        x, y = whole(loader)
        numbers, classes = zip(*(of_frames[x[:, b].numpy().tobytes()] for b in range(x.shape[1])), strict=True)
        assert list(classes) == y.tolist()
        found.append(set(numbers))
    assert (len(found[0]), len(found[1])) == (900, 100)
    assert found[0] | found[1] == set(range(1000))
    assert made.splits == {"train": 900, "train_available": 900, "validation": 100, "test": 100}
    held = torch.cat([y for _, y in made.val_dataloader()]).bincount(minlength=10)
    assert held.tolist() == [round(labels.count(digit) / 10) for digit in range(10)]


def test_facts_say_what_was_found_and_what_became_of_it(real_data, cache):
    folder = real_data("nmnist")
    made = module(folder, cache, **NMNIST)
    events = sum(
        len(read_atis_bin(file).t) for part in ("Train", "Test") for file in digit_files(folder / "NMNIST" / part)[0]
    )
    digest = made.facts.pop("frames_digest")
    assert len(digest) == 16
    assert made.facts == {
        "layout": "N-MNIST .bin",
        "recordings": {"train": 1000, "test": 100},
        "official": {"train": 60_000, "test": 10_000},
        "partial": True,
        "test_is_train": False,
        "events": events,
        "events_kept": events,
        "recordings_out_of_order": 0,
    }
    x, _ = whole(made.test_dataloader())
    assert int(x.sum()) == sum(len(read_atis_bin(file).t) for file in digit_files(folder / "NMNIST" / "Test")[0])
    fewer = module(folder, cache, **NMNIST | {"polarity": "on"})
    assert fewer.facts["frames_digest"] != digest
    assert fewer.facts["events"] == events
    on = [int(read_atis_bin(f).p.sum()) for part in ("Train", "Test") for f in digit_files(folder / "NMNIST" / part)[0]]
    assert fewer.facts["events_kept"] == sum(on)


def test_partial_data_is_refused_with_both_counts(real_data, tmp_path):
    message = complaint(real_data("nmnist"), tmp_path, **NMNIST | {"allow_partial": False})
    assert "1,000 of 60,000 (train)" in message
    assert "100 of 10,000 (test)" in message
    assert "dataset.allow_partial=true" in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("batch_size", [1, 37, 100])
def test_frames_do_not_depend_on_the_batch_size(real_data, cache, batch_size):
    folder = real_data("nmnist")
    x, y = whole(module(folder, cache, **NMNIST).test_dataloader())
    other_x, other_y = whole(module(folder, cache, **NMNIST | {"batch_size": batch_size}).test_dataloader())
    assert torch.equal(x, other_x)
    assert torch.equal(y, other_y)


def test_order_is_a_function_of_seed_and_epoch(real_data, cache):
    folder = real_data("nmnist")
    first, again, other = (module(folder, cache, seed=seed, **NMNIST) for seed in (0, 0, 1))
    epochs = {number: epoch(first, number) for number in (0, 1)}
    assert identical(epochs[1], epoch(again, 1))
    assert identical(epochs[0], epoch(again, 0))
    assert not identical(epochs[0], epochs[1])
    assert not identical(epochs[0], epoch(other, 0))
    assert torch.equal(whole(first.val_dataloader())[0], whole(other.val_dataloader())[0])


def test_loader_processes_give_the_same_batches(real_data, cache):
    folder = real_data("nmnist")
    alone, helped = (module(folder, cache, **NMNIST | {"num_workers": workers}) for workers in (0, 2))
    assert helped.train_dataloader().num_workers == 2
    for number in (0, 3):
        assert identical(epoch(alone, number), epoch(helped, number))


def test_protocol_paper_trains_on_all_and_looks_at_the_test_set(real_data, cache):
    made = module(real_data("nmnist"), cache, protocol="paper", **NMNIST)
    assert made.splits == {"train": 1000, "train_available": 1000, "validation": 0, "test": 100}
    assert identical(list(made.val_dataloader()), list(made.test_dataloader()))


@pytest.mark.parametrize(
    "options",
    [
        {"polarity": "merged"},
        {"polarity": "on"},
        {"polarity": "off"},
        {"size": [17, 20]},
        {"size": [1, 1], "polarity": "merged"},
        {"split_by": "time"},
        {"split_by": "time", "remainder": "drop"},
        {"split_by": "number", "remainder": "drop", "num_steps": 7},
        {"split_by": "duration", "bin_ms": 12.5, "num_steps": 10},
        {"split_by": "duration", "bin_ms": 12.5, "num_steps": 10, "start": "zero"},
        {"split_by": "count", "bin_events": 300},
        {"num_steps": 1},
    ],
    ids=str,
)
def test_every_setting_reaches_the_frames(few_digits, cache, options):
    made = module(few_digits, cache, **FEW | options)
    bin_us = options.get("bin_ms") and int(options["bin_ms"] * 1000)
    binning = Binning(
        made.num_steps,
        options.get("split_by", "number"),
        bin_us,
        options.get("bin_events"),
        options.get("start", "first_event"),
        options.get("remainder", "last"),
    )
    polarity = CHANNEL_OF[options.get("polarity", "both")]
    grid = Grid((34, 34), tuple(options.get("size", (34, 34))), polarity)
    x, _ = whole(made.test_dataloader())
    wanted = nmnist_frames(digit_files(few_digits / "NMNIST" / "Test")[0], binning, grid)
    assert torch.equal(x.long(), wanted)
    assert x.shape[2:] == made.input_shape
    assert x.dtype == (torch.uint8 if wanted.max() < 256 else torch.int16)


def test_merged_is_the_sum_of_both_polarities(few_digits, cache):
    both, merged, on, off = (
        whole(module(few_digits, cache, **FEW | {"polarity": polarity}).test_dataloader())[0].int()
        for polarity in ("both", "merged", "on", "off")
    )
    assert torch.equal(merged, both.sum(2, keepdim=True))
    assert torch.equal(torch.cat([off, on], 2), both)


def test_clip_leaves_ones_where_there_was_a_count(few_digits, cache):
    plain, clipped = (module(few_digits, cache, **FEW | {"clip": clip}) for clip in (False, True))
    x, small = whole(plain.test_dataloader())[0], whole(clipped.test_dataloader())[0]
    assert x.max() > 1
    assert torch.equal(small, x.clamp(max=1))
    assert clipped.facts["events_kept"] == plain.facts["events_kept"]


@pytest.mark.parametrize("corners", [False, True])
@pytest.mark.parametrize("target", [[17, 17], [48, 40], [34, 34]])
def test_resizing_is_bilinear_on_every_frame(real_data, cache, corners, target):
    made = module(real_data("nmnist"), cache, **NMNIST | {"resize": target, "resize_corners": corners})
    x, y = next(iter(made.test_dataloader()))
    assert x.shape[-2:] == (34, 34)
    out, labels = made.prepare(x, y, training=False)
    assert made.input_shape == (2, *target)
    assert out.shape == (6, 64, 2, *target)
    assert out.dtype == torch.float32
    assert torch.equal(labels, y)
    for t in (0, 5):
        wanted = interpolate(x[t].float(), size=target, mode="bilinear", align_corners=corners)
        torch.testing.assert_close(out[t], wanted)


def test_frames_are_floats_of_the_counts_and_augmented_in_training_only(real_data, cache):
    made = module(real_data("nmnist"), cache, augmentation=EventAugmentation(flip=1.0), **NMNIST)
    x, y = next(iter(made.test_dataloader()))
    assert torch.equal(made.prepare(x, y, training=False)[0], x.float())
    assert torch.equal(made.prepare(x, y, training=True)[0], x.flip(-1).float())
    resized = module(real_data("nmnist"), cache, augmentation=EventAugmentation(flip=1.0), **NMNIST, resize=[20, 21])
    flipped, plain = (resized.prepare(x, y, training=training)[0] for training in (True, False))
    assert torch.equal(flipped, plain.flip(-1))


def count_readings(monkeypatch) -> list[Path]:
    readings = []

    def counted(file: Path) -> Events:
        readings.append(file)
        return read_atis_bin(file)

    monkeypatch.setattr(event_files, "read_atis_bin", counted)
    return readings


def test_a_second_run_reads_no_recording(real_data, tmp_path, monkeypatch):
    folder = some_digits(real_data("nmnist"), tmp_path / "data")
    readings = count_readings(monkeypatch)
    first = module(folder, tmp_path / "cache", **FEW)
    assert len(readings) == len(set(readings)) == 50
    # Neither loading, nor what works on the device, nor the choice of samples makes other frames.
    for options in (
        {},
        {"batch_size": 5},
        {"resize": [20, 20]},
        {"train_samples": 10},
        {"split_seed": 4},
        {"protocol": "paper"},
        {"augmentation": EventAugmentation(flip=0.5)},
    ):
        second = module(folder, tmp_path / "cache", **FEW | options)
        assert second.facts == first.facts
    first.setup("fit")
    assert len(readings) == 50
    moved = (tmp_path / "data").rename(tmp_path / "moved")
    assert module(moved, tmp_path / "cache", **FEW).facts == first.facts
    assert len(readings) == 50
    module(moved, tmp_path / "cache", **FEW | {"clip": True})
    assert len(readings) == 100


def test_a_changed_renamed_or_new_recording_is_seen(real_data, tmp_path, monkeypatch):
    folder = some_digits(real_data("nmnist"), tmp_path / "data")
    digests = {module(folder, tmp_path / "cache", **FEW).facts["frames_digest"]}
    readings = count_readings(monkeypatch)
    one, *_ = sorted((folder / "NMNIST" / "Test" / "7").iterdir())

    def is_new():
        made = module(folder, tmp_path / "cache", **FEW)
        files, labels = digit_files(folder / "NMNIST" / "Test")
        x, y = whole(made.test_dataloader())
        assert torch.equal(x.long(), nmnist_frames(files, made.binning, made.grid))
        assert y.tolist() == labels
        assert made.facts["frames_digest"] not in digests
        digests.add(made.facts["frames_digest"])
        assert readings
        readings.clear()

    events = read_atis_bin(one)
    write_atis_bin(one, Events(events.t, events.y, events.x, events.p))
    is_new()
    shutil.copy2(one, folder / "NMNIST" / "Test" / "8" / "99999.bin")
    is_new()
    (folder / "NMNIST" / "Test" / "8" / "99999.bin").rename(folder / "NMNIST" / "Test" / "3" / "0.bin")
    is_new()


def test_a_damaged_cache_is_said_on_the_error_stream_and_built_again(real_data, tmp_path, capsys, monkeypatch):
    folder = some_digits(real_data("nmnist"), tmp_path / "data")
    good = module(folder, tmp_path / "cache", **FEW)
    wanted = whole(good.test_dataloader())
    file = next((tmp_path / "cache").rglob("test.positions"))
    bytes_ = bytearray(file.read_bytes())
    bytes_[1000] ^= 1
    file.write_bytes(bytes_)
    readings = count_readings(monkeypatch)
    capsys.readouterr()
    again = module(folder, tmp_path / "cache", **FEW)
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert str(file.parent) in err
    assert "test.positions" in err
    assert len(readings) == 50
    assert identical([whole(again.test_dataloader())], [wanted])
    assert again.facts == good.facts


def test_the_recording_that_cannot_be_used_is_named(real_data, tmp_path):
    folder = some_digits(real_data("nmnist"), tmp_path / "data")
    bad = folder / "NMNIST" / "Train" / "4" / "70000.bin"
    short = Events(*(np.arange(5).astype(kind) for kind in (np.int64, np.int16, np.int16, np.uint8)))
    short = short._replace(p=short.p % 2)
    for write, why in (
        (lambda: write_atis_bin(bad, short), "5 events"),
        (lambda: bad.write_bytes(b""), "empty"),
        (lambda: bad.write_bytes(b"1234567"), "7 bytes"),
        (lambda: write_atis_bin(bad, short._replace(x=short.x + 30)), "outside"),
    ):
        write()
        message = complaint(folder, tmp_path / "cache", **FEW | {"num_steps": 6 if "outside" not in why else 5})
        assert str(bad) in message
        assert why in message
        assert not [p for p in (tmp_path / "cache").rglob("*") if p.is_file() and p.stat().st_size]


def test_a_recording_that_is_a_broken_link_is_named(real_data, tmp_path):
    folder = some_digits(real_data("nmnist"), tmp_path / "data")
    bad = folder / "NMNIST" / "Train" / "4" / "70000.bin"
    bad.symlink_to(tmp_path / "gone.bin")
    assert str(bad) in complaint(folder, tmp_path / "cache", **FEW)


# --- gestures


def test_of_ten_gestures_all_parts_are_the_same_ten_and_the_record_says_so(real_data, cache):
    folder = real_data("dvs_gesture")
    made = module(folder, cache, **GESTURE)
    files = sorted((folder / "DVSGesture").rglob("*.npy"), key=lambda file: int(file.stem))
    grid = Grid((128, 128), (32, 32), (0, 1))
    wanted = np.stack([frames_of(read_gesture_npy(file), Binning(4), grid) for file in files], 1).astype(np.int64)
    for loader in (made.test_dataloader(), made.val_dataloader()):
        x, y = whole(loader)
        assert torch.equal(x.long(), torch.from_numpy(wanted))
        assert y.tolist() == list(range(10))
    x, y = whole(made.train_dataloader())
    assert torch.equal(x.long()[:, y.argsort()], torch.from_numpy(wanted))
    assert made.splits == {"train": 10, "train_available": 10, "validation": 10, "test": 10}
    assert made.facts["recordings"] == {"train": 0, "test": 10}
    assert made.facts["partial"] is made.facts["test_is_train"] is True
    assert made.facts["events"] == sum(len(read_gesture_npy(file).t) for file in files)


def test_counts_above_255_are_served_exactly(real_data, cache):
    folder = real_data("dvs_gesture")
    made = module(folder, cache, **GESTURE | {"size": [2, 3], "num_steps": 2})
    files = sorted((folder / "DVSGesture").rglob("*.npy"), key=lambda file: int(file.stem))
    grid = Grid((128, 128), (2, 3), (0, 1))
    wanted = np.stack([frames_of(read_gesture_npy(file), Binning(2), grid) for file in files], 1).astype(np.int64)
    x, _ = whole(made.test_dataloader())
    assert wanted.max() > 255
    assert x.dtype == (torch.int16 if wanted.max() < 2**15 else torch.int32)
    assert torch.equal(x.long(), torch.from_numpy(wanted))


# --- a cochlea


def test_spike_trains_are_batches_of_units(real_data, cache):
    folder = real_data("spoken_digits_spikes")
    made = module(folder, cache, **COCHLEA)
    x, y = whole(made.test_dataloader())
    wanted = np.zeros((50, 120, 70), np.int64)
    with h5py.File(folder / "spoken_digits_spikes" / "shd_test.h5") as h5:
        labels = h5["labels"][:].tolist()
        kept = 0
        for b in range(120):
            step = np.rint(h5["spikes/times"][b].astype(float) * 1e6).astype(int) // 20_000
            heard = step < 50
            np.add.at(wanted, (step[heard], b, h5["spikes/units"][b][heard]), 1)
            kept += int(heard.sum())
    assert torch.equal(x.long(), torch.from_numpy(wanted))
    assert x.dtype == torch.uint8
    assert y.tolist() == labels
    assert (made.input_shape, made.num_classes) == ((70,), 10)
    assert made.splits == {"train": 270, "train_available": 270, "validation": 30, "test": 120}
    assert made.facts["partial"] is made.facts["test_is_train"] is False
    assert made.facts["events"] > made.facts["events_kept"] > kept
    halves = module(folder, cache, **COCHLEA | {"size": [35]})
    assert halves.input_shape == (35,)
    halved = whole(halves.test_dataloader())[0]
    assert torch.equal(halved.long(), torch.from_numpy(wanted.reshape(50, 120, 35, 2).sum(-1)))
    assert halves.prepare(halved, y, training=False)[0].shape == (50, 120, 35)


@pytest.mark.parametrize(("there", "missing"), [("train", "test"), ("test", "train")])
def test_a_data_set_of_one_part_is_partial_and_that_part_is_all(real_data, tmp_path, there, missing):
    place = tmp_path / "data" / "spoken_digits_spikes"
    place.mkdir(parents=True)
    shutil.copy2(real_data("spoken_digits_spikes") / "spoken_digits_spikes" / f"shd_{there}.h5", place)
    sizes = {"train": 300, "test": 120}
    message = complaint(tmp_path / "data", tmp_path, **COCHLEA)
    for part, count in ((there, sizes[there]), (missing, 0)):
        assert f"{count} of {sizes[part]} ({part})" in message
    made = module(tmp_path / "data", tmp_path, **COCHLEA, allow_partial=True)
    assert made.facts["partial"] is made.facts["test_is_train"] is True
    assert made.facts["recordings"] == {there: sizes[there], missing: 0}
    everything = dict.fromkeys(("train", "train_available", "validation", "test"), sizes[there])
    assert made.splits == everything
    assert identical(list(made.val_dataloader()), list(made.test_dataloader()))
    train, test = (
        whole(loader)[0].sum((0, 2)).sort().values for loader in (made.train_dataloader(), made.test_dataloader())
    )
    assert torch.equal(train, test)


# --- CIFAR10-DVS, whose split is the user's choice

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@pytest.fixture(scope="module")
def cifar10_dvs(tmp_path_factory) -> Path:
    """Twenty-eight recordings of every class; number n of class k has all its events at x=n, y=k."""
    folder = tmp_path_factory.mktemp("dvs")
    for k, name in enumerate(CLASSES):
        place = folder / "CIFAR10DVS" / name
        place.mkdir(parents=True)
        for n in range(28):
            columns = (np.arange(8) * 1000, np.full(8, n), np.full(8, k), np.arange(8) % 2)
            events = Events(*(c.astype(kind) for c, kind in zip(columns, ("i8", "i2", "i2", "u1"), strict=True)))
            write_aedat2(place / f"cifar10_{name}_{n}.aedat", events)
    return folder


DVS = {"source": "cifar10_dvs", "num_steps": 4, "batch_size": 16, "num_workers": 0, "allow_partial": True}


def numbers(loader) -> list[tuple[int, int]]:
    """(class, number in it) of every recording, as its frames say."""
    x, y = whole(loader)
    assert x.shape[2:] == (2, 128, 128)
    place = x.sum((0, 2), dtype=torch.int64).flatten(1)
    assert (place.max(1).values == 8).all()
    at = place.argmax(1)
    assert (at // 128).tolist() == y.tolist()
    return list(zip(y.tolist(), (at % 128).tolist(), strict=True))


@pytest.mark.parametrize(("test_part", "held"), [("first_tenth", (0, 1)), ("last_tenth", (26, 27))])
def test_test_set_is_the_tenth_of_every_class_that_was_asked_for(cifar10_dvs, cache, test_part, held):
    made = module(cifar10_dvs, cache, protocol="paper", test_part=test_part, **DVS)
    assert numbers(made.test_dataloader()) == [(k, n) for k in range(10) for n in held]
    rest = [n for n in range(28) if n not in held]
    assert sorted(numbers(made.train_dataloader())) == [(k, n) for k in range(10) for n in rest]
    assert made.facts["recordings"] == {"train": 260, "test": 20}
    assert made.facts["official"] == {"train": 9_000, "test": 1_000}
    assert made.splits == {"train": 260, "train_available": 260, "validation": 0, "test": 20}
    message = complaint(cifar10_dvs, cache, test_part=test_part, **DVS | {"allow_partial": False})
    assert "260 of 9,000 (train), 20 of 1,000 (test)" in message


def test_validation_is_a_tenth_of_what_is_left_to_train_on(cifar10_dvs, cache):
    made = module(cifar10_dvs, cache, **DVS)
    train, validation, test = map(numbers, (made.train_dataloader(), made.val_dataloader(), made.test_dataloader()))
    assert sorted(train + validation + test) == [(k, n) for k in range(10) for n in range(28)]
    assert [k for k, _ in validation] == [k for k in range(10) for _ in range(3)]
    assert made.splits == {"train": 230, "train_available": 230, "validation": 30, "test": 20}


# --- what is refused


@pytest.mark.parametrize(
    ("source", "options", "words"),
    [
        ("nmnist", {"size": [35, 34]}, ("dataset.size", "34 x 34")),
        ("nmnist", {"size": [34]}, ("dataset.size", "height and width")),
        ("nmnist", {"size": [2, 17, 17]}, ("dataset.size", "height and width")),
        ("nmnist", {"size": []}, ("dataset.size",)),
        ("nmnist", {"split_by": "duration"}, ("dataset.bin_ms",)),
        ("nmnist", {"split_by": "count"}, ("dataset.bin_events",)),
        ("nmnist", {"bin_ms": 10.0}, ("dataset.bin_ms", "duration")),
        ("nmnist", {"bin_events": 10}, ("dataset.bin_events", "count")),
        ("nmnist", {"split_by": "duration", "bin_ms": 1.0, "bin_events": 10}, ("dataset.bin_events", "count")),
        ("nmnist", {"resize": [17]}, ("dataset.resize", "height and width")),
        ("nmnist", {"num_steps": 0}, ("num_steps",)),
        ("nmnist", {"batch_size": 0}, ("batch_size",)),
        ("nmnist", {"batch_size": 901}, ("dataset.batch_size=901", "900 training samples")),
        ("nmnist", {"train_samples": 901}, ("dataset.train_samples=901", "900 training samples")),
        ("nmnist", {"validation_fraction": 0.0}, ("dataset.validation_fraction",)),
        pytest.param("nmnist", {"augmentation": Augmentation(flip=0.5)}, ("flip", "images"), id="image augmentation"),
        ("spoken_digits_spikes", {"polarity": "both"}, ("dataset.polarity=both", "no polarity")),
        ("spoken_digits_spikes", {"polarity": "on"}, ("dataset.polarity=on",)),
        ("spoken_digits_spikes", {"size": [71]}, ("dataset.size", "70")),
        ("spoken_digits_spikes", {"size": [1, 70]}, ("dataset.size", "units")),
        ("spoken_digits_spikes", {"resize": [10, 10]}, ("dataset.resize", "camera")),
    ],
    ids=str,
)
def test_a_wrong_setting_is_one_line(real_data, cache, source, options, words):
    message = complaint(real_data(source), cache, **(NMNIST if source == "nmnist" else COCHLEA) | options)
    for word in words:
        assert word in message


@pytest.mark.parametrize("source", ["nmnist", "dvs_gesture", "cifar10_dvs", "shd", "ssc", "spoken_digits_spikes"])
def test_an_empty_folder_is_one_line_that_names_it(tmp_path, source):
    message = complaint(tmp_path, tmp_path / "cache", source=source, num_steps=4)
    assert str(tmp_path) in message
    assert "prepare_data.py" in message
    assert not (tmp_path / "cache").exists()


def test_image_augmentation_that_does_nothing_is_none(real_data, cache):
    made = module(real_data("nmnist"), cache, augmentation=Augmentation(), **NMNIST)
    x, y = next(iter(made.train_dataloader()))
    assert torch.equal(made.prepare(x, y, training=True)[0], x.float())
