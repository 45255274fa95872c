"""Data sets of recordings: found in the folder, packed once into the cache, whole or honestly partial.

Shapes: frames of a recording `[T, *]`; batches `[T, B, *]`.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sized
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

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

Item = TypeVar("Item")
MOST_NAMES = 20  # of damaged recordings in a record


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
    then the other one again, and the record says both. damaged: at a recording that cannot be read, `stop`, or `skip`
    it; the record then names it, and the data count as partial.
    """

    damaged: str

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
        if "damaged" in cache.statistics:
            partial = True
            there = without_damaged(self.source, there, cache.statistics["damaged"])
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
        if self.damaged == "skip":
            parameters["damaged"] = "skip"
        source = fingerprint(sorted(found.files), self.data_dir)
        return folder_of(self.cache_dir, self.source, parameters, source), parameters, source

    def cache(self, found: Found) -> Cache:
        """The packed frames of what was found, made where they are not there yet."""

        def fill(writer: Callable[[str, tuple[int, ...], str], PartWriter]) -> dict[str, Any]:
            counted: Counter[str] = Counter()
            skipped: dict[str, list[Recording]] = {}
            for part, recordings in found.parts.items():
                skipped[part] = self._pack(part, recordings, writer(part, self.frame_shape, self.frame_dtype), counted)
            left_out = [recording for recordings in skipped.values() for recording in recordings]
            return dict(counted) | ({"damaged": damaged(skipped, self._names(left_out))} if left_out else {})

        # One thread: a recording is too small for several, which wait for each other where cores are shared.
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return open_or_build(*self.place(found), fill, say)
        finally:
            torch.set_num_threads(threads)

    def _pack(self, part: str, recordings: list[Recording], made: PartWriter, counted: Counter[str]) -> list[Recording]:
        """Append the recordings, and return those that were skipped."""
        skipped = []
        for recording in progress(recordings, f"packing {self.source}, {part}"):
            own: Counter[str] = Counter()
            try:
                made.append(self.frames(recording, own), recording.label)
            except UserError as error:
                if self.damaged != "skip":
                    raise UserError(f"{named(recording, error)}; or leave it out by dataset.damaged=skip") from None
                skipped.append(recording)
            else:
                counted.update(own)
        if recordings and len(skipped) == len(recordings):
            raise nothing_left(self.source, part, len(recordings), recordings[0].file)
        return skipped

    def _names(self, recordings: list[Recording]) -> list[str]:
        return [f"{one.file.relative_to(self.data_dir).as_posix()}{_item(one)}" for one in recordings]


def damaged(skipped: Mapping[str, Sized], names: list[str]) -> dict[str, Any]:
    """What the record says of samples that could not be read: how many of each part, and the first names."""
    return {"skipped": {part: len(found) for part, found in skipped.items() if len(found)}, "files": names[:MOST_NAMES]}


def without_damaged(source: str, there: dict[str, int], left_out: dict[str, Any]) -> dict[str, int]:
    """How many samples of each part are left; says so in one line."""
    number, files = sum(left_out["skipped"].values()), left_out["files"]
    say(f"{source}: {number:,} damaged left out: {', '.join(files[:3])}{', ...' if number > 3 else ''}")
    return {part: size - left_out["skipped"].get(part, 0) for part, size in there.items()}


def named(recording: Recording, error: UserError) -> str:
    """The error with the recording's file in it."""
    message = str(error)
    return message if str(recording.file) in message else f"{recording.file}{_item(recording)}: {message}"


def _item(recording: Recording) -> str:
    """The sample's place, where its file holds several."""
    return f", sample {recording.item}" if recording.item or recording.file.suffix == ".h5" else ""


def nothing_left(source: str, part: str, number: int, first: Path) -> UserError:
    """The one line for a part of which every sample is damaged."""
    return UserError(
        f"{source}: none of the {number:,} samples of {part} can be read, the first is {first}: fetch them again"
    )


def say(line: str) -> None:
    """A notice for whoever waits, apart from the results."""
    print(line, file=sys.stderr)


def progress(items: Iterable[Item], description: str, total: int | None = None) -> Iterable[Item]:
    """The items, with a bar on a terminal. total: how many, of what has no length."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(items, description, total, console=console, transient=True, disable=not console.is_terminal)
