"""Data sets of recordings: found in the folder, packed once into the cache, whole or honestly partial.

Shapes: frames of a recording `[T, *]`; batches `[T, B, *]`.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from snnrepro.data.augment import Augmentation
from snnrepro.data.cache import Cache, digest, fingerprint, folder_of, open_or_build
from snnrepro.data.datamodule import DataModule
from snnrepro.data.event_augment import EventAugmentation
from snnrepro.data.packing import PartWriter
from snnrepro.data.samples import PackedSamples, Samples
from snnrepro.errors import UserError


class Recording(NamedTuple):
    """One sample: the file, its place in it (a row of an HDF5 file, a trial of a long recording, else 0), its class."""

    file: Path
    item: int
    label: int


class Found(NamedTuple):
    """What lies in a folder: the recordings of each part, and all files that they depend on.

    layout: in words, for the record. official: how many recordings each part has when the data set is whole.
    """

    layout: str
    parts: dict[str, list[Recording]]
    official: dict[str, int]
    files: set[Path]


class RecordedDataModule(DataModule):
    """Base of the data sets of recordings; gives their `read`.

    Subclasses say what lies in the folder (`find`), which settings shape the frames (`shaping`), and make the frames
    of one recording (`frames`). With allow_partial the recordings that are there are taken; a part that is missing is
    then the other one again, and the record says both.
    """

    frame_shape: tuple[int, ...]
    frame_dtype: str

    def fitting(self, augmentation: Augmentation | EventAugmentation) -> EventAugmentation:
        if isinstance(augmentation, EventAugmentation):
            return augmentation
        if augmentation.describe() != "none":
            raise UserError(
                f"this augmentation ({augmentation.describe()}) is for images; recordings take psn_dvs, psu_dvs, "
                "psu_dvs_gesture, mpe_dvs, mpe_dvs_gesture or none"
            )
        return EventAugmentation()

    def find(self) -> Found:
        """Raises UserError where there is nothing."""
        raise NotImplementedError

    def shaping(self) -> dict[str, Any]:
        """Every setting that changes the frames, as plain values."""
        raise NotImplementedError

    def frames(self, recording: Recording, counted: Counter[str]) -> NDArray[np.generic]:
        """Frames `[T, *]`; what is worth counting over the data set goes into `counted`. Raises UserError."""
        raise NotImplementedError

    def read(self) -> dict[str, Samples]:
        found = self.find()
        there = {part: len(recordings) for part, recordings in found.parts.items()}
        partial = any(there[part] < size for part, size in found.official.items())
        if partial and not self.allow_partial:
            counts = ", ".join(f"{there[part]:,} of {size:,} ({part})" for part, size in found.official.items())
            raise UserError(
                f"{self.source} is not whole in {self.data_dir.resolve()}: {counts} recordings; fetch the rest, or "
                "dataset.allow_partial=true takes what is there, and the record says so"
            )
        cache = self.cache(found)
        shared = not there["train"] or not there["test"]
        self.facts = {
            "layout": found.layout,
            "recordings": there,
            "official": found.official,
            "partial": partial,
            "test_is_train": shared,
            **cache.statistics,
            "frames_digest": cache.checksum,
        }
        parts: dict[str, Samples] = {part: PackedSamples(packed) for part, packed in cache.parts.items()}
        if shared:
            only = parts["train" if there["train"] else "test"]
            parts |= {"train": only, "test": only}
        return {part: samples for part, samples in parts.items() if len(samples)}

    def place(self, found: Found) -> tuple[Path, dict[str, Any], str]:
        """Where the packed frames belong, the parameters that shape them, and the fingerprint of their source."""
        listed = {
            part: [(str(r.file.relative_to(self.data_dir)), r.item, r.label) for r in recordings]
            for part, recordings in found.parts.items()
        }
        parameters = self.shaping() | {"source": self.source, "recordings": digest(listed)}
        source = fingerprint(sorted(found.files), self.data_dir)
        return folder_of(self.cache_dir, self.source, parameters, source), parameters, source

    def cache(self, found: Found) -> Cache:
        """The packed frames of what was found, made where they are not there yet."""

        def fill(writer: Callable[[str, tuple[int, ...], str], PartWriter]) -> dict[str, Any]:
            counted: Counter[str] = Counter()
            for part, recordings in found.parts.items():
                made = writer(part, self.frame_shape, self.frame_dtype)
                for recording in progress(recordings, f"packing {self.source}, {part}"):
                    try:
                        made.append(self.frames(recording, counted), recording.label)
                    except UserError as error:
                        raise UserError(named(recording, error)) from None
            return dict(counted)

        # One thread: a recording is too small for several, which wait for each other where cores are shared.
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return open_or_build(*self.place(found), fill, say)
        finally:
            torch.set_num_threads(threads)


def named(recording: Recording, error: UserError) -> str:
    """The error with the recording's file in it."""
    message = str(error)
    if str(recording.file) in message:
        return message
    return f"{recording.file}{f', sample {recording.item}' if recording.file.suffix == '.h5' else ''}: {message}"


def say(line: str) -> None:
    """A notice for whoever waits, apart from the results."""
    print(line, file=sys.stderr)


def progress(recordings: list[Recording], description: str) -> Iterable[Recording]:
    """The recordings, with a bar on a terminal."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(recordings, description, console=console, transient=True, disable=not console.is_terminal)
