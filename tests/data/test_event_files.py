"""The readers of event files: exactly the events that were written, and one line for every file that is not right.

Shapes: columns t (µs), x, y, p of a recording, each `[E]`.
"""

import contextlib
import multiprocessing
import os
import pickle
import signal
import struct
import threading
import tracemalloc
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import tonic.io
from event_writers import (
    AEDAT2_HEADER,
    AEDAT3_HEADER,
    FORMATS,
    aedat3_packet,
    read_damaged,
    read_spike_trains,
    same,
    some_events,
    write_aedat2,
    write_aedat3,
    write_aedat4,
    write_atis_bin,
    write_gesture_npy,
    write_npz,
    write_spike_trains,
)
from spikingjelly.datasets import cifar10_dvs
from spikingjelly.datasets import utils as spikingjelly

from snnrepro.data import event_files
from snnrepro.data.frames import Binning, Events, Grid, frames_of
from snnrepro.errors import UserError

READERS = {name: read for name, (_, read, _) in FORMATS.items()}
NMNIST = Grid((34, 34), (34, 34), (0, 1))


def events_in(table: np.ndarray | dict[str, np.ndarray], names: tuple[str, ...] = ("t", "x", "y", "p")) -> Events:
    """The columns of tonic's structured array, or of spikingjelly's dictionary."""
    kinds = (np.int64, np.int16, np.int16, np.uint8)
    return Events(*(table[name].astype(kind) for name, kind in zip(names, kinds, strict=True)))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("n", [1, 2, 500])
def test_a_reader_gives_the_events_that_were_written(tmp_path, name, n):
    write, read, held = FORMATS[name]
    for seed in range(3):
        events = some_events(n, 34, seed)
        assert same(read(write(tmp_path / "a", events)), held(events))


def test_the_first_and_the_last_of_every_field_are_read(tmp_path):
    for name, last in (
        ("bin", 255),
        ("aedat2", 127),
        *((name, 2**15 - 1) for name in ("aedat3", "aedat4", "npz", "npy")),
    ):
        write, read, held = FORMATS[name]
        x = np.array([0, last, 0, last], np.int16)
        y = np.array([0, 0, last, last], np.int16) if name != "bin" else np.array([0, 239, 241, 255], np.int16)
        t = {"bin": 2**23 - 1, "aedat3": 2**40, "aedat4": 2**51, "npy": 2**40}.get(name, 2**32 - 1)
        events = Events(np.array([0, 1, 2**16, t]), x, y, np.array([0, 1, 1, 0], np.uint8))
        assert same(read(write(tmp_path / "a", events)), held(events))


def test_nmnist_counts_the_rounds_of_the_clock(tmp_path):
    events = some_events(300, 34, longest=9_000)  # some rounds pass without an event
    assert events.t[-1] > 40 * 2**13
    file = write_atis_bin(tmp_path / "a.bin", events, overflows=True)
    assert same(event_files.read_atis_bin(file), events)
    assert same(events_in(tonic.io.read_mnist_file(file, tonic.datasets.NMNIST.dtype)), events)


def test_aedat3_takes_packets_of_polarity_events_above_their_overflow_counter(tmp_path):
    events = some_events(3000, 128, longest=3_000_000, start=2**31 - 10**9)
    assert set(events.t >> 31) == {0, 1, 2}
    file = write_aedat3(tmp_path / "a.aedat", events, per_packet=7)
    assert same(event_files.read_aedat3(file), events)
    assert same(events_in(spikingjelly.load_aedat_v3(file)), events)


def test_aedat3_passes_over_what_a_packet_has_room_for_but_does_not_hold(tmp_path):
    events, file = some_events(10, 128), tmp_path / "a.aedat"
    later = some_events(5, 128, 1, start=10**6)
    file.write_bytes(AEDAT3_HEADER + aedat3_packet(events, number=4) + aedat3_packet(later))
    expected = Events(*(np.concatenate([a[:4], b]) for a, b in zip(events, later, strict=True)))
    assert same(event_files.read_aedat3(file), expected)


def test_aedat4_gives_the_first_stream_of_events(tmp_path):
    events, other = some_events(250, 128), some_events(120, 128, 1)
    file = write_aedat4(tmp_path / "a.aedat4", events, other)
    assert same(event_files.read_aedat4(file), events)
    assert same(events_in(tonic.io.read_aedat4(str(file)), ("t", "x", "y", "on")), events)


def test_what_was_interrupted_does_not_answer_for_the_next_file(tmp_path):
    long, short = some_events(200_000, 128), some_events(9, 128, 1)
    files = write_aedat4(tmp_path / "a.aedat4", long, per_packet=1000), write_aedat4(tmp_path / "b.aedat4", short)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, stop)
    try:
        for milliseconds in (1, 4, 8):
            press = threading.Timer(milliseconds / 1000, signal.pthread_kill, (threading.get_ident(), signal.SIGUSR1))
            with contextlib.suppress(KeyboardInterrupt):
                press.start()
                event_files.read_aedat4(files[0])
            with contextlib.suppress(KeyboardInterrupt):
                press.join()
            press.join()
            assert same(event_files.read_aedat4(files[1]), short)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_aedat_files_are_read_as_tonic_and_spikingjelly_do(tmp_path):
    events, file = some_events(500, 128), tmp_path / "a.aedat"
    file.write_bytes(AEDAT3_HEADER + aedat3_packet(events) + aedat3_packet(some_events(20, 128, 1, start=10**6)))
    version, start, _ = tonic.io.read_aedat_header_from_file(file)
    words = tonic.io.get_aer_events_from_file(file, version, start)
    found = event_files.read_aedat3(file)
    assert np.array_equal(found.t, words["timeStamp"])
    assert np.array_equal(found.x.astype(int) << 17 | found.y.astype(int) << 2 | found.p << 1 | 1, words["address"])
    assert same(found, events_in(spikingjelly.load_aedat_v3(file)))

    write_aedat2(file, events)
    version, start, _ = tonic.io.read_aedat_header_from_file(file)
    words = tonic.io.get_aer_events_from_file(file, version, start)
    found = event_files.read_aedat2(file)
    assert np.array_equal(found.t, words["timeStamp"])
    assert same(found, events_in(cifar10_dvs._load_origin_data(file)))


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int32, np.uint64, np.float32, np.float64])
def test_a_gesture_array_may_be_of_any_numbers_that_are_whole(tmp_path, dtype):
    events = some_events(200, 128)
    events = events._replace(t=events.t // 1000 * 1000)
    assert same(event_files.read_gesture_npy(write_gesture_npy(tmp_path / "a.npy", events, dtype)), events)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_spike_times_are_the_nearest_microsecond_of_what_the_file_holds(tmp_path, dtype):
    rng = np.random.default_rng(0)
    trains = [(np.sort(rng.random(n)).astype(dtype), rng.integers(0, 700, n)) for n in (60, 0, 1, 200)]
    found = event_files.SpikeTrains(write_spike_trains(tmp_path / "a.h5", trains, [3, 1, 0, 19]))
    assert len(found) == 4
    assert found.labels.tolist() == [3, 1, 0, 19]
    for i, (times, units) in enumerate(trains):
        events = found.read(i)
        exact = [round(float(time) * 10**6) for time in times]
        zeros = np.zeros(len(units))
        assert same(
            events,
            Events(np.array(exact, np.int64), units.astype(np.int16), zeros.astype(np.int16), zeros.astype(np.uint8)),
        )


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int64, np.uint64])
def test_classes_may_be_whole_numbers_of_any_size(tmp_path, dtype):
    file = edited(tmp_path / "a.h5", "labels", np.array([2, 0, 1], dtype))
    assert event_files.SpikeTrains(file).labels.tolist() == [2, 0, 1]


def test_real_digits_are_tonics(real_data, format_file):
    files = sorted((real_data("nmnist") / "NMNIST").glob("T*/*/*.bin"))[::20]
    assert len(files) == 55
    for file in (*files, format_file("sample_nmnist.bin")):
        events = event_files.read_atis_bin(file)
        assert same(events, events_in(tonic.io.read_mnist_file(file, tonic.datasets.NMNIST.dtype)))
        assert same(events, events_in(spikingjelly.load_ATIS_bin(file)))
        assert (np.diff(events.t) >= 0).all()
        assert 250_000 < events.t[-1] < 350_000  # three saccades of 100 ms
        assert frames_of(events, Binning(3), NMNIST).sum() == len(events.t) > 500


def test_real_gestures_are_tonics(real_data):
    for file in sorted((real_data("dvs_gesture") / "DVSGesture").rglob("*.npy")):
        table = np.load(file)
        x, y, p, ms = table.T
        assert same(event_files.read_gesture_npy(file), events_in({"t": ms * 1000, "x": x, "y": y, "p": p}))


def test_a_real_aedat4_file_is_tonics(format_file):
    file = format_file("sample.aedat4")
    theirs = tonic.io.read_aedat4(str(file))
    assert len(theirs) > 100_000
    assert same(event_files.read_aedat4(file), events_in(theirs, ("t", "x", "y", "on")))


def test_real_spike_trains_are_what_the_file_holds(real_data):
    for part in ("train", "test"):
        file = real_data("spoken_digits_spikes") / "spoken_digits_spikes" / f"shd_{part}.h5"
        found = event_files.SpikeTrains(file)
        with h5py.File(file) as h5:
            assert np.array_equal(found.labels, h5["labels"][:])
            for i in range(0, len(found), 15):
                events = found.read(i)
                assert np.array_equal(events.x, h5["spikes/units"][i])
                assert np.abs(events.t / 1e6 - h5["spikes/times"][i].astype(float)).max() <= 0.5e-6 + 1e-12


def complaint(read, file: Path) -> str:
    """The one line that a reader has for a file."""
    with pytest.raises(UserError) as caught:
        read(file)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert str(file) in message
    return message


@pytest.mark.parametrize("name", READERS)
def test_a_file_that_is_missing_empty_or_no_file_is_named(tmp_path, name):
    read, file = READERS[name], tmp_path / "a"
    assert complaint(read, file) == f"{file} not found"
    file.touch()
    assert complaint(read, file) == f"{file} is empty: fetch it again"
    assert "cannot be read" in complaint(read, tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("name", READERS)
def test_a_file_that_may_not_be_read_is_named(tmp_path, name):
    file = tmp_path / "a"
    file.write_bytes(b"x")
    file.chmod(0)
    assert "cannot be read" in complaint(READERS[name], file)


def foreign(folder: Path) -> dict[str, bytes]:
    """A file of every format, of text and of zeros, each of 5 n bytes, which any N-MNIST file may have."""
    contents = {name: write(folder / name, some_events(77, 34)).read_bytes() for name, (write, _, _) in FORMATS.items()}
    contents |= {
        "text": b"<html><body>404 Not Found</body></html>\n",
        "pickle": pickle.dumps([1, 2]),
        "zeros": bytes(40),
    }
    return {name: data + data[-1:] * (-len(data) % 5) for name, data in contents.items()}


@pytest.mark.parametrize("name", [name for name in READERS if name != "bin"])
def test_a_file_of_another_format_is_refused(tmp_path, name):
    for other, data in foreign(tmp_path).items():
        if other != name:
            (tmp_path / "a").write_bytes(data)
            complaint(READERS[name], tmp_path / "a")


@pytest.mark.parametrize(
    ("name", "version"), [("aedat2", "1.0"), ("aedat2", "3.1"), ("aedat3", "2.0"), ("aedat4", "3.1")]
)
def test_another_version_of_aedat_is_refused(tmp_path, name, version):
    file = FORMATS[name][0](tmp_path / "a", some_events(9, 34))
    file.write_bytes(b"#!AER-DAT" + version.encode() + file.read_bytes()[12:])
    complaint(READERS[name], file)


def test_a_file_that_is_no_digit_has_events_outside_the_sensor(tmp_path):
    for other, data in foreign(tmp_path).items():
        if other not in ("bin", "zeros"):  # forty zeros are eight events
            (tmp_path / "a").write_bytes(data)
            with pytest.raises(UserError, match="outside a sensor of 34 x 34"):
                frames_of(event_files.read_atis_bin(tmp_path / "a"), Binning(1), NMNIST)


@pytest.mark.parametrize("name", ["bin", "aedat2", "aedat3"])
def test_a_file_cut_anywhere_but_between_events_or_packets_is_refused(tmp_path, name):
    write, read, _ = FORMATS[name]
    events, file = some_events(9, 34), tmp_path / "a"
    data = write(file, events).read_bytes()
    header = {"bin": 0, "aedat2": len(AEDAT2_HEADER), "aedat3": len(AEDAT3_HEADER)}[name]
    whole = {"bin": range(0, 46, 5), "aedat2": range(header, len(data) + 1, 8), "aedat3": (len(data),)}[name]
    for end in range(1, len(data)):
        file.write_bytes(data[:end])
        # A header line that is cut may still be a header without events.
        if end in whole or (name == "aedat2" and data[:end].endswith(b"\n") and end <= header):
            assert len(read(file).t) < 9
        else:
            complaint(read, file)


def test_aedat_packets_that_contradict_themselves_are_refused(tmp_path):
    events, file = some_events(50, 34), tmp_path / "a.aedat"
    for head in (
        {"capacity": 49},
        {"capacity": 51},
        {"capacity": 2**32 - 1},
        {"number": 51},
        {"size": 0},
        {"size": 4},
        {"size": 16},
        {"size": 16, "capacity": 25, "number": 25},
        {"size": 2**32 - 1, "capacity": 2**32 - 1},
        {"kind": 2},  # no packet of polarity events is left
    ):
        file.write_bytes(AEDAT3_HEADER + aedat3_packet(events, **head))
        complaint(event_files.read_aedat3, file)
    late = struct.pack("<HHIIIIII", 1, 0, 8, 4, 2**32 - 1, 1, 1, 1) + struct.pack("<II", 0, 2**31 - 1)
    file.write_bytes(AEDAT3_HEADER + late)
    complaint(event_files.read_aedat3, file)  # 292 thousand years
    file.write_bytes(AEDAT3_HEADER)
    assert complaint(event_files.read_aedat3, file) == f"{file} holds no event"
    file.write_bytes(AEDAT3_HEADER[:-2])
    assert "no end of its header" in complaint(event_files.read_aedat3, file)


class Attack:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def test_no_file_runs_code_that_it_brings(tmp_path):
    mark, file = tmp_path / "mark", tmp_path / "a"
    hostile = np.array([[Attack(mark)] * 4], object)
    pickle.loads(pickle.dumps(hostile))
    assert mark.exists()  # it would work
    mark.unlink()
    with file.open("wb") as stream:
        np.save(stream, hostile, allow_pickle=True)
    complaint(event_files.read_gesture_npy, file)
    with file.open("wb") as stream:
        np.savez(stream, **dict.fromkeys("txyp", hostile[0]))
    complaint(event_files.read_npz, file)
    file.write_bytes(pickle.dumps(hostile))
    for read in READERS.values():
        if read is not event_files.read_atis_bin:
            complaint(read, file)
    assert not mark.exists()


@pytest.mark.parametrize(
    "table",
    [
        np.zeros((5, 3), int),
        np.zeros((5, 5), int),
        np.zeros(8, int),
        np.array(4),
        np.zeros((3, 4, 2), int),
        np.zeros(3, [("x", int), ("y", int), ("p", int), ("t", int)]),
        np.full((3, 4), "1"),
        np.ones((3, 4), complex),
        np.full((3, 4), np.nan),
        np.full((3, 4), np.inf),
        np.full((3, 4), 0.5),
        np.array([[-1, 0, 0, 0]]),
        np.array([[0, 2**15, 0, 0]]),
        np.array([[1, 1, 2, 0]]),
        np.array([[1, 1, -1, 0]]),
        np.array([[1, 1, 1, 2**62]]),
        np.array([[1, 1, 1, 2**64 - 1]], np.uint64),
    ],
)
def test_an_array_that_holds_no_gesture_is_refused(tmp_path, table):
    np.save(tmp_path / "a.npy", table)
    complaint(event_files.read_gesture_npy, tmp_path / "a.npy")


E50 = dict(zip("txyp", some_events(50, 34), strict=True))


@pytest.mark.parametrize(
    "changed",
    [
        {"t": E50["t"] * np.nan},
        {"t": E50["t"] + np.inf},
        {"t": E50["t"] + 1e300},
        {"t": E50["t"] + 0.5},
        {"t": E50["t"].astype(np.uint64) + np.uint64(2**63)},
        {"t": E50["t"].astype("M8[us]")},
        {"t": E50["t"][:-1]},
        {"t": E50["t"].astype(str)},
        {"x": E50["x"] + 0.5},
        {"x": E50["x"] * np.nan},
        {"x": E50["x"] + 1j},
        {"x": E50["x"].astype(int) + 2**16},
        {"x": E50["x"].astype(str)},
        {"x": np.zeros(50, [("a", int)])},
        {"y": E50["y"].astype(object)},
        {"y": E50["y"].astype(int) - 2**15},
        {"p": E50["p"].astype(int) - 1},
        {"p": E50["p"] + 0.5},
        {"p": E50["p"].astype(str)},
        {name: column.reshape(5, 10) for name, column in E50.items()},
        {name: column[0] for name, column in E50.items()},
        {"q": E50["p"]},
    ],
)
def test_arrays_that_hold_no_recording_are_refused(tmp_path, changed):
    arrays = E50 | changed
    if "q" in arrays:
        del arrays["p"]
    np.savez(tmp_path / "a.npz", **arrays)
    complaint(event_files.read_npz, tmp_path / "a.npz")


def test_a_zip_file_of_something_else_is_refused(tmp_path):
    for names, content in ((("readme.txt",), b"hello"), ("txyp", b"hello"), (("t.npy", "x.npy"), b"\x93NUMPY")):
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            for name in names:
                archive.writestr(name, content)
        complaint(event_files.read_npz, tmp_path / "a.npz")


@pytest.mark.parametrize(("offset", "value"), [(8, 1), (10, 99)])  # encrypted; compressed in an unknown way
def test_a_zip_file_that_cannot_be_unpacked_is_refused(tmp_path, offset, value):
    file = write_npz(tmp_path / "a.npz", some_events(9, 34))
    data = bytearray(file.read_bytes())
    data[data.index(b"PK\x01\x02") + offset] = value
    data[offset - 2] = value  # the entry's own head
    file.write_bytes(data)
    complaint(event_files.read_npz, file)


@pytest.mark.parametrize("n", [2**20, 2**28, 2**40, 2**61])
def test_no_memory_is_taken_for_what_a_header_only_claims(tmp_path, n):
    file, head = tmp_path / "a", {"descr": "<i8", "fortran_order": False}
    with file.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, head | {"shape": (n, 4)})
        stream.write(bytes(64))
    tracemalloc.start()
    try:
        complaint(event_files.read_gesture_npy, file)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()
    with zipfile.ZipFile(tmp_path / "b", "w") as archive:
        for name in "txyp":
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array_header_1_0(member, head | {"shape": (n,)})
                member.write(bytes(64))
    complaint(event_files.read_npz, tmp_path / "b")


@pytest.mark.parametrize(
    ("descr", "shape"),
    [
        ("<i8", (-1, 4)),
        ("<i8", (0, 2**70)),
        ("<i8", (3, -4)),
        ("|V0", (3, 4)),
        ("<U0", (3, 4)),
        (("<i8", (2,)), (3, 4)),
        ("|O", (3, 4)),
        ("nonsense", (3, 4)),
    ],
)
def test_a_header_of_no_array_is_refused(tmp_path, descr, shape):
    file = tmp_path / "a"
    with file.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
        stream.write(bytes(300))
    complaint(event_files.read_gesture_npy, file)
    with zipfile.ZipFile(tmp_path / "b", "w") as archive:
        for name in "txyp":
            archive.write(file, f"{name}.npy")
    complaint(event_files.read_npz, tmp_path / "b")


def test_arrays_by_columns_compressed_or_of_no_events_are_read(tmp_path):
    events = some_events(20, 34)
    events = events._replace(t=events.t // 1000 * 1000)
    table = np.stack([events.x, events.y, events.p, events.t // 1000], 1)
    for order in ("C", "F"):
        np.save(tmp_path / "a.npy", np.array(table, order=order))
        assert same(event_files.read_gesture_npy(tmp_path / "a.npy"), events)
    with (tmp_path / "a.npy").open("wb") as stream:
        np.lib.format.write_array(stream, table, version=(2, 0))
    assert same(event_files.read_gesture_npy(tmp_path / "a.npy"), events)
    np.savez_compressed(tmp_path / "a.npz", **events._asdict())
    assert same(event_files.read_npz(tmp_path / "a.npz"), events)
    none = some_events(0, 34)
    for name in ("npy", "npz"):
        assert same(READERS[name](FORMATS[name][0](tmp_path / "b", none)), none)


def edited(file: Path, name: str, value: object) -> Path:
    """A file of three spike trains of which one part is something else; None removes it."""
    trains = [(np.linspace(0.1, 0.9, 5).astype(np.float32), np.arange(5))] * 3
    with h5py.File(write_spike_trains(file, trains, [0, 1, 2]), "r+") as h5:
        if name == "spikes/times" and isinstance(value, float):
            h5[name][1] = np.full(5, value, np.float32)
            return file
        del h5[name]
        if value is dict:
            h5.create_group(name)
        elif value is not None:
            h5[name] = value
    return file


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("labels", None),
        ("spikes", None),
        ("spikes/times", None),
        ("spikes/units", None),
        ("labels", np.arange(2)),
        ("labels", np.array([b"a", b"b", b"c"])),
        ("labels", np.array([0.0, np.nan, 2.0])),
        ("labels", np.array([0.0, 0.5, 2.0])),
        ("labels", np.zeros((3, 2), int)),
        ("labels", 1),
        ("labels", dict),
        ("spikes/times", dict),
        ("spikes/units", dict),
        ("spikes/times", np.zeros(3)),
        ("spikes/times", np.zeros((3, 4))),
        ("spikes/units", np.zeros(3, int)),
        ("spikes/units", np.full((3, 5), b"a")),
        ("spikes/units", np.full((3, 5), -1)),
        ("spikes/units", np.full((3, 5), 2**20)),
        ("spikes/units", np.full((3, 5), 0.5)),
        ("spikes/times", np.full((3, 5), b"a")),
        ("spikes/times", np.nan),
        ("spikes/times", np.inf),
        ("spikes/times", 1e30),
    ],
)
def test_an_hdf5_file_that_holds_no_spike_trains_is_refused(tmp_path, name, value):
    complaint(read_spike_trains, edited(tmp_path / "a.h5", name, value))


def damaged(data: bytes, seed: int, head: int, only_head: bool) -> bytes:
    """The bytes cut short anywhere, or with some of them changed; half of the changes, or all, lie in the head."""
    rng = np.random.default_rng(seed)
    if seed % 3 == 0:
        return data[: rng.integers(1, head if seed % 2 else len(data))]
    changed = bytearray(data)
    for at in rng.integers(0, head if seed % 2 or only_head else len(data), rng.integers(1, 4)):
        changed[at] ^= int(rng.integers(1, 256))
    return bytes(changed)


def outcomes(tmp_path: Path, name: str, data: bytes, n: int, head: int, only_head: bool = False) -> set[str]:
    """Read n damaged copies in another process, since libraries may end theirs: what came of them."""
    folder, report = tmp_path / "damaged", tmp_path / "report"
    folder.mkdir()
    for seed in range(n):
        (folder / f"{seed:04d}").write_bytes(damaged(data, seed, head, only_head))
    process = multiprocessing.get_context("spawn").Process(target=read_damaged, args=(name, folder, report))
    process.start()
    process.join(60)
    assert process.exitcode is not None, "it does not come to its end"
    lines = report.read_text().splitlines()
    assert process.exitcode == 0, f"ended while it read {lines[-1]}"
    assert len(lines) == n
    return {line.partition(" ")[2] for line in lines}


HEADS = {"h5": 600, "aedat4": 60}


@pytest.mark.parametrize("name", FORMATS)
def test_damage_gives_events_or_one_line(tmp_path, name):
    data = FORMATS[name][0](tmp_path / "a", some_events(300, 34)).read_bytes()
    # HDF5 does not check the lengths of its arrays: for a wrong one it takes gigabytes, or ends the process.
    assert outcomes(tmp_path, name, data, 500, HEADS.get(name, 400), only_head=name == "h5") == {"events", "refused"}


def test_damage_of_a_compressed_file_gives_events_or_one_line(tmp_path, format_file):
    data = format_file("sample.aedat4").read_bytes()
    assert outcomes(tmp_path, "aedat4", data, 60, 2400) == {"events", "refused"}
