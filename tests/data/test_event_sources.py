"""Where event data sets are found: every layout in every place, all recordings in order, each with its class and part.

Shapes: a recording of E events is four arrays `[E]`.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from event_writers import (
    same,
    some_events,
    write_aedat2,
    write_aedat3,
    write_atis_bin,
    write_gesture_npy,
    write_labels_csv,
    write_npz,
    write_spike_trains,
)

from snnrepro.data import event_files
from snnrepro.data.event_sources import SOURCES, Recordings, by_number, gesture_labels
from snnrepro.data.frames import CHANNEL_OF, Binning, Events, Grid, frames_of
from snnrepro.errors import UserError

Write = Callable[[Path, Events], Path]
NUMBERS = (2, 9, 10, 100)  # in a folder they come as 10, 100, 2, 9
CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def in_ms(events: Events) -> Events:
    return events._replace(t=events.t // 1000 * 1000)


def write_classes(place: Path, write: Write, size: int, classes: tuple[str, ...], name: str) -> list[tuple]:
    """`place/<class>/<name>` for every number, each another recording: file, class and events, as they should come."""
    expected = []
    for label, word in enumerate(classes):
        (place / word).mkdir(parents=True)
        (place / word / "readme.txt").touch()
        for number in NUMBERS:
            events = in_ms(some_events(5 + label, size, seed=100 * label + number))
            file = place / word / name.format(number)
            expected.append((write(file, events), label, events))
    (place / "eleven").mkdir()
    write(place / "eleven" / name.format(1), some_events(3, size))  # no class of the data set
    return expected


def check(found: Recordings, **expected: list[tuple]) -> None:
    """The recordings of every part are those expected, in their order, and what they hold is read."""
    assert set(found.parts) == set(expected)
    for part, files in expected.items():
        assert [(r.file, r.item, r.label) for r in found.parts[part]] == [(file, 0, label) for file, label, _ in files]
        for recording, (_, _, events) in zip(found.parts[part], files, strict=True):
            assert same(found.read(recording), events)


DIGITS = tuple("0123456789")
NMNIST_BASES = ("NMNIST", "nmnist", "N-MNIST", "N_MNIST", ".")


@pytest.mark.parametrize("base", NMNIST_BASES)
@pytest.mark.parametrize(
    ("inside", "parts", "write", "name"),
    [
        ("", ("Train", "Test"), write_atis_bin, "{}.bin"),
        ("", ("train", "test"), write_atis_bin, "{}.bin"),
        ("extract", ("Train", "Test"), write_atis_bin, "{}.bin"),
        ("events_np", ("train", "test"), write_npz, "{}.npz"),
    ],
)
def test_nmnist_is_found_in_every_layout(tmp_path, base, inside, parts, write, name):
    train, test = (write_classes(tmp_path / base / inside / part, write, 34, DIGITS, name) for part in parts)
    found = SOURCES["nmnist"].find(tmp_path)
    check(found, train=train, test=test)
    assert found.official == {"train": 60_000, "test": 10_000}
    assert not found.unsplit


def test_numbers_in_names_count_before_letters():
    files = [Path(name) for name in ("b_2_10.npz", "a_2_9.npz", "c_1_11.npz", "a_10_1.npz", "a.npz", "x².npz")]
    assert [file.name for file in by_number(reversed(files))] == [
        "a.npz",
        "x².npz",
        "c_1_11.npz",
        "a_2_9.npz",
        "b_2_10.npz",
        "a_10_1.npz",
    ]


def test_a_part_that_is_missing_is_empty(tmp_path):
    expected = write_classes(tmp_path / "NMNIST" / "Test", write_atis_bin, 34, DIGITS[:3], "{}.bin")
    check(SOURCES["nmnist"].find(tmp_path), train=[], test=expected)


def test_real_digits_are_in_the_order_of_their_numbers(real_data):
    found = SOURCES["nmnist"].find(real_data("nmnist"))
    assert {part: len(recordings) for part, recordings in found.parts.items()} == {"train": 1000, "test": 100}
    for recordings in found.parts.values():
        assert recordings == sorted(recordings, key=lambda r: (r.label, int(r.file.stem)))
        assert {r.label for r in recordings} == set(range(10))
        assert all(r.file.parent.name == str(r.label) for r in recordings)


@pytest.mark.parametrize("base", ["DVSGesture", "DVS128Gesture", "DvsGesture", "."])
def test_gestures_are_found_as_tonic_leaves_them(tmp_path, base):
    expected = {"train": [], "test": []}
    for part, users in (("train", (1, 2, 10)), ("test", (24,))):
        for user in users:
            place = tmp_path / base / f"ibmGesture{part.title()}" / f"user{user:02d}_led"
            place.mkdir(parents=True)
            for label in (0, 2, 9, 10):
                events = in_ms(some_events(9, 128, seed=100 * user + label))
                expected[part].append((write_gesture_npy(place / f"{label}.npy", events), label, events))
            write_gesture_npy(place / "11.npy", some_events(9, 128))  # no such class
    found = SOURCES["dvs_gesture"].find(tmp_path)
    check(found, **expected)
    assert found.official == {"train": 1077, "test": 264}


@pytest.mark.parametrize("base", ["DVS128Gesture", "DVSGesture", "."])
def test_gestures_are_found_as_spikingjelly_leaves_them(tmp_path, base):
    classes = tuple(map(str, range(11)))
    places = {part: tmp_path / base / "events_np" / part for part in ("train", "test")}
    expected = {part: write_classes(p, write_npz, 128, classes, "user02_led_{}.npz") for part, p in places.items()}
    found = SOURCES["dvs_gesture"].find(tmp_path)
    check(found, **expected)
    assert found.official == {"train": 1176, "test": 288}


def write_trials(place: Path) -> dict[str, list[tuple]]:
    """The authors' layout: two recordings for train, one for test, one in no list; file, item, class and events."""
    place.mkdir(parents=True)
    expected: dict[str, list[tuple]] = {"train": [], "test": []}
    for part, user in (("train", 1), ("test", 24), ("train", 2), (None, 3)):
        events = some_events(400, 128, seed=user)
        file = write_aedat3(place / f"user{user:02d}_led.aedat", events, per_packet=50)
        # In no order of classes; what lies between trials belongs to none. A trial's last µs is not its own.
        t = events.t
        trials = [(11, t[20], t[100]), (1, t[100], t[150] + 1), (4, t[300], t[-1] + 1)]
        write_labels_csv(file, trials)
        if part:
            for item, (label, start, stop) in enumerate(trials):
                inside = [i for i in range(400) if start <= t[i] < stop]
                expected[part].append((file, item, label - 1, Events(*(column[inside] for column in events))))
    (place / "trials_to_train.txt").write_text("user02_led.aedat\r\nuser01_led.aedat\r\nuser09_led.aedat\r\n\r\n")
    (place / "trials_to_test.txt").write_text("user24_led.aedat\n")
    return expected


@pytest.mark.parametrize(
    "place",
    [
        "DvsGesture",
        "DVSGesture",
        "DVSGesture/DvsGesture",
        "DVS128Gesture/extract/DvsGesture",
        "DVSGesture/extract",
        ".",
    ],
)
def test_gestures_are_cut_from_the_recordings_of_the_authors(tmp_path, place, monkeypatch):
    expected = write_trials(tmp_path / "data" / place)
    read, calls = event_files.read_aedat3, Counter()

    def counted(file: Path) -> Events:
        calls[file.name] += 1
        return read(file)

    monkeypatch.setattr(event_files, "read_aedat3", counted)
    found = SOURCES["dvs_gesture"].find(tmp_path / "data")
    assert not calls
    for part, trials in expected.items():
        assert [(r.file, r.item, r.label) for r in found.parts[part]] == [trial[:3] for trial in trials]
        for recording, (*_, events) in zip(found.parts[part], trials, strict=True):
            assert same(found.read(recording), events)
    assert calls == {"user01_led.aedat": 1, "user02_led.aedat": 1, "user24_led.aedat": 1}
    assert found.official == {"train": 1176, "test": 288}
    tables = {f"user{user:02d}_led_labels.csv" for user in (1, 2, 3, 24)} | {
        "trials_to_train.txt",
        "trials_to_test.txt",
    }
    assert {file.name for file in found.tables} == tables


def complaint(find: Callable[[Path], object], folder: Path) -> str:
    """The one line that says what is wrong with a folder."""
    with pytest.raises(UserError) as caught:
        find(folder)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_what_the_authors_layout_lacks_is_named(tmp_path):
    find, place = SOURCES["dvs_gesture"].find, tmp_path / "DvsGesture"
    write_trials(place)
    for name in ("user01_led_labels.csv", "trials_to_train.txt", "trials_to_test.txt"):
        (place / name).rename(tmp_path / "aside")
        gesture_labels.cache_clear()
        assert complaint(find, tmp_path).startswith(f"{place / name} not found: it says ")
        (tmp_path / "aside").rename(place / name)
    for name in ("trials_to_train.txt", "trials_to_test.txt"):
        kept = (place / name).read_bytes()
        (place / name).write_bytes(b"\xff\xfe\x00user")
        assert str(place / name) in complaint(find, tmp_path)
        (place / name).write_bytes(kept)
    (place / "user02_led.aedat").unlink()
    assert {r.file.stem for r in find(tmp_path).parts["train"]} == {"user01_led"}
    for file in place.glob("*.aedat"):
        file.unlink()
    assert complaint(find, tmp_path).startswith(f"{place} holds label tables, but none of the *.aedat recordings")


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (b"class,startTime_usec,endTime_usec\n0,1,2\n", "names class 0, expected 1 to 11"),
        (b"class,startTime_usec,endTime_usec\n1,1,2\n12,1,2\n", "names class 12, expected 1 to 11"),
        (b"class,startTime_usec,endTime_usec\n1,1\n", "is no table"),
        (b"class,startTime_usec,endTime_usec\none,1,2\n", "is no table"),
        (b"class,startTime_usec,endTime_usec\n1,1.5,2\n", "is no table"),
        (b"class,startTime_usec,endTime_usec\n1,\xff,2\n", "is no table"),
        (b"class,startTime_usec,endTime_usec\n1,\0,2\n", "is no table"),
        (b"class,startTime_usec,endTime_usec\n1," + b"1" * 140_000 + b",2\n", "is no table"),
    ],
)
def test_a_damaged_label_table_is_named(tmp_path, table, expected):
    write_trials(tmp_path / "DvsGesture")
    file = tmp_path / "DvsGesture" / "user24_led_labels.csv"
    file.write_bytes(table)
    assert complaint(SOURCES["dvs_gesture"].find, tmp_path).startswith(f"{file} {expected}")


def test_real_gestures_are_the_same_in_tonics_and_in_the_authors_layout(real_data, tmp_path):
    tonics = SOURCES["dvs_gesture"].find(real_data("dvs_gesture"))
    assert tonics.parts["train"] == []
    assert [r.label for r in tonics.parts["test"]] == list(range(10))

    # One recording of all ten in another order, two seconds apart, as the authors' have them.
    order, pieces, trials = (7, 1, 0, 9, 8, 3, 2, 5, 4, 6), [], []
    for i, label in enumerate(order):
        events = tonics.read(tonics.parts["test"][label])
        begin = 3_000_137 + i * 2_000_000
        pieces.append(events._replace(t=events.t + begin))
        trials.append((label + 1, begin, begin + int(events.t[-1]) + 1))
    place = tmp_path / "DvsGesture"
    place.mkdir()
    file = write_aedat3(place / "user99_unknown.aedat", Events(*map(np.concatenate, zip(*pieces, strict=True))))
    write_labels_csv(file, trials)
    (place / "trials_to_train.txt").touch()
    (place / "trials_to_test.txt").write_text("user99_unknown.aedat\n")

    authors = SOURCES["dvs_gesture"].find(tmp_path)
    assert authors.parts["train"] == []
    assert [(r.file, r.item, r.label) for r in authors.parts["test"]] == [(file, i, k) for i, k in enumerate(order)]
    grid = Grid((128, 128), (48, 48), CHANNEL_OF["both"])
    for recording, (_, begin, _) in zip(authors.parts["test"], trials, strict=True):
        events, expected = authors.read(recording), tonics.read(tonics.parts["test"][recording.label])
        assert same(events._replace(t=events.t - begin), expected)
        for by in ("number", "time"):
            assert np.array_equal(*(frames_of(e, Binning(16, by), grid) for e in (events, expected)))


CIFAR_PLACES = {
    "CIFAR10DVS": (write_aedat2, ".aedat"),
    "CIFAR10-DVS": (write_aedat2, ".aedat"),
    "cifar10_dvs/extract": (write_aedat2, ".aedat"),
    "DVS_Cifar10/CIFAR10DVS/extract": (write_aedat2, ".aedat"),
    ".": (write_aedat2, ".aedat"),
    "CIFAR10DVS/events_np": (write_npz, ".npz"),
    "events_np": (write_npz, ".npz"),
}


@pytest.mark.parametrize("place", CIFAR_PLACES)
def test_cifar10_dvs_is_found_in_every_layout(tmp_path, place):
    write, ending = CIFAR_PLACES[place]
    expected = write_classes(tmp_path / place, write, 128, CIFAR, "cifar10_bird_{}" + ending)
    found = SOURCES["cifar10_dvs"].find(tmp_path)
    check(found, train=expected, test=[])
    assert found.unsplit
    assert found.official == {"train": 10_000}


@pytest.mark.parametrize("place", ["CIFAR10DVS", "."])
def test_cifar10_dvs_is_found_as_tonic_leaves_it(tmp_path, place, format_file):
    sample = format_file("sample.aedat4")
    for word in CIFAR:
        (tmp_path / place / word).mkdir(parents=True)
        for number in NUMBERS:
            (tmp_path / place / word / f"cifar10_{word}_{number}.aedat4").symlink_to(sample)
            (tmp_path / place / word / f"cifar10_{word}_{number}.aedat").touch()  # tonic's come first
    found = SOURCES["cifar10_dvs"].find(tmp_path)
    expected = [(f"cifar10_{word}_{n}.aedat4", 0, label) for label, word in enumerate(CIFAR) for n in NUMBERS]
    assert [(r.file.name, r.item, r.label) for r in found.parts["train"]] == expected
    assert same(found.read(found.parts["train"][-1]), event_files.read_aedat4(sample))


def write_trains(file: Path, labels: list[int], units: int) -> list[Events]:
    """A file of as many spike trains as labels: what they hold."""
    file.parent.mkdir(parents=True, exist_ok=True)
    all_of = [some_events(3 + i, units, seed=len(file.name) + i) for i in range(len(labels))]
    write_spike_trains(file, [((e.t / 1e6).astype(np.float32), e.x) for e in all_of], labels)
    return [e._replace(y=e.y * 0, p=e.p * 0) for e in all_of]


TRAINS = {
    "shd": (("SHD", "shd", "hdspikes", ".", "SHD/extract"), {"train": "train", "test": "test"}, 20, (8156, 2264)),
    "ssc": (
        ("SSC", "ssc", "hdspikes", ".", "SSC/extract"),
        {"train": "train", "validation": "valid", "test": "test"},
        35,
        (75_466, 9_981, 20_382),
    ),
}


@pytest.mark.parametrize(("source", "place"), [(name, place) for name in TRAINS for place in TRAINS[name][0]])
def test_spike_trains_are_found_in_every_place_with_their_parts(tmp_path, source, place):
    _, parts, classes, counts = TRAINS[source]
    labels = {part: [classes - 1, 0, i] for i, part in enumerate(parts)}
    files = {part: tmp_path / place / f"{source}_{word}.h5" for part, word in parts.items()}
    held = {part: write_trains(files[part], labels[part], 700) for part in parts}
    found = SOURCES[source].find(tmp_path)
    assert found.official == dict(zip(parts, counts, strict=True))
    assert list(found.parts) == list(parts)
    for part, recordings in found.parts.items():
        assert [(r.file, r.item, r.label) for r in recordings] == [
            (files[part], *row) for row in enumerate(labels[part])
        ]
        assert all(same(found.read(r), events) for r, events in zip(recordings, held[part], strict=True))


def test_a_part_of_the_spike_trains_may_be_missing(tmp_path):
    write_trains(tmp_path / "SSC" / "ssc_test.h5", [1, 2], 700)
    assert {part: len(r) for part, r in SOURCES["ssc"].find(tmp_path).parts.items()} == {
        "train": 0,
        "validation": 0,
        "test": 2,
    }


@pytest.mark.parametrize(("source", "label"), [("shd", 20), ("shd", 255), ("ssc", 35), ("spoken_digits_spikes", 10)])
def test_a_label_that_is_no_class_is_refused(tmp_path, source, label):
    place = {"shd": "SHD", "ssc": "SSC"}.get(source, source)
    file = tmp_path / place / f"{'ssc' if source == 'ssc' else 'shd'}_test.h5"
    write_trains(file, [0, label, 1], 70)
    message = complaint(SOURCES[source].find, tmp_path)
    assert str(file) in message
    assert str(label) in message


def test_real_spoken_digits_are_whole(real_data):
    found = SOURCES["spoken_digits_spikes"].find(real_data("spoken_digits_spikes"))
    assert {part: len(recordings) for part, recordings in found.parts.items()} == found.official
    for recordings in found.parts.values():
        assert [r.item for r in recordings] == list(range(len(recordings)))
        assert len(set(Counter(r.label for r in recordings).values())) == 1  # as many of every digit


@pytest.mark.parametrize("source", SOURCES)
def test_what_is_nowhere_is_said_in_one_line_with_the_folder(tmp_path, source):
    for folder in (tmp_path, tmp_path / "nothing"):
        message = complaint(SOURCES[source].find, folder)
        assert message.startswith(f"{source}: ")
        for word in (str(folder.resolve()), f"prepare_data.py dataset={source}", "paths.data_dir=FOLDER"):
            assert word in message
