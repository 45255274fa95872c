"""Get a data set and pack it, so that training only reads; takes the overrides of train.py.

    python scripts/prepare_data.py dataset=nmnist                  take what lies in the folder, else download; pack it
    python scripts/prepare_data.py dataset=nmnist,shd paths.data_dir=FOLDER
    python scripts/prepare_data.py dataset=nmnist dataset.num_steps=20
    python scripts/prepare_data.py dataset=nmnist --check          verify what was packed

What is looked for, in this order: the files as their authors or other libraries lay them out, their archives (unpacked
safely), and if there is neither, the official download with its checksum. A part of a data set is taken as it is;
--download fetches the whole.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from snnrepro.errors import DataNotFoundError, UserError
from snnrepro.ledger.tables import show

if TYPE_CHECKING:
    from snnrepro.data.datamodule import DataModule
    from snnrepro.data.recorded import Found, RecordedDataModule

COMPARED = 20  # recordings of each part that --check reads again


def provide(module: "DataModule", download: bool) -> None:
    """Unpack what lies in the folder, else (or where told to) download. Raises UserError where neither is possible."""
    from snnrepro.data.fetch import archives, by_hand, extract, fetch, unpack_found

    folder, source = module.data_dir, module.source
    folder.mkdir(parents=True, exist_ok=True)
    if not download and (unpacked := unpack_found(source, folder)):
        for file in unpacked:
            print(f"unpacked {file}")
        return
    files = archives(source)
    if not files:
        raise UserError(f"{source} is not in {folder.resolve()} and cannot be downloaded: {by_hand(source)}")
    for archive in files:
        file = fetch(archive, folder)
        if archive.extract_to is not None:
            print(f"unpacked {extract(file, folder / archive.extract_to):,} files of {file.name}")


def prepare(overrides: list[str], download: bool) -> Table:
    """Get and pack one data set; the table of what there is."""
    from snnrepro.build import data_module
    from snnrepro.data.recorded import RecordedDataModule

    module, _ = data_module(overrides)
    look = module.find if isinstance(module, RecordedDataModule) else module.read
    if download:
        provide(module, download)
    start = time.perf_counter()
    try:
        read: Any = look()
    except DataNotFoundError:
        provide(module, download)
        read = look()
    if isinstance(module, RecordedDataModule):
        cache = module.cache(read)
        return packed_table(module, read, cache.folder, time.perf_counter() - start)
    table = summary(module.source)
    for part, samples in read.items():
        table.add_row(part, f"{len(samples):,}", f"{len(samples.labels.unique())} classes")
    table.add_row("read in", f"{time.perf_counter() - start:.1f} s", "needs no cache")
    return table


def summary(title: str) -> Table:
    table = Table(title=title, title_justify="left", show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    return table


def packed_table(module: "RecordedDataModule", found: "Found", folder: Path, seconds: float) -> Table:
    from snnrepro.data.cache import opened, size_of

    cache = opened(folder)
    table = summary(f"{module.source} ({found.layout})")
    for part, packed in cache.parts.items():
        whole = found.official.get(part, len(packed.labels))
        of = f" of {whole:,}" if len(packed.labels) < whole else ""
        form = "dense" if "frames" in packed.arrays else "sparse"
        shape = " x ".join(map(str, packed.shape))
        table.add_row(part, f"{len(packed.labels):,}{of}", f"{shape} {packed.dtype}, {form}")
    for name, value in cache.statistics.items():
        table.add_row(name.replace("_", " "), f"{value:,}")
    table.add_row("cache", f"{size_of(folder) / 2**20:,.1f} MiB", f"{folder} ({seconds:.1f} s)")
    return table


def verify(overrides: list[str]) -> Table:
    """Check every byte of the packed frames, and some recordings against their files.

    Raises UserError where one differs.
    """
    import random
    from collections import Counter

    import numpy as np

    from snnrepro.build import data_module
    from snnrepro.data.cache import DamagedError, opened, others, size_of
    from snnrepro.data.recorded import RecordedDataModule

    module, _ = data_module(overrides)
    if not isinstance(module, RecordedDataModule):
        module.read()
        table = summary(module.source)
        table.add_row("files", "read and checked; this data set needs no cache")
        return table
    found = module.find()
    folder, *_ = module.place(found)
    command = f"run python scripts/prepare_data.py {' '.join(overrides)}"
    if not folder.is_dir():
        raise UserError(f"{module.source} is not packed with these settings, or its files have changed: {command}")
    try:
        cache = opened(folder)
    except DamagedError as damage:
        raise UserError(f"the cache {folder} is damaged: {damage}; {command}") from None
    draws = random.Random(0)
    compared = 0
    for part, recordings in found.parts.items():
        for i in draws.sample(range(len(recordings)), min(COMPARED, len(recordings))):
            fresh: Any = module.frames(recordings[i], Counter())
            packed = cache.parts[part].batch(np.array([i]))[:, 0]
            if not np.array_equal(fresh, packed) or cache.parts[part].labels[i] != recordings[i].label:
                raise UserError(f"{recordings[i].file} gives other frames than the cache {folder} holds: delete it")
            compared += 1
    table = summary(f"{module.source}: the cache is whole")
    table.add_row("checked", f"{size_of(folder) / 2**20:,.1f} MiB", f"every byte of {folder}")
    table.add_row("compared", f"{compared:,} recordings", "read again from their files: the same frames")
    for other in others(folder):
        table.add_row("beside it", f"{size_of(other) / 2**20:,.1f} MiB", f"{other}: other settings or changed files")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="+", metavar="dataset=NAME", help="and any other override of train.py")
    parser.add_argument("--check", action="store_true", help="verify the packed frames; changes nothing")
    parser.add_argument("--download", action="store_true", help="fetch the official files although some are there")
    arguments = parser.parse_intermixed_args()
    from snnrepro.config.compose import expand

    try:
        for job in expand(arguments.overrides, sweep=True):
            show(verify(job) if arguments.check else prepare(job, arguments.download))
    except (UserError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
