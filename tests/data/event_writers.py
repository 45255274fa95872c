"""Small files in the formats of the event data sets, written from events that the test chose, and read when damaged.

Shapes: columns t (µs), x, y, p of a recording, each `[E]`.
"""

import resource
import struct
import warnings
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np

from snnrepro.data import event_files
from snnrepro.data.frames import Events
from snnrepro.errors import UserError

CLOCK = 2**13  # µs after which the clock of N-MNIST's camera goes round


def some_events(n: int, size: int, seed: int = 0, longest: int = 900, start: int = 0) -> Events:
    """Events at any pixel of a square sensor, up to `longest` µs apart, some at the same time."""
    rng = np.random.default_rng(seed)
    t = start + np.cumsum(rng.integers(0, longest + 1, n))
    x, y, p = (rng.integers(0, top, n) for top in (size, size, 2))
    return Events(t.astype(np.int64), x.astype(np.int16), y.astype(np.int16), p.astype(np.uint8))


def same(a: Events, b: Events) -> bool:
    """Whether two recordings hold the same events in the dtypes of Events."""
    kinds = (np.int64, np.int16, np.int16, np.uint8)
    return all(c.dtype == kind and np.array_equal(c, d) for c, d, kind in zip(a, b, kinds, strict=True))


def _atis_entry(t: int, x: int, y: int, p: int) -> bytes:
    return bytes([x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255])


def write_atis_bin(file: Path, events: Events, overflows: bool = False) -> Path:
    """N-MNIST's. With overflows the 23 bits hold the time since the clock last went round, which is an entry itself."""
    out, rounds = [], 0
    for t, x, y, p in zip(*(column.tolist() for column in events), strict=True):
        while overflows and t >= CLOCK * (rounds + 1):
            rounds += 1
            out.append(_atis_entry(0, 0, 240, 0))
        out.append(_atis_entry(t - CLOCK * rounds, x, y, p))
    file.write_bytes(b"".join(out))
    return file


def write_gesture_npy(file: Path, events: Events, dtype: type = np.int64) -> Path:
    """tonic's DVS-Gesture: x, y, polarity, ms."""
    with file.open("wb") as stream:
        np.save(stream, np.stack([events.x, events.y, events.p, events.t // 1000], 1).astype(dtype))
    return file


def write_npz(file: Path, events: Events) -> Path:
    """spikingjelly's events_np, in the dtypes that its own converters leave."""
    with file.open("wb") as stream:
        np.savez(stream, t=events.t.astype(np.uint32), x=events.x, y=events.y.astype(int), p=events.p.astype(int))
    return file


AEDAT2_HEADER = b"#!AER-DAT2.0\r\n# This is a raw AE data file - do not edit\r\n# Data format is int32 address\r\n"


def write_aedat2(file: Path, events: Events) -> Path:
    """CIFAR10-DVS. `events` are as the papers turn them; the camera saw x' = 127 - y, y' = 127 - x, p' = 1 - p."""
    y, x, p = 127 - events.x.astype(int), 127 - events.y.astype(int), 1 - events.p.astype(int)
    words = np.stack([y << 8 | x << 1 | p, events.t], 1).astype(">u4")
    file.write_bytes(AEDAT2_HEADER + words.tobytes())
    return file


AEDAT3_HEADER = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n#Start-Time: 2016-01-01\r\n#!END-HEADER\r\n"


def aedat3_packet(
    events: Events, kind: int = 1, number: int | None = None, capacity: int | None = None, size: int = 8
) -> bytes:
    """A packet of events of one overflow counter; `number`, `capacity` and `size` as its head claims them."""
    n = len(events.t)
    overflow = int(events.t[0] >> 31) if n else 0
    assert not n or overflow == events.t[-1] >> 31
    number = n if number is None else number
    head = (kind, 0, size, 4, overflow, n if capacity is None else capacity, number, number)
    x, y, p = (column.astype(np.uint32) for column in events[1:])
    words = np.stack([x << 17 | y << 2 | p << 1 | 1, (events.t & 0x7FFFFFFF).astype(np.uint32)], 1)
    return struct.pack("<HHIIIIII", *head) + words.astype("<u4").tobytes()


def write_aedat3(file: Path, events: Events, per_packet: int = 4096) -> Path:
    """A recording of DVS-Gesture: a packet of another kind first, then `per_packet` events each."""
    overflows = events.t >> 31
    places = sorted({*range(0, len(events.t), per_packet), *(np.flatnonzero(np.diff(overflows)) + 1), len(events.t)})
    special = struct.pack("<HHIIIIII", 0, 0, 8, 4, 0, 2, 2, 2) + bytes(range(16))
    packets = (aedat3_packet(Events(*(column[a:b] for column in events))) for a, b in pairwise(places))
    file.write_bytes(AEDAT3_HEADER + special + b"".join(packets))
    return file


def write_labels_csv(recording: Path, trials: Sequence[tuple[int, int, int]]) -> Path:
    """The table beside a recording of DVS-Gesture: class from 1 on, first µs, last µs."""
    file = recording.with_name(recording.stem + "_labels.csv")
    file.write_text("class,startTime_usec,endTime_usec\n" + "".join(f"{c},{a},{b}\n" for c, a, b in trials))
    return file


def write_spike_trains(file: Path, trains: Sequence[tuple[np.ndarray, np.ndarray]], labels: Sequence[int]) -> Path:
    """SHD's HDF5: times (s) in the dtype that the first has, units, labels."""
    with h5py.File(file, "w") as h5:
        for name, column, dtype in (("times", 0, trains[0][0].dtype), ("units", 1, np.dtype(np.uint16))):
            made = h5.create_dataset(f"spikes/{name}", (len(trains),), h5py.vlen_dtype(dtype))
            for i, train in enumerate(trains):
                made[i] = train[column]
        h5["labels"] = np.asarray(labels, np.uint8)
        h5["extra/speaker"] = np.zeros(len(trains), np.uint16)
    return file


AEDAT4_STREAM = """<node name="{0}" path="/mainloop/Recorder/outInfo/{0}/">
<attr key="compression" type="string">NONE</attr><attr key="typeIdentifier" type="string">EVTS</attr>
<node name="info" path="/mainloop/Recorder/outInfo/{0}/info/">
<attr key="sizeX" type="int">128</attr><attr key="sizeY" type="int">128</attr></node></node>
"""
AEDAT4_EVENT = np.dtype([("t", "<i8"), ("x", "<i2"), ("y", "<i2"), ("on", "u1"), ("pad", "V3")])


def write_aedat4(file: Path, events: Events, other: Events | None = None, per_packet: int = 100) -> Path:
    """CIFAR10-DVS as tonic serves it, not compressed; `other` is a second stream, which comes first in the file.

    The head and the packets are FlatBuffers of one table each, behind their sizes.
    """
    streams = ([] if other is None else [(7, other)]) + [(2, events)]
    nodes = "".join(AEDAT4_STREAM.format(number) for number, _ in streams)
    text = f'<dv version="2.0"><node name="outInfo" path="/mainloop/Recorder/outInfo/">{nodes}</node></dv>'.encode()
    # Compression 0 (none), no table of the packets (-1), the description as a string.
    head = struct.pack("<I4s6x5HiiIqI", 24, b"IOHE", 10, 20, 4, 12, 8, 10, 0, 12, -1, len(text)) + text
    out = [b"#!AER-DAT4.0\r\n", struct.pack("<I", len(head) + 4), head, bytes(4)]
    for number, recording in streams:
        for start in range(0, len(recording.t), per_packet):
            columns = [column[start : start + per_packet] for column in recording]
            table = np.zeros(len(columns[0]), AEDAT4_EVENT)
            for name, column in zip(("t", "x", "y", "on"), columns, strict=True):
                table[name] = column
            packet = struct.pack("<I4s3H2xiII", 16, b"EVTS", 6, 8, 4, 8, 4, len(table)) + table.tobytes()
            out += [struct.pack("<iiI", number, len(packet) + 4, len(packet)), packet]
    file.write_bytes(b"".join(out))
    return file


def read_spike_trains(file: Path) -> Events:
    """All samples of an HDF5 file, one after the other."""
    trains = event_files.SpikeTrains(file)
    read = [trains.read(i) for i in range(len(trains))]
    return Events(*(np.concatenate(columns) for columns in zip(*read, strict=True))) if read else some_events(0, 1)


def _one_spike_train(file: Path, events: Events) -> Path:
    # float32 holds these times to less than half a µs.
    return write_spike_trains(file, [((events.t / 1e6).astype(np.float32), events.x)], [0])


# How to write a recording of less than a second, how to read it, and what of it the format can hold.
FORMATS: dict[str, tuple[Callable[[Path, Events], Path], Callable[[Path], Events], Callable[[Events], Events]]] = {
    "bin": (write_atis_bin, event_files.read_atis_bin, lambda e: e),
    "npy": (write_gesture_npy, event_files.read_gesture_npy, lambda e: e._replace(t=e.t // 1000 * 1000)),
    "npz": (write_npz, event_files.read_npz, lambda e: e),
    "aedat2": (write_aedat2, event_files.read_aedat2, lambda e: e),
    "aedat3": (write_aedat3, event_files.read_aedat3, lambda e: e),
    "aedat4": (write_aedat4, event_files.read_aedat4, lambda e: e),
    "h5": (_one_spike_train, read_spike_trains, lambda e: e._replace(y=e.y * 0, p=e.p * 0)),
}


def read_damaged(name: str, folder: Path, report: Path) -> None:
    """Read all files of a folder and report, a line each, what came of it; for a process of its own, of little memory.

    A line is the file's name and `events`, `refused` or what is wrong with the outcome.
    """
    resource.setrlimit(resource.RLIMIT_DATA, (2**31, 2**31))
    warnings.simplefilter("error")
    read = FORMATS[name][1]
    with report.open("w") as lines:
        for file in sorted(folder.iterdir()):
            lines.write(f"{file.name} ")
            lines.flush()  # the last line names the file that ends the process
            lines.write(f"{_outcome(read, file)}\n")


def _outcome(read: Callable[[Path], Events], file: Path) -> str:
    try:
        events = read(file)
    except UserError as error:
        message = str(error)
        return "refused" if str(file) in message and len(message.splitlines()) == 1 else f"says {message!r}"
    except BaseException as error:
        return f"raises {type(error).__name__}: {str(error).splitlines()[:1]}"
    kinds = (np.int64, np.int16, np.int16, np.uint8)
    shapes = {(column.dtype == kind, column.shape) for column, kind in zip(events, kinds, strict=True)}
    if shapes != {(True, (len(events.t),))}:
        return f"gives columns {shapes}"
    if len(events.t) and (min(map(np.min, events[1:])) < 0 or events.p.max() > 1 or abs(events.t).max() >= 2**53):
        return "gives events that no camera sends"
    return "events"
