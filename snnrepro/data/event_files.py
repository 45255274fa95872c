"""Readers of event recordings, one for each file format, each giving Events: t in µs from any zero, x, y, p.

Shapes: a recording of E events is four arrays `[E]`. Every reader raises UserError, with the file's name, for what is
missing, truncated or not what it claims to be. Sizes and labels are checked by who knows the data set.
"""

import math
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from snnrepro.data.frames import Array, Events
from snnrepro.errors import UserError, first_line

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

ATIS_OVERFLOW = 240  # y of an entry that is no event: the clock of 2**13 µs has gone round
AEDAT3_PACKET = np.dtype(
    [
        ("kind", "<u2"),
        ("source", "<u2"),
        ("size", "<u4"),
        ("offset", "<u4"),
        ("overflow", "<u4"),
        ("capacity", "<u4"),
        ("number", "<u4"),
        ("valid", "<u4"),
    ]
)
AEDAT3_POLARITY = 1  # kind of a packet of polarity events


LATEST = 2**53  # µs; later times are damage


def events_of(where: object, t: Any, x: Any, y: Any, p: Any) -> Events:
    """The four columns in the dtypes of Events, exactly.

    Raises UserError, which begins with `where`, for what is no list of whole numbers that a sensor can give.
    """
    columns = [np.asarray(column) for column in (t, x, y, p)]
    if any(c.ndim != 1 or c.dtype.kind not in "biuf" for c in columns) or len({len(c) for c in columns}) != 1:
        raise UserError(f"{where} does not hold a time, x, y and polarity, each a number, for every event")
    for name, column, least, end in zip("txyp", columns, (-LATEST, 0, 0, 0), (LATEST, 2**15, 2**15, 2), strict=True):
        if column.dtype.kind == "f" and not (np.isfinite(column).all() and (column == np.rint(column)).all()):
            raise UserError(f"{where} holds values of {name} that are no whole numbers")
        if len(column) and not (column.min() >= least and column.max() < end):
            raise UserError(f"{where} holds values of {name} from {column.min()} to {column.max()}, as no sensor gives")
    kinds = (np.int64, np.int16, np.int16, np.uint8)
    return Events(*(np.ascontiguousarray(c, kind) for c, kind in zip(columns, kinds, strict=True)))


def read_bytes(file: Path) -> bytes:
    """The whole file. Raises UserError where it is missing, unreadable or empty."""
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{file} not found") from None
    except OSError as error:
        raise UserError(f"{file} cannot be read: {first_line(error)}") from None
    if not data:
        raise UserError(f"{file} is empty: fetch it again")
    return data


def read_atis_bin(file: Path) -> Events:
    """N-MNIST's .bin: five bytes an event, x, y, then one bit of polarity and 23 bits of µs, the highest first.

    Source: the data set's page, garrickorchard.com/datasets/n-mnist (Orchard et al. 2015).
    """
    data = np.frombuffer(read_bytes(file), np.uint8)
    if len(data) % 5:
        raise UserError(f"{file} holds {len(data):,} bytes, not a whole number of five-byte events: fetch it again")
    table = data.reshape(-1, 5).astype(np.int64)
    x, y, high = table[:, 0], table[:, 1], table[:, 2]
    t = ((high & 127) << 16) | (table[:, 3] << 8) | table[:, 4]
    rounds = y == ATIS_OVERFLOW
    if rounds.any():
        t = (t + 2**13 * np.cumsum(rounds))[~rounds]
        x, y, high = x[~rounds], y[~rounds], high[~rounds]
    return events_of(file, t, x, y, high >> 7)


def read_gesture_npy(file: Path) -> Events:
    """tonic's DVS-Gesture: an array `[E, 4]` of x, y, polarity and time in ms."""
    with _opened(file) as stream:
        table = _array(file, stream, file.stat().st_size)
    if table.ndim != 2 or table.shape[1] != 4:
        raise UserError(f"{file} is no array of events [E, 4] (x, y, polarity, ms): fetch it again")
    checked = events_of(file, table[:, 3], table[:, 0], table[:, 1], table[:, 2])
    return events_of(file, checked.t * 1000, *checked[1:])


def read_npz(file: Path) -> Events:
    """spikingjelly's events_np: arrays t (µs), x, y, p."""
    read_start(file)
    try:
        with zipfile.ZipFile(file) as archive:
            columns = []
            for name in "txyp":
                info = archive.getinfo(f"{name}.npy")
                with archive.open(info) as stream:
                    columns.append(_array(file, stream, info.file_size))
    except KeyError:
        raise UserError(f"{file} does not hold the arrays t, x, y and p: fetch it again") from None
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise UserError(f"{file} cannot be read as NumPy data ({first_line(error)}): fetch it again") from None
    return events_of(file, *columns)


def _array(file: Path, stream: IO[bytes], size: int) -> Array:
    """An .npy of `size` bytes at most. Nothing is unpickled, no memory is taken for what only the header claims."""
    try:
        version = np.lib.format.read_magic(stream)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, by_columns, kind = read_header[version](stream)
        expected = math.prod(shape) * kind.itemsize
        data = stream.read(expected) if expected <= size else b""
        if kind.hasobject or len(data) != expected:
            raise UserError(f"{file} holds no array of numbers, or ends early: fetch it again")
        found: Array = np.frombuffer(data, kind).reshape(shape, order="F" if by_columns else "C")
    except UserError:
        raise
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile):
        raise UserError(f"{file} ends early: fetch it again") from None
    except Exception as error:  # the header is a Python expression, which fails in many ways
        raise UserError(f"{file} cannot be read as NumPy data ({first_line(error)}): fetch it again") from None
    return found


def read_aedat2(file: Path) -> Events:
    """CIFAR10-DVS as published (AEDAT 2.0, DVS128): address and µs, each a big-endian uint32, after lines of `#`.

    The address holds y in bits 8-14, x in bits 1-7 and polarity in bit 0. The picture is turned as the papers' loader
    (spikingjelly) turns it: x = 127 - y, y = 127 - x, p = 1 - p.
    """
    data = read_bytes(file)
    start = 0
    while data[start : start + 1] == b"#":
        start = data.find(b"\n", start) + 1
        if start == 0:
            raise UserError(f"{file} is a header without events: fetch it again")
    if not data.startswith(b"#!AER-DAT2"):
        raise UserError(f"{file} is no AEDAT 2.0 file (it begins with {data[:10]!r})")
    if (len(data) - start) % 8:
        raise UserError(f"{file} ends in the middle of an event: fetch it again")
    words = np.frombuffer(data, ">u4", offset=start).astype(np.int64).reshape(-1, 2)
    address = words[:, 0]
    return events_of(file, words[:, 1], 127 - ((address >> 8) & 127), 127 - ((address >> 1) & 127), 1 - (address & 1))


def read_aedat3(file: Path) -> Events:
    """A recording of DVS-Gesture as published (AEDAT 3.1): packets of a 28-byte head and events of 8 bytes.

    Of an event's first word bit 1 is the polarity, bits 2-16 are y, bits 17-31 are x; its second word is the time in
    µs, above which the packet's overflow counter stands. Packets of other kinds are passed over.
    """
    data = read_bytes(file)
    if not data.startswith(b"#!AER-DAT3"):
        raise UserError(f"{file} is no AEDAT 3.1 file (it begins with {data[:10]!r})")
    end = data.find(b"#!END-HEADER\r\n")
    if end < 0:
        raise UserError(f"{file} has no end of its header: fetch it again")
    packets = list(_aedat3_packets(file, data, end + len(b"#!END-HEADER\r\n")))
    if not packets:
        raise UserError(f"{file} holds no event")
    t = np.concatenate([words[:, 1] + (overflow << 31) for words, overflow in packets])
    address = np.concatenate([words[:, 0] for words, _ in packets])
    return events_of(file, t, address >> 17, (address >> 2) & 0x7FFF, (address >> 1) & 1)


def _aedat3_packets(file: Path, data: bytes, start: int) -> Iterator[tuple[NDArray[np.int64], int]]:
    while start < len(data):
        if start + AEDAT3_PACKET.itemsize > len(data):
            raise UserError(f"{file} ends in the middle of a packet: fetch it again")
        head = np.frombuffer(data, AEDAT3_PACKET, 1, start)[0]
        start += AEDAT3_PACKET.itemsize
        end = start + int(head["capacity"]) * int(head["size"])
        if end > len(data):
            raise UserError(f"{file} ends in the middle of a packet: fetch it again")
        if head["kind"] == AEDAT3_POLARITY:
            if head["size"] != 8 or head["number"] > head["capacity"]:
                raise UserError(f"{file} has a damaged packet at byte {start}: fetch it again")
            words = np.frombuffer(data, "<u4", 2 * int(head["number"]), start)
            yield words.astype(np.int64).reshape(-1, 2), int(head["overflow"])
        start = end


def read_aedat4(file: Path) -> Events:
    """CIFAR10-DVS as tonic serves it (AEDAT 4), decoded by the package `aedat`; of several streams the first.

    The decoder runs in a process of its own, which a damaged file can end.
    """
    read_start(file)
    try:
        decoder = _decoder()
        decoder.send(str(file))
        table = decoder.recv()
    except BaseException as error:
        _decoder.cache_clear()  # its answer, if one comes, is not that to the next question
        if isinstance(error, EOFError | OSError):
            raise UserError(f"{file} is no AEDAT 4 file, or damaged: fetch it again") from None
        raise
    if isinstance(table, str):
        raise UserError(f"{file} {table}: fetch it again")
    return events_of(file, table["t"], table["x"], table["y"], table["on"])


@lru_cache(maxsize=1)
def _decoder() -> "Connection[Any, Any]":
    """The near end of a process that answers names of files by their events; it ends with this one."""
    context = get_context("spawn")
    near, far = context.Pipe()
    context.Process(target=_decode_all, args=(far,), daemon=True).start()
    far.close()
    return near


def _decode_all(names: "Connection[Any, Any]") -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what the decoder prints as it fails is said in one line instead
    while True:
        try:
            names.send(decode_aedat4(names.recv()))
        except EOFError:
            return


def decode_aedat4(file: str) -> Any:
    """The table of events of a file, or what is wrong with it."""
    import aedat

    try:
        decoder = aedat.Decoder(file)
        streams = [number for number, stream in decoder.id_to_stream().items() if stream["type"] == "events"]
        if not streams:
            return "holds no stream of events"
        packets = [packet["events"] for packet in decoder if packet["stream_id"] == min(streams)]
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # what the decoder's language calls a panic is no Exception
        return f"is no AEDAT 4 file, or damaged ({first_line(error)})"
    return np.concatenate(packets) if packets else "holds no event"


class SpikeTrains:
    """SHD's HDF5: `spikes/times` (s) and `spikes/units`, one array of each a sample, and `labels`.

    Source: the data sets' page, zenkelab.org/resources/spiking-heidelberg-datasets-shd (Cramer et al. 2020).
    """

    def __init__(self, file: Path) -> None:
        import h5py

        read_start(file)
        self.file = file
        try:
            self._h5 = h5py.File(file, "r")
            times, units, labels = (self._h5[name] for name in ("spikes/times", "spikes/units", "labels"))
            lengths = {len(times), len(units), len(labels)}
            found = np.asarray(labels)
        except (OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise UserError(
                f"{file} is no HDF5 file with spikes/times, spikes/units and labels, or damaged "
                f"({first_line(error)}): fetch it again"
            ) from None
        if len(lengths) != 1 or found.ndim != 1 or found.dtype.kind not in "iu":
            raise UserError(f"{file} does not hold times, units and a class for every sample: fetch it again")
        self.labels = found.astype(np.int64)
        self._times, self._units = times, units

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, index: int) -> Events:
        """Sample `index`: x is the unit, y and p are 0."""
        try:
            # Times are stored as float16 or float32 seconds: the nearest µs.
            microseconds = np.rint(np.asarray(self._times[index], np.float64) * 1e6)
            units = np.asarray(self._units[index])
        except (OSError, ValueError, TypeError, RuntimeError, MemoryError) as error:
            raise UserError(
                f"{self.file}, sample {index} cannot be read ({first_line(error)}): fetch it again"
            ) from None
        zeros = np.zeros(units.shape, np.uint8)
        return events_of(f"{self.file}, sample {index}", microseconds, units, zeros, zeros)


def read_start(file: Path) -> None:
    """Raise UserError where a file is missing, unreadable or empty, without reading it whole."""
    try:
        with file.open("rb") as stream:
            start = stream.read(1)
    except FileNotFoundError:
        raise UserError(f"{file} not found") from None
    except OSError as error:
        raise UserError(f"{file} cannot be read: {first_line(error)}") from None
    if not start:
        raise UserError(f"{file} is empty: fetch it again")


@contextmanager
def _opened(file: Path) -> Iterator[IO[bytes]]:
    read_start(file)
    try:
        with file.open("rb") as stream:
            yield stream
    except OSError as error:
        raise UserError(f"{file} cannot be read: {first_line(error)}") from None
