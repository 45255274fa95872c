"""Data sets of event recordings, as frames of counts.

Shapes: batches `[T, B, C, H, W]` (camera) or `[T, B, F]` (cochlea, F units), uint8 counts (int16 where one exceeds
255); on the device the same as float.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from snnrepro.data.augment import Augmentation
from snnrepro.data.event_augment import EventAugmentation
from snnrepro.data.event_sources import SOURCES
from snnrepro.data.frames import CHANNEL_OF, Binning, Events, Grid, frames_of, in_order
from snnrepro.data.recorded import Found, RecordedDataModule, Recording
from snnrepro.data.samples import Batch
from snnrepro.errors import UserError, require_positive
from snnrepro.types import PositiveFloat, PositiveInt


class EventDataModule(RecordedDataModule):
    """Recordings of an event camera or a silicon cochlea (snnrepro.data.event_sources), binned into frames.

    num_steps, split_by, bin_ms, bin_events, start, remainder: see snnrepro.data.frames.Binning. size: height and width
    of the frames (cochlea: units), null for the sensor's; smaller ones add up the counts of neighbours. polarity:
    `both` in two channels, `merged` into one, or only one of them; a cochlea has none. clip: counts above 1 become 1.
    resize: height and width after bilinear interpolation on the device, as some papers do instead (counts are then no
    longer whole); resize_corners: with aligned corners. test_part: the tenth of every class that is the test set,
    where a data set has no split of its own. allow_partial, damaged: see
    snnrepro.data.recorded.RecordedDataModule. loading: see snnrepro.data.datamodule.DataModule.
    """

    frame_dtype = "counts"

    def __init__(
        self,
        data_dir: str,
        cache_dir: str,
        protocol: str,
        seed: int,
        augmentation: Augmentation | EventAugmentation,
        *,
        source: Literal["nmnist", "dvs_gesture", "cifar10_dvs", "shd", "ssc", "spoken_digits_spikes"],
        num_steps: PositiveInt,
        split_by: Literal["number", "time", "duration", "count"] = "number",
        bin_ms: PositiveFloat | None = None,
        bin_events: PositiveInt | None = None,
        start: Literal["first_event", "zero"] = "first_event",
        remainder: Literal["last", "drop"] = "last",
        size: Sequence[PositiveInt] | None = None,
        polarity: Literal["both", "merged", "on", "off"] | None = None,
        clip: bool = False,
        resize: Sequence[PositiveInt] | None = None,
        resize_corners: bool = False,
        test_part: Literal["first_tenth", "last_tenth"] = "first_tenth",
        allow_partial: bool = False,
        damaged: Literal["stop", "skip"] = "stop",
        **loading: Any,
    ) -> None:
        super().__init__(data_dir, cache_dir, protocol, seed, augmentation, **loading)
        require_positive(num_steps=num_steps)
        for needs, key, value in (("duration", "bin_ms", bin_ms), ("count", "bin_events", bin_events)):
            if split_by == needs and value is None:
                raise UserError(f"dataset.split_by={needs} needs dataset.{key}")
            if split_by != needs and value is not None:
                raise UserError(f"dataset.{key}={value} says nothing with dataset.split_by={split_by}: take {needs}")
        self.source = source
        self.num_steps = num_steps
        self.allow_partial = allow_partial
        self.damaged = damaged
        self.test_part = test_part
        self.clip = clip
        known = SOURCES[source]
        self.num_classes, self.class_names = len(known.classes), known.classes
        bin_us = None if bin_ms is None else max(1, round(bin_ms * 1000))
        self.binning = Binning(num_steps, split_by, bin_us, bin_events, start, remainder)
        self.grid = self._grid(size, polarity)
        self.flat = known.sensor[0] == 1
        self.frame_shape = (num_steps, *((self.grid.size[1],) if self.flat else (self.grid.channels, *self.grid.size)))
        self.resize = None if resize is None else tuple(resize)
        self.resize_corners = resize_corners
        if self.resize is not None and (self.flat or len(self.resize) != 2):
            raise UserError(f"dataset.resize={list(self.resize)} must be height and width, of a camera's frames")
        self.input_shape = (self.grid.channels, *self.resize) if self.resize else self.frame_shape[1:]

    def _grid(self, size: Sequence[int] | None, polarity: str | None) -> Grid:
        sensor, polarities = SOURCES[self.source].sensor, SOURCES[self.source].polarities
        wanted = 1 if sensor[0] == 1 else 2
        chosen = sensor if size is None else (*((1,) if wanted == 1 else ()), *size)
        if len(chosen) != 2 or any(new > old for new, old in zip(chosen, sensor, strict=True)):
            limits = " x ".join(map(str, sensor[-wanted:]))
            raise UserError(
                f"dataset.size={list(size or ())} must be {'units' if wanted == 1 else 'height and width'}, "
                f"no more than the sensor's {limits}"
            )
        if polarities == 1 and polarity not in (None, "merged"):
            raise UserError(f"dataset.polarity={polarity}, but {self.source} has no polarity: leave it null")
        default = "both" if polarities == 2 else "merged"
        return Grid(sensor, (chosen[0], chosen[1]), CHANNEL_OF[polarity or default])

    def find(self) -> Found:
        found = SOURCES[self.source].find(self.data_dir)
        parts = found.parts
        if found.unsplit:
            parts = _tenth_of_each_class(parts["train"], self.test_part)
        files = {recording.file for recordings in parts.values() for recording in recordings} | set(found.tables)
        self._read = found.read
        official = found.official
        if found.unsplit:
            whole = official["train"]
            official = {"train": whole - whole // 10, "test": whole // 10}
        return Found(found.layout, parts, official, files)

    def shaping(self) -> dict[str, Any]:
        return {"binning": self.binning._asdict(), "grid": self.grid._asdict(), "clip": self.clip}

    def events(self, recording: Recording) -> Events:
        """The events of a recording that `find` has found."""
        return self._read(recording)

    def frames(self, recording: Recording, counted: Counter[str]) -> NDArray[np.generic]:
        events, ordered = in_order(self.events(recording))
        frames = frames_of(events, self.binning, self.grid)
        counted["events"] += len(events.t)
        counted["events_kept"] += int(frames.sum())
        counted["recordings_out_of_order"] += not ordered
        if self.clip:
            frames = np.minimum(frames, 1)
        return frames.reshape(self.frame_shape)

    def prepare(self, x: Tensor, y: Tensor, training: bool) -> Batch:
        """`[T, B, *]` counts -> float, resized and, in training, augmented."""
        frames = x.float()
        if self.resize:
            from torch.nn.functional import interpolate

            corners = True if self.resize_corners else None
            small = interpolate(frames.flatten(0, 1), self.resize, mode="bilinear", align_corners=corners)
            frames = small.reshape(*x.shape[:2], *small.shape[1:])
        if training:
            frames, y = self.augmentation.on_frames(frames, y, self.num_classes, self.epoch)
        return frames, y


def _tenth_of_each_class(recordings: list[Recording], test_part: str) -> dict[str, list[Recording]]:
    """Train and test, for a data set without a split: of every class, in the order of its files' numbers, one tenth."""
    parts: dict[str, list[Recording]] = {"train": [], "test": []}
    for label in sorted({recording.label for recording in recordings}):
        members = [recording for recording in recordings if recording.label == label]
        tenth = len(members) // 10
        cut = tenth if test_part == "first_tenth" else len(members) - tenth
        halves = members[:cut], members[cut:]
        test, train = halves if test_part == "first_tenth" else halves[::-1]
        parts["test"] += test
        parts["train"] += train
    return parts
