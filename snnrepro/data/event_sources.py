"""Where the recordings of each event data set lie, under the layouts that authors and libraries leave.

Every finder takes the data folder and returns the Recordings it holds, whole or in part, or raises UserError where it
holds none. Nothing is read but names, label tables and the heads of HDF5 files.
"""

import csv
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

from snnrepro.data import event_files
from snnrepro.data.frames import Events
from snnrepro.data.image_files import not_found
from snnrepro.data.recorded import Recording
from snnrepro.errors import UserError


@dataclass(frozen=True)
class Recordings:
    """An event data set as found: parts train, test and maybe validation.

    layout: in words, for the record. official: how many recordings each part has when it is whole. unsplit: train holds
    all, the split is the user's choice. tables: files that say what the recordings are.
    """

    layout: str
    parts: dict[str, list[Recording]]
    official: dict[str, int]
    read: Callable[[Recording], Events]
    unsplit: bool = False
    tables: tuple[Path, ...] = ()


class EventSource(NamedTuple):
    """What is fixed about a data set: its sensor (H, W), its polarities, its classes, and how it is found."""

    sensor: tuple[int, int]
    polarities: int
    classes: tuple[str, ...]
    find: Callable[[Path], Recordings]


def _first(folder: Path, candidates: Iterable[str], holds: Callable[[Path], bool]) -> Path | None:
    """The first of the candidate folders below `folder` (or itself, `.`) that is there and holds what is wanted."""
    return next((place for name in candidates if (place := folder / name).is_dir() and holds(place)), None)


def by_number(files: Iterable[Path]) -> list[Path]:
    """Files in the order of the numbers in their names, where 10 comes after 9."""

    def key(file: Path) -> tuple[list[int], str]:
        digits = "".join(c if c.isascii() and c.isdigit() else " " for c in file.stem)
        return [int(word) for word in digits.split()], file.name

    return sorted(files, key=key)


def _class_folders(place: Path, names: tuple[str, ...], endings: tuple[str, ...]) -> list[Recording]:
    """`place/<class>/*.<ending>` for all classes, in the order of classes and of the files' numbers."""
    return [
        Recording(file, 0, label)
        for label, name in enumerate(names)
        for file in by_number(f for f in (place / name).glob("*") if f.suffix in endings)
    ]


DIGITS = tuple("0123456789")
NMNIST_OFFICIAL = {"train": 60_000, "test": 10_000}


def find_nmnist(folder: Path) -> Recordings:
    """`NMNIST/Train/<digit>/*.bin` and `NMNIST/Test/` (the authors', tonic's, spikingjelly's below `extract`), or
    spikingjelly's `NMNIST/events_np/train/<digit>/*.npz`.
    """
    bases = ("NMNIST", "nmnist", "N-MNIST", "N_MNIST", ".")
    for inside, endings, read in (
        (("", "extract"), (".bin",), event_files.read_atis_bin),
        (("events_np",), (".npz",), event_files.read_npz),
    ):
        names = {"train": ("Train", "train"), "test": ("Test", "test")}
        for base in bases:
            for middle in inside:
                place = folder / base / middle
                found = {
                    part: next((r for word in words if (r := _class_folders(place / word, DIGITS, endings))), [])
                    for part, words in names.items()
                }
                if any(found.values()):
                    return Recordings(f"N-MNIST {endings[0]}", found, NMNIST_OFFICIAL, _reads(read))
    raise not_found("nmnist", folder, "NMNIST/Train/<digit>/*.bin")


GESTURES = (
    "hand clapping",
    "right hand wave",
    "left hand wave",
    "right arm clockwise",
    "right arm counter-clockwise",
    "left arm clockwise",
    "left arm counter-clockwise",
    "arm roll",
    "air drums",
    "air guitar",
    "other gestures",
)
# The trials of the label tables; tonic's copy keeps one of each class for a user and a light.
GESTURE_OFFICIAL = {"train": 1176, "test": 288}
GESTURE_OFFICIAL_TONIC = {"train": 1077, "test": 264}


def find_dvs_gesture(folder: Path) -> Recordings:
    """tonic's `DVSGesture/ibmGestureTrain/<user>_<light>/<label>.npy`, the authors' `DvsGesture/*.aedat` with
    `*_labels.csv` and trials_to_*.txt, or spikingjelly's `DVS128Gesture/events_np/train/<label>/*.npz`.
    """
    bases = ("DVSGesture", "DVS128Gesture", "DvsGesture", "dvs_gesture", ".")
    labels = tuple(map(str, range(len(GESTURES))))
    for base in bases:
        found = {
            part: [
                Recording(file, 0, int(file.stem))
                for file in sorted(
                    (f for f in (folder / base / name).glob("*/*.npy") if f.stem in labels),
                    key=lambda f: (f.parent.name, int(f.stem)),
                )
            ]
            for part, name in (("train", "ibmGestureTrain"), ("test", "ibmGestureTest"))
        }
        if any(found.values()):
            return Recordings("tonic's npy", found, GESTURE_OFFICIAL_TONIC, _reads(event_files.read_gesture_npy))
    inside = [f"{base}/{middle}" for base in bases for middle in ("", "DvsGesture", "extract/DvsGesture", "extract")]
    if place := _first(folder, inside, lambda p: any(p.glob("*_labels.csv"))):
        return _gesture_trials(place)
    if place := _first(folder, [f"{base}/events_np" for base in bases], lambda p: any(p.glob("t*/*/*.npz"))):
        found = {part: _class_folders(place / part, labels, (".npz",)) for part in ("train", "test")}
        return Recordings("spikingjelly's npz", found, GESTURE_OFFICIAL, _reads(event_files.read_npz))
    raise not_found("dvs_gesture", folder, "DVSGesture/ibmGestureTrain/<user>/<label>.npy or DvsGesture/*.aedat")


def _gesture_trials(place: Path) -> Recordings:
    """Trials cut from the long recordings by their label tables; which belong to test, trials_to_test.txt says."""
    listed = {}
    for part in ("train", "test"):
        file = place / f"trials_to_{part}.txt"
        try:
            listed[part] = file.read_text().split()
        except OSError:
            raise UserError(f"{file} not found: it says which users belong to {part}") from None
        except UnicodeDecodeError:
            raise UserError(f"{file} is no list of recordings: fetch it again") from None
        if any(Path(name).name != name for name in listed[part]):
            raise UserError(f"{file} lists what lies elsewhere: fetch it again")
    parts: dict[str, list[Recording]] = {
        part: [
            Recording(place / name, row, label)
            for name in sorted(names)
            if (place / name).is_file()
            for row, (label, _, _) in enumerate(gesture_labels(place / name))
        ]
        for part, names in listed.items()
    }
    if not any(parts.values()):
        raise UserError(f"{place} holds label tables, but none of the *.aedat recordings that trials_to_*.txt lists")

    # The trials of one recording follow each other: it is read once for all of them.
    recording = lru_cache(maxsize=1)(event_files.read_aedat3)

    def read(trial: Recording) -> Events:
        events = recording(trial.file)
        _, start, stop = gesture_labels(trial.file)[trial.item]
        inside = (events.t >= start) & (events.t < stop)
        return Events(events.t[inside], events.x[inside], events.y[inside], events.p[inside])

    tables = (*place.glob("*_labels.csv"), *place.glob("trials_to_*.txt"))
    return Recordings("AEDAT 3.1 with label tables", parts, GESTURE_OFFICIAL, read, tables=tables)


@lru_cache(maxsize=256)
def gesture_labels(recording: Path) -> tuple[tuple[int, int, int], ...]:
    """`<recording>_labels.csv`: class (1-11 there, 0-10 here), first µs and last µs (excluded) of each trial."""
    file = recording.with_name(recording.stem + "_labels.csv")
    try:
        with file.open(newline="") as stream:
            rows = list(csv.reader(stream))[1:]
        table = tuple((int(row[0]) - 1, int(row[1]), int(row[2])) for row in rows if row)
    except OSError:
        raise UserError(f"{file} not found: it says where the gestures of {recording.name} begin and end") from None
    except (ValueError, IndexError, csv.Error):
        raise UserError(f"{file} is no table of class, startTime_usec, endTime_usec: fetch it again") from None
    for label, _, _ in table:
        if not 0 <= label < len(GESTURES):
            raise UserError(f"{file} names class {label + 1}, expected 1 to {len(GESTURES)}")
    return table


CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def find_cifar10_dvs(folder: Path) -> Recordings:
    """`CIFAR10DVS/<class>/*.aedat4` (tonic's) or `*.aedat` (the authors', spikingjelly's below `extract`), or
    spikingjelly's `CIFAR10DVS/events_np/<class>/*.npz`.
    """
    bases = ("CIFAR10DVS", "cifar10_dvs", "CIFAR10-DVS", "DVS_Cifar10", "DVS_Cifar10/CIFAR10DVS", ".")
    kinds: tuple[tuple[str, Callable[[Path], Events]], ...] = (
        (".aedat4", event_files.read_aedat4),
        (".aedat", event_files.read_aedat2),
        (".npz", event_files.read_npz),
    )
    for ending, read in kinds:
        for base in bases:
            for middle in ("", "extract", "events_np"):
                if all_of := _class_folders(folder / base / middle, CIFAR_CLASSES, (ending,)):
                    parts = {"train": all_of, "test": []}
                    layout = f"CIFAR10-DVS {ending}"
                    return Recordings(layout, parts, {"train": 10_000}, _reads(read), unsplit=True)
    raise not_found("cifar10_dvs", folder, "CIFAR10DVS/<class>/*.aedat4 or *.aedat")


def find_spike_trains(
    name: str, classes: int, bases: tuple[str, ...], prefix: str, official: dict[str, int], folder: Path
) -> Recordings:
    """`SHD/shd_train.h5` and `SHD/shd_test.h5`; SSC likewise, with `ssc_valid.h5`."""
    files = {part: f"{prefix}_{part[:5]}.h5" for part in official}
    places = [f"{base}/{middle}" for base in bases for middle in ("", "extract")]
    place = _first(folder, places, lambda p: any((p / file).is_file() for file in files.values()))
    if place is None:
        raise not_found(name, folder, f"{bases[0]}/{files['train']}")
    there = {part: place / file for part, file in files.items() if (place / file).is_file()}
    trains = {file: event_files.SpikeTrains(file) for file in there.values()}
    for file, found in trains.items():
        if len(found) and not 0 <= found.labels.min() <= found.labels.max() < classes:
            raise UserError(
                f"{file} holds classes from {found.labels.min()} to {found.labels.max()}, expected 0 to {classes - 1}"
            )
    parts = {
        part: [Recording(there[part], i, int(label)) for i, label in enumerate(trains[there[part]].labels)]
        if part in there
        else []
        for part in official
    }
    return Recordings(f"{prefix}_*.h5", parts, official, lambda recording: trains[recording.file].read(recording.item))


def _reads(read: Callable[[Path], Events]) -> Callable[[Recording], Events]:
    return lambda recording: read(recording.file)


GERMAN = ("null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun")
ENGLISH = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

SOURCES: dict[str, EventSource] = {
    "nmnist": EventSource((34, 34), 2, DIGITS, find_nmnist),
    "dvs_gesture": EventSource((128, 128), 2, GESTURES, find_dvs_gesture),
    "cifar10_dvs": EventSource((128, 128), 2, CIFAR_CLASSES, find_cifar10_dvs),
    "shd": EventSource(
        (1, 700),
        1,
        ENGLISH + GERMAN,
        partial(find_spike_trains, "shd", 20, ("SHD", "shd", "hdspikes", "."), "shd", {"train": 8156, "test": 2264}),
    ),
    "ssc": EventSource(
        (1, 700),
        1,
        tuple(str(i) for i in range(35)),
        partial(
            find_spike_trains,
            "ssc",
            35,
            ("SSC", "ssc", "hdspikes", "."),
            "ssc",
            {"train": 75_466, "validation": 9_981, "test": 20_382},
        ),
    ),
    "spoken_digits_spikes": EventSource(
        (1, 70),
        1,
        DIGITS,
        partial(
            find_spike_trains,
            "spoken_digits_spikes",
            10,
            ("spoken_digits_spikes",),
            "shd",
            {"train": 300, "test": 120},
        ),
    ),
}
