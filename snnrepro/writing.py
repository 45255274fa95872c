"""Files that are written whole or not at all: a reader never sees half of one, and a full disk leaves the old one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def written_whole(file: Path, keep: Path | None = None) -> Iterator[Path]:
    """Context with a path to write to, which takes the name of `file` once all of it is on the disk.

    keep: where the file that has the name now goes. Where anything fails, nothing has changed.
    """
    partial = file.with_name(f"{file.name}.partial")
    try:
        yield partial
        sync(partial)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    if keep is not None and file.exists():
        file.replace(keep)
    partial.replace(file)
    sync(file.parent)


def sync(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
