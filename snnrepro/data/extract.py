"""Unpacking of archives: nothing is written outside the destination, nothing half-unpacked is left in it.

Shapes: none, files only.
"""

import glob
import gzip
import lzma
import os
import posixpath
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, NamedTuple, cast

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from snnrepro.errors import UserError, first_line

CHUNK = 2**18  # bytes
LONGEST_LINK = 4096  # bytes of a path
# What the readers of zip, tar and gzip raise on bytes that are not what they should be, encrypted ones among them.
BROKEN = (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError)
DAMAGE = (*BROKEN, RuntimeError, ValueError, OverflowError, MemoryError)


class _RefusedError(Exception):
    """What is wrong with a member of an archive that may be hostile."""


_Stream = IO[bytes] | gzip.GzipFile


class _Member(NamedTuple):
    size: int  # bytes, unpacked
    open: Callable[[], _Stream]


_Members = dict[PurePosixPath, _Member]


def extract(file: Path, destination: Path, progress: bool = True) -> int:
    """Unpack a .zip, .tar, .tar.gz, .tgz or .gz into `destination`; returns how many files it holds.

    A file that is there with the size it should have is left alone, any other is replaced, so that a second call
    completes a folder and writes nothing twice. A link becomes a copy of the file of the archive it points to. Of a zip
    that holds zips only, the inner ones are unpacked into `destination` too, and not kept.

    Raises UserError for members that lead outside, links to anything but files of the archive, devices, more bytes than
    the disk has free, and for damage; `destination` is then as it was.
    """
    return unpack(file, destination, progress)[0]


def unpack(file: Path, destination: Path, progress: bool = True) -> tuple[int, int]:
    """What `extract` does; returns how many files the archive holds, and how many of them were not there yet."""
    again = "delete it and get it again from its source"
    try:
        scratch = unfinished(destination, file.name)
        try:
            with byte_bar(progress) as bar:
                counts = _unpack(file, destination, scratch, bar)
            if counts[1]:
                _merge(scratch / "files", destination)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except _RefusedError as error:
        raise UserError(f"{file}: {error}; nothing was unpacked: {again}") from None
    except DAMAGE as error:
        raise UserError(f"{file} is damaged or cut short ({first_line(error)}): {again}") from None
    except OSError as error:
        raise UserError(f"{file} could not be unpacked into {destination}: {first_line(error)}") from None
    return counts


def unfinished(folder: Path, name: str) -> Path:
    """A hidden path for work towards `folder` / `name`, in the nearest folder that exists: on the same disk, and no
    folder is made before the work is done. What a killed process left under such a name is removed.
    """
    home = folder
    while not home.exists():
        home = home.parent
    for left in home.glob(f".{glob.escape(name)}.[0-9]*.partial"):
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()
    return home / f".{name}.{os.getpid()}.partial"


def byte_bar(show: bool) -> Progress:
    """A progress bar in bytes on the error stream, for people only: none where that is no terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not (show and console.is_terminal))


def _unpack(file: Path, destination: Path, scratch: Path, bar: Progress, inner: bool = False) -> tuple[int, int]:
    """Into scratch/files the members that `destination` lacks, after all have been checked."""
    with _opened(file, bar) as members:
        if not inner and members and all(len(path.parts) == 1 and path.suffix == ".zip" for path in members):
            counts = []
            for path in _write_all(members, scratch, bar, file.name):
                counts.append(_unpack(path, destination, scratch, bar, inner=True))
                path.unlink()
            return sum(found for found, _ in counts), sum(new for _, new in counts)
        lacking = {path: member for path, member in members.items() if not _there(destination / path, member.size)}
        for _ in _write_all(lacking, scratch / "files", bar, file.name):
            pass
        return len(members), len(lacking)


def _there(file: Path, size: int) -> bool:
    return file.is_file() and file.stat().st_size == size


def _write_all(members: _Members, folder: Path, bar: Progress, name: str) -> Iterator[Path]:
    """Write one member after the other; refuses all where the disk cannot hold what the archive declares."""
    total = sum(member.size for member in members.values())
    home = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(home).free
    if total > free:
        raise OSError(f"it would take {total:,} bytes, the disk has {free:,} free")
    task = bar.add_task(f"unpacking {name}", total=total)
    for path, member in members.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        written = 0
        with member.open() as source, target.open("wb") as sink:
            while chunk := source.read(CHUNK):
                written += sink.write(chunk)
                bar.advance(task, len(chunk))
        if written != member.size:
            raise EOFError(f"{str(path)!r} holds {written:,} bytes, not {member.size:,}")
        yield target


def _merge(source: Path, target: Path) -> None:
    """Move what is in `source` to its place: whole folders where there was none, else file by file."""
    if source.is_dir() and target.is_dir():
        for entry in sorted(source.iterdir()):
            _merge(entry, target / entry.name)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        source.replace(target)


@contextmanager
def _opened(file: Path, bar: Progress) -> Iterator[_Members]:
    """All members of an archive, checked; its kind is told by its name."""
    name = file.name.lower()
    if name.endswith(".zip"):
        with zipfile.ZipFile(file) as archive:
            yield _zip_members(archive)
    elif name.endswith((".tar", ".tar.gz", ".tgz")):
        with (
            file.open("rb") as raw,
            raw if name.endswith(".tar") else gzip.open(raw) as stream,
            tarfile.open(fileobj=stream, mode="r:") as tar,
        ):
            task = bar.add_task(f"checking {file.name}", total=file.stat().st_size)
            yield _tar_members(tar, stream, lambda: bar.update(task, completed=raw.tell()))
    elif name.endswith(".gz"):
        if not file.stat().st_size:
            raise EOFError("it is empty")  # which gzip takes for a file of no bytes
        with gzip.open(file) as stream:
            size = sum(len(chunk) for chunk in iter(partial(stream.read, CHUNK), b""))
        yield {_inside(file.name[:-3]): _Member(size, partial(gzip.open, file))}
    else:
        raise UserError(f"{file} cannot be unpacked: it is none of .zip, .tar, .tar.gz, .tgz, .gz")


def _inside(name: str) -> PurePosixPath:
    """The path of a member, which stays below any folder on any system."""
    for path in (PurePosixPath(name), PureWindowsPath(name)):
        if path.anchor or ".." in path.parts:
            raise _RefusedError(f"its member {name!r} leads outside the destination")
    return PurePosixPath(name)


def _zip_members(archive: zipfile.ZipFile) -> _Members:
    members: _Members = {}
    links: dict[PurePosixPath, str] = {}
    for info in archive.infolist():
        path, kind = _inside(info.filename), stat.S_IFMT(info.external_attr >> 16)
        if info.is_dir():
            continue
        if kind == stat.S_IFLNK:
            with archive.open(info) as stream:
                links[path] = posixpath.join(path.parent, os.fsdecode(stream.read(LONGEST_LINK)))
        elif kind in (0, stat.S_IFREG):  # 0: written on a system without such modes
            members[path] = _Member(info.file_size, partial(archive.open, info))
        else:
            raise _RefusedError(f"its member {info.filename!r} is a device, not a file")
    return _with_links(members, links)


def _tar_members(archive: tarfile.TarFile, stream: _Stream, report: Callable[[], None]) -> _Members:
    members: _Members = {}
    links: dict[PurePosixPath, str] = {}
    before = -1
    for info in archive:
        report()
        path = _inside(info.name)
        if info.offset <= before:  # a size below 0 led back to it
            raise _RefusedError(f"its member {info.name!r} comes round again")
        before = info.offset
        if info.isfile():
            opener = cast(Callable[[], _Stream], partial(archive.extractfile, info))
            members[path] = _Member(info.size, opener)
        elif info.issym():
            links[path] = posixpath.join(path.parent, info.linkname)
        elif info.islnk():
            links[path] = info.linkname
        elif not info.isdir():
            raise _RefusedError(f"its member {info.name!r} is a device, not a file")
    # tarfile takes a broken header for the end; the true end is a block of zeros. Behind it gzip's checksum follows.
    stream.seek(archive.offset)
    if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise EOFError(f"no end after {len(members):,} files")
    while stream.read(CHUNK):
        report()
    return _with_links(members, links)


def _with_links(members: _Members, links: dict[PurePosixPath, str]) -> _Members:
    """The members, and for every link the file at its end; each has a name of its own."""
    targets = {path: PurePosixPath(posixpath.normpath(target)) for path, target in links.items()}
    found: _Members = {}
    for path in targets:
        end, passed = path, set[PurePosixPath]()
        while end in targets and end not in passed:
            passed.add(end)
            end = targets[end]
        if end not in members:
            raise _RefusedError(
                f"its member {str(path)!r} is a link to {links[path]!r}, which is no file of the archive"
            )
        found[path] = members[end]
    if PurePosixPath() in (members := members | found):
        raise _RefusedError("it has a member without a name")
    return members
