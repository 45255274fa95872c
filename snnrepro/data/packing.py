"""How frames are packed into arrays and unpacked again, exactly.

Shapes: a sample's frames `[T, *]`, counts (unsigned) or real numbers; a batch `[T, B, *]`. Sparse: offsets `[N + 1]`,
positions `[E]` (flat in `[T, *]`, ascending within a sample) and counts `[E]`, left out where all are 1. Dense: frames
`[N, T, *]`.
"""

import math
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from snnrepro.compiled import compiled

Array = NDArray[np.generic]
Arrays = dict[str, Array]

LARGEST = 255  # count of one entry; a larger one takes several entries, which add up
CHUNK = 64  # samples unpacked at a time where the dense form turns out smaller


class PartWriter:
    """Takes one sample after the other and leaves the files of a part in `folder`.

    dtype: `counts` for whole numbers, else that of the real numbers.
    """

    def __init__(self, folder: Path, part: str, shape: tuple[int, ...], dtype: str) -> None:
        self._folder, self._part, self._shape, self._dtype = folder, part, shape, dtype
        self._labels: list[int] = []
        self._offsets = [0]
        self._largest = 0
        size = math.prod(shape)
        self._position = np.dtype(np.uint16 if size <= 2**16 else np.uint32)
        names = ("positions", "counts") if dtype == "counts" else ("frames",)
        self._streams: dict[str, BinaryIO] = {}
        try:
            for name in names:
                self._streams[name] = self._file(name).open("wb")
        except OSError:
            self.close()
            raise

    def append(self, frames: Array, label: int) -> None:
        """One sample: frames `[T, *]`, class."""
        assert frames.shape == self._shape
        self._labels.append(label)
        if self._dtype != "counts":
            self._streams["frames"].write(np.ascontiguousarray(frames, self._dtype).tobytes())
            return
        flat = frames.reshape(-1)
        positions = np.flatnonzero(flat)
        counts = flat[positions]
        if len(counts):
            self._largest = max(self._largest, int(counts.max()))
        if self._largest > LARGEST and len(counts):
            entries = (counts.astype(np.int64) + LARGEST - 1) // LARGEST
            last = counts.astype(np.int64) - (entries - 1) * LARGEST
            positions = np.repeat(positions, entries)
            counts = np.full(len(positions), LARGEST)
            counts[np.cumsum(entries) - 1] = last
        self._offsets.append(self._offsets[-1] + len(positions))
        self._streams["positions"].write(positions.astype(self._position).tobytes())
        self._streams["counts"].write(counts.astype(np.uint8).tobytes())

    def close(self) -> None:
        """Close the files, twice if need be."""
        for stream in self._streams.values():
            stream.close()

    def finish(self) -> dict[str, Any]:
        """Close the files, keep the smaller form, and say what they hold: {shape, dtype, arrays}."""
        self.close()
        arrays = {"labels": self._keep("labels", np.array(self._labels, np.int64))}
        if self._dtype != "counts":
            shape = [len(self._labels), *self._shape]
            arrays["frames"] = {"file": self._file("frames").name, "dtype": self._dtype, "shape": shape}
            return {"shape": self._shape, "dtype": self._dtype, "arrays": arrays}
        served = "uint8" if self._largest <= 255 else "int16" if self._largest < 2**15 else "int32"
        counted = self._largest > 1
        entries = self._offsets[-1]
        sparse_bytes = entries * (self._position.itemsize + counted) + 8 * len(self._offsets)
        if sparse_bytes <= len(self._labels) * math.prod(self._shape) * np.dtype(served).itemsize:
            arrays["offsets"] = self._keep("offsets", np.array(self._offsets, np.int64))
            arrays["positions"] = self._spec("positions", self._position, entries)
            if counted:
                arrays["counts"] = self._spec("counts", np.dtype(np.uint8), entries)
            else:
                self._file("counts").unlink()
        else:
            arrays["frames"] = self._unpacked(served, counted)
        return {"shape": self._shape, "dtype": served, "arrays": arrays}

    def _unpacked(self, served: str, counted: bool) -> dict[str, Any]:
        sparse: Arrays = {"offsets": np.array(self._offsets)}
        for name, kind in (("positions", self._position), ("counts", np.dtype(np.uint8)))[: 1 + counted]:
            sparse[name] = np.fromfile(self._file(name), kind)
        with self._file("frames").open("wb") as stream:
            for start in range(0, len(self._labels), CHUNK):
                rows = np.arange(start, min(start + CHUNK, len(self._labels)))
                batch = batch_of(sparse, self._shape, served, rows)
                stream.write(np.ascontiguousarray(batch.swapaxes(0, 1)).tobytes())
        for name in ("positions", "counts"):
            self._file(name).unlink()
        return {"file": self._file("frames").name, "dtype": served, "shape": [len(self._labels), *self._shape]}

    def _file(self, name: str) -> Path:
        return self._folder / f"{self._part}.{name}"

    def _spec(self, name: str, kind: np.dtype[Any], length: int) -> dict[str, Any]:
        return {"file": self._file(name).name, "dtype": kind.name, "shape": [length]}

    def _keep(self, name: str, array: NDArray[np.int64]) -> dict[str, Any]:
        self._file(name).write_bytes(array.tobytes())
        return self._spec(name, array.dtype, len(array))


def batch_of(arrays: Arrays, shape: tuple[int, ...], dtype: str, rows: NDArray[np.int64]) -> Array:
    """Unpack the samples `rows` into `[T, B, *]`."""
    steps, *rest = shape
    if "frames" in arrays:
        out = np.empty((steps, len(rows), *rest), dtype)
        for b, row in enumerate(rows):
            out[:, b] = arrays["frames"][row]
        return out
    out = np.zeros((steps, len(rows), *rest), dtype)
    flat = out.reshape(steps, len(rows), -1)
    if "counts" in arrays:
        _add(arrays["offsets"], arrays["positions"], arrays["counts"], rows, flat)
    else:
        _mark(arrays["offsets"], arrays["positions"], rows, flat)
    return out


@compiled
def _add(offsets: Array, positions: Array, counts: Array, rows: Array, out: Array) -> None:
    features = np.uint32(out.shape[2])
    for b in range(len(rows)):
        for k in range(offsets[rows[b]], offsets[rows[b] + 1]):
            step = np.uint32(positions[k]) // features
            out[step, b, np.uint32(positions[k]) - step * features] += counts[k]


@compiled
def _mark(offsets: Array, positions: Array, rows: Array, out: Array) -> None:
    features = np.uint32(out.shape[2])
    for b in range(len(rows)):
        for k in range(offsets[rows[b]], offsets[rows[b] + 1]):
            step = np.uint32(positions[k]) // features
            out[step, b, np.uint32(positions[k]) - step * features] = 1
