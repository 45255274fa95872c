"""Packed frames on disk: written once, read through memory maps, checked before a single frame is served.

Shapes: a part (train, test, validation) holds N samples of frames `[T, *]`; a batch is `[T, B, *]`. A sparse part keeps
for each sample the flat positions in `[T, *]` that are not 0 and their counts, a dense one the frames as they are;
of counts the smaller of the two is kept, of real numbers the dense one.
"""

import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from snnrepro.data.packing import Arrays, PartWriter, batch_of
from snnrepro.errors import UserError, first_line
from snnrepro.writing import sync

FORMAT = 1  # raised when the files change meaning
META = "meta.json"
BLOCK = 2**24  # bytes checked at a time


class Packed(NamedTuple):
    """One part of an opened cache: labels `[N]`, the shape `[T, *]` and dtype of one sample's frames, the files."""

    labels: NDArray[np.int64]
    shape: tuple[int, ...]
    dtype: str
    arrays: Arrays

    def batch(self, rows: NDArray[np.int64]) -> NDArray[np.generic]:
        """Frames of these samples, `[T, B, *]`."""
        return batch_of(self.arrays, self.shape, self.dtype, rows)


class Cache(NamedTuple):
    """An opened cache: where it lies, its parts, what its making counted, the checksum of all its contents."""

    folder: Path
    parts: dict[str, Packed]
    statistics: dict[str, Any]
    checksum: str


class DamagedError(Exception):
    """A cache that is not what was written; its message says how."""


Fill = Callable[[Callable[[str, tuple[int, ...], str], PartWriter]], dict[str, Any]]


def digest(value: Any) -> str:
    """Sixteen hexadecimal digits of a plain value."""
    return sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def fingerprint(files: Iterable[Path], base: Path) -> str:
    """Of the files that a cache is made from: their names below `base`, sizes and times of change.

    Raises UserError for one that is listed but cannot be read.
    """
    found = []
    for file in files:
        try:
            stat = file.stat()
        except OSError as error:
            raise UserError(f"{file} cannot be read: {first_line(error)}") from None
        found.append((os.path.relpath(file, base), stat.st_size, stat.st_mtime_ns))
    return digest(found)


def opened(folder: Path) -> Cache:
    """A cache with every byte checked. Raises DamagedError where one differs from what was written."""
    meta = read_meta(folder)
    checked = {}
    for name, expected in meta["files"].items():
        checked[name] = _checked(folder / name, expected)
    parts = {}
    for part, held in meta["parts"].items():
        arrays = {
            key: checked[spec["file"]].view(spec["dtype"]).reshape(spec["shape"])
            for key, spec in held["arrays"].items()
        }
        labels = np.asarray(arrays.pop("labels"), np.int64)
        parts[part] = Packed(labels, tuple(held["shape"]), held["dtype"], arrays)
    return Cache(folder, parts, meta["statistics"], digest(meta["files"]))


def read_meta(folder: Path) -> dict[str, Any]:
    """What a cache says of itself. Raises DamagedError where that cannot be read or is of another format."""
    try:
        meta = json.loads((folder / META).read_text())
        if meta.pop("digest") != digest(meta):
            raise DamagedError(f"{META} was changed")
        if meta["format"] != FORMAT:
            raise DamagedError(f"its format is {meta['format']}, not {FORMAT}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedError(f"{META} cannot be read ({first_line(error)})") from None
    found: dict[str, Any] = meta
    return found


def _checked(file: Path, expected: dict[str, Any]) -> NDArray[np.uint8]:
    try:
        size = file.stat().st_size
        if size != expected["bytes"]:
            raise DamagedError(f"{file.name} holds {size:,} bytes instead of {expected['bytes']:,}")
        mapped = np.memmap(file, np.uint8, "r") if size else np.empty(0, np.uint8)
    except OSError as error:
        raise DamagedError(f"{file.name} cannot be read ({first_line(error)})") from None
    if _crc32(mapped) != expected["crc32"]:
        raise DamagedError(f"{file.name} was changed")
    return np.asarray(mapped)


def _crc32(data: NDArray[np.uint8]) -> int:
    value = 0
    for start in range(0, len(data), BLOCK):
        value = zlib.crc32(data[start : start + BLOCK].data, value)
    return value


def folder_of(root: Path, name: str, parameters: dict[str, Any], source: str) -> Path:
    """Where the cache of a data set with these parameters, made from this source, lies."""
    return root / name / f"{digest(parameters)}-{source}"


def open_or_build(
    folder: Path, parameters: dict[str, Any], source: str, fill: Fill, say: Callable[[str], None] = print
) -> Cache:
    """The cache in `folder`, made by `fill` where there is none or it is damaged.

    Of several processes that want it at once one builds, the others wait. What is half built is never opened: the
    folder gets its name when all is written. Raises UserError where it cannot be written, and whatever `fill` raises.
    """
    if folder.is_dir():
        try:
            return opened(folder)
        except DamagedError as damage:
            say(f"the cache {folder} is damaged: {damage}; it is built again")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _alone(folder.with_suffix(".lock"), say):
            if folder.is_dir():  # another process may have built it meanwhile
                try:
                    return opened(folder)
                except DamagedError:
                    shutil.rmtree(folder)
            _build(folder, parameters, source, fill)
        return opened(folder)
    except OSError as error:
        raise UserError(
            f"the cache {folder} cannot be written: {first_line(error)}; make room, or set paths.cache_dir=FOLDER "
            "(environment: SNNREPRO_CACHE)"
        ) from None
    except DamagedError as damage:
        raise UserError(f"the cache {folder} was just written and is damaged ({damage}): check the disk") from None


@contextmanager
def _alone(file: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Held by one process at a time; the kernel frees it when its holder dies."""
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say("another process builds this cache: waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _build(folder: Path, parameters: dict[str, Any], source: str, fill: Fill) -> None:
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a process that died
    partial.mkdir()
    writers: dict[str, PartWriter] = {}
    try:

        def writer(part: str, shape: tuple[int, ...], dtype: str) -> PartWriter:
            writers[part] = PartWriter(partial, part, shape, dtype)
            return writers[part]

        statistics = fill(writer)
        meta: dict[str, Any] = {
            "format": FORMAT,
            "parameters": parameters,
            "source": source,
            "statistics": statistics,
            "parts": {part: made.finish() for part, made in writers.items()},
        }
        meta["files"] = {file.name: _sealed(file) for file in sorted(partial.iterdir())}
        (partial / META).write_text(json.dumps(meta | {"digest": digest(meta)}, indent=1))
        sync(partial / META)
        partial.rename(folder)
        sync(folder.parent)
    finally:
        for made in writers.values():
            with suppress(OSError):  # a full disk says so again on closing
                made.close()
        shutil.rmtree(partial, ignore_errors=True)


def _sealed(file: Path) -> dict[str, int]:
    sync(file)
    size = file.stat().st_size
    return {"bytes": size, "crc32": _crc32(np.memmap(file, np.uint8, "r")) if size else 0}


def size_of(folder: Path) -> int:
    """Bytes of a cache on disk."""
    return sum(file.stat().st_size for file in folder.iterdir())


def others(keep: Path) -> list[Path]:
    """Caches of the same data set beside `keep`: of other settings, or of files that have changed since."""
    return sorted(f for f in keep.parent.glob("*-*") if f.is_dir() and f != keep and f.suffix != ".partial")
