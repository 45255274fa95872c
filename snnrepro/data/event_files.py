"""Readers of event recordings, one for each file format, each giving Events: t in µs from any zero, x, y, p.

Shapes: a recording of E events is four arrays `[E]`. Every reader raises UserError, with the file's name, for what is
missing, truncated or not what it claims to be. Sizes and labels are checked by who knows the data set.
"""

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from snnrepro.data.frames import Array, Events
from snnrepro.errors import UserError, first_line

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


def events_of(t: Array, x: Array, y: Array, p: Array) -> Events:
    """The four columns in the dtypes of Events. Raises UserError where a coordinate does not fit them."""
    if len(x) and not (x.min() >= 0 and y.min() >= 0 and max(x.max(), y.max()) < 2**15 and set(np.unique(p)) <= {0, 1}):
        raise UserError("holds coordinates or polarities that no sensor has")
    narrow = (np.ascontiguousarray(a, kind) for a, kind in ((t, np.int64), (x, np.int16), (y, np.int16), (p, np.uint8)))
    return Events(*narrow)  # type: ignore[arg-type]


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
    return events_of(t, x, y, high >> 7)


def read_gesture_npy(file: Path) -> Events:
    """tonic's DVS-Gesture: an array `[E, 4]` of x, y, polarity and time in ms."""
    table = _load_numpy(file)
    if not isinstance(table, np.ndarray) or table.ndim != 2 or table.shape[1] != 4 or table.dtype.kind not in "iu":
        raise UserError(f"{file} is no array of events [E, 4] (x, y, polarity, ms): fetch it again")
    return _named(file, table[:, 3].astype(np.int64) * 1000, table[:, 0], table[:, 1], table[:, 2])


def read_npz(file: Path) -> Events:
    """spikingjelly's events_np: arrays t (µs), x, y, p."""
    found = _load_numpy(file)
    columns = found if isinstance(found, dict) else {}
    if not {"t", "x", "y", "p"} <= set(columns) or len({columns[name].shape for name in "txyp"}) != 1:
        raise UserError(f"{file} does not hold the arrays t, x, y, p of one length: fetch it again")
    return _named(file, *(columns[name] for name in "txyp"))


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
    return events_of(words[:, 1], 127 - ((address >> 8) & 127), 127 - ((address >> 1) & 127), 1 - (address & 1))


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
    return _named(file, t, address >> 17, (address >> 2) & 0x7FFF, (address >> 1) & 1)


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
    """CIFAR10-DVS as tonic serves it (AEDAT 4), decoded by the package `aedat`; of several streams the first."""
    import aedat

    read_bytes(file)  # missing and empty files have their own line
    try:
        decoder = aedat.Decoder(str(file))
        streams = [number for number, stream in decoder.id_to_stream().items() if stream["type"] == "events"]
        if not streams:
            raise UserError(f"{file} holds no stream of events")
        packets = [packet["events"] for packet in decoder if packet["stream_id"] == min(streams)]
    except UserError:
        raise
    except Exception as error:  # aedat raises plain Exceptions of its own
        raise UserError(f"{file} is no AEDAT 4 file, or damaged ({first_line(error)}): fetch it again") from None
    if not packets:
        raise UserError(f"{file} holds no event")
    table = np.concatenate(packets)
    return _named(file, table["t"].astype(np.int64), table["x"], table["y"], table["on"].astype(np.uint8))


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
            times, units, labels = self._h5["spikes/times"], self._h5["spikes/units"], self._h5["labels"]
            lengths = {len(times), len(units), len(labels)}
            self.labels: NDArray[np.int64] = np.asarray(labels).astype(np.int64)
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{file} is no HDF5 file with spikes/times, spikes/units and labels, or damaged "
                f"({first_line(error)}): fetch it again"
            ) from None
        if len(lengths) != 1:
            raise UserError(
                f"{file} holds {len(times)} times, {len(units)} units and {len(labels)} labels: not as many"
            )
        self._times, self._units = times, units

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, index: int) -> Events:
        """Sample `index`: x is the unit, y and p are 0."""
        try:
            # Times are stored as float16 or float32 seconds: the nearest µs.
            seconds = np.asarray(self._times[index], np.float64)
            units = np.asarray(self._units[index])
        except (OSError, ValueError) as error:
            raise UserError(
                f"{self.file}, sample {index} cannot be read ({first_line(error)}): fetch it again"
            ) from None
        if len(seconds) != len(units) or not np.isfinite(seconds).all():
            raise UserError(f"{self.file}, sample {index} has times and units that do not belong together")
        zeros = np.zeros(len(units), np.uint8)
        return events_of(np.rint(seconds * 1e6), units.astype(np.int64), zeros, zeros)


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


def _load_numpy(file: Path) -> NDArray[np.generic] | dict[str, NDArray[np.generic]]:
    read_start(file)
    try:
        found = np.load(file, allow_pickle=False)
        return {name: found[name] for name in found.files} if isinstance(found, np.lib.npyio.NpzFile) else found
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{file} cannot be read as NumPy data ({first_line(error)}): fetch it again") from None


def _named(file: Path, t: Array, x: Array, y: Array, p: Array) -> Events:
    try:
        return events_of(t, x, y, p)
    except UserError as error:
        raise UserError(f"{file} {error}") from None
