"""Data sets of spoken words, as log-mel levels or spikes made from them.

Shapes: batches `[T, B, F]`, uint8 spikes or float16 levels; on the device float.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snnrepro.data.augment import Augmentation
from snnrepro.data.event_augment import EventAugmentation
from snnrepro.data.event_files import read_start
from snnrepro.data.event_sources import DIGITS, by_number
from snnrepro.data.image_files import not_found
from snnrepro.data.recorded import Found, RecordedDataModule, Recording
from snnrepro.data.samples import Batch
from snnrepro.data.spectrogram import Ear, coded, fft_length, levels, mel_spectrogram
from snnrepro.errors import UserError, first_line, require_positive
from snnrepro.types import AtLeastOne, Fraction, NonNegativeInt, PositiveFloat, PositiveInt

FIRST_WORDS = (
    *("bed", "bird", "cat", "dog", "down", "eight", "five", "four", "go", "happy", "house", "left", "marvin", "nine"),
    *("no", "off", "on", "one", "right", "seven", "sheila", "six", "stop", "three", "tree", "two", "up", "wow", "yes"),
    "zero",
)
WORDS = {
    "v0.01": FIRST_WORDS,
    "v0.02": tuple(sorted([*FIRST_WORDS, "backward", "follow", "forward", "learn", "visual"])),
}
# Recordings in all: Speech Commands, arXiv 1804.03209. How many are held out, the lists in the folder say.
LONGEST = 2**27  # samples of sound: far above a spoken word, below what fills the memory
TOTAL = {"v0.01": 64_727, "v0.02": 105_829}


class SpeechSource(NamedTuple):
    """What is fixed about a data set: samples per second, classes, and how it is found."""

    sample_rate: int
    classes: tuple[str, ...]
    find: Callable[[Path], Found]


def find_spoken_digits(folder: Path) -> Found:
    """`free-spoken-digit-dataset/recordings/<digit>_<speaker>_<take>.wav`; takes 0 to 4 of each are the test set.

    Source: the data set's own page, github.com/Jakobovski/free-spoken-digit-dataset.
    """
    bases = ("free-spoken-digit-dataset", "free-spoken-digit-dataset-master", "spoken_digits", "fsdd", ".")
    files = next((found for base in bases if (found := [*(folder / base / "recordings").glob("*_*_*.wav")])), [])
    parts: dict[str, list[Recording]] = {"train": [], "test": []}
    for file in by_number(files):
        digit, *_, take = file.stem.split("_")
        if digit in DIGITS and take.isdigit():
            parts["test" if int(take) < 5 else "train"].append(Recording(file, 0, int(digit)))
    if not any(parts.values()):
        raise not_found("spoken_digits", folder, "free-spoken-digit-dataset/recordings/<digit>_<speaker>_<take>.wav")
    return Found("wav 8 kHz", parts, {"train": 2700, "test": 300}, set(files))


def find_speech_commands(version: str, folder: Path) -> Found:
    """`SpeechCommands/speech_commands_<version>/<word>/*.wav` with testing_list.txt and validation_list.txt."""
    name = f"speech_commands_{version}"
    places = (folder / "SpeechCommands" / name, folder / name, folder / "SpeechCommands", folder)
    place = next((p for p in places if (p / "testing_list.txt").is_file() and any(p.glob("*/*.wav"))), None)
    if place is None:
        raise not_found("gsc", folder, f"SpeechCommands/{name}/testing_list.txt and <word>/*.wav")
    held = {}
    for part, listed in (("validation", "validation_list.txt"), ("test", "testing_list.txt")):
        try:
            held[part] = set((place / listed).read_text().split())
        except OSError:
            raise UserError(f"{place / listed} not found: it says which recordings belong to {part}") from None
        except UnicodeDecodeError:
            raise UserError(f"{place / listed} is no list of recordings: fetch it again") from None
    parts: dict[str, list[Recording]] = {"train": [], "validation": [], "test": []}
    for label, word in enumerate(WORDS[version]):
        for file in sorted((place / word).glob("*.wav")):
            listed_as = f"{word}/{file.name}"
            part = next((part for part, names in held.items() if listed_as in names), "train")
            parts[part].append(Recording(file, 0, label))
    official = {part: len(names) for part, names in held.items()}
    official["train"] = TOTAL[version] - sum(official.values())
    files = {recording.file for recordings in parts.values() for recording in recordings}
    lists = {place / "validation_list.txt", place / "testing_list.txt"}
    return Found(f"wav 16 kHz, {version}", parts, official, files | lists)


class SpeechDataModule(RecordedDataModule):
    """Spoken words: Google Speech Commands (gsc) or the Free Spoken Digit Dataset (spoken_digits).

    version: of gsc. All from duration_ms to coding_seed: see snnrepro.data.spectrogram.Ear. allow_partial, damaged: see
    snnrepro.data.recorded.RecordedDataModule. loading: see snnrepro.data.datamodule.DataModule.
    """

    def __init__(
        self,
        data_dir: str,
        cache_dir: str,
        protocol: str,
        seed: int,
        augmentation: Augmentation | EventAugmentation,
        *,
        source: Literal["gsc", "spoken_digits"],
        num_steps: PositiveInt,
        version: Literal["v0.01", "v0.02"] = "v0.02",
        duration_ms: PositiveFloat = 1000.0,
        num_mels: PositiveInt = 40,
        window_ms: PositiveFloat = 25.0,
        low_hz: PositiveFloat = 20.0,
        dynamic_range_db: AtLeastOne = 80.0,
        code: Literal["analog", "delta", "level"] = "delta",
        delta_threshold: PositiveFloat = 0.1,
        level_rate: Fraction = 0.5,
        coding_seed: NonNegativeInt = 0,
        allow_partial: bool = False,
        damaged: Literal["stop", "skip"] = "stop",
        **loading: Any,
    ) -> None:
        super().__init__(data_dir, cache_dir, protocol, seed, augmentation, **loading)
        require_positive(num_steps=num_steps)
        self.source = source
        self.version = version
        self.num_steps = num_steps
        self.allow_partial = allow_partial
        self.damaged = damaged
        if source == "gsc":
            known = SpeechSource(16_000, WORDS[version], lambda folder: find_speech_commands(version, folder))
        else:
            known = SpeechSource(8_000, DIGITS, find_spoken_digits)
        self.known = known
        self.num_classes, self.class_names = len(known.classes), known.classes
        self.ear = Ear(
            num_steps,
            float(duration_ms),
            num_mels,
            float(window_ms),
            float(low_hz),
            float(dynamic_range_db),
            code,
            float(delta_threshold),
            float(level_rate),
            coding_seed,
        )
        length, window = (round(known.sample_rate * ms / 1000) for ms in (duration_ms, window_ms))
        if length < num_steps or window < 2 or fft_length(window) >= 2 * length or low_hz >= known.sample_rate / 2:
            raise UserError(
                f"dataset: {num_steps} steps over {duration_ms:g} ms, a window of {window_ms:g} ms and bands from "
                f"{low_hz:g} Hz cannot all be had at {known.sample_rate} Hz"
            )
        mel_spectrogram(known.sample_rate, self.ear, length // num_steps)
        self.frame_shape = (num_steps, self.ear.bands)
        self.frame_dtype = "float16" if code == "analog" else "counts"
        self.input_shape = (self.ear.bands,)

    def find(self) -> Found:
        return self.known.find(self.data_dir)

    def shaping(self) -> dict[str, Any]:
        return {"ear": self.ear._asdict(), "version": self.version if self.source == "gsc" else None}

    def frames(self, recording: Recording, counted: Counter[str]) -> NDArray[np.generic]:
        waveform = read_wav(recording.file, self.known.sample_rate)
        counted["milliseconds"] += round(1000 * len(waveform) / self.known.sample_rate)
        counted["recordings_cut"] += len(waveform) > self.known.sample_rate * self.ear.duration_ms / 1000
        name = f"{recording.file.parent.name}/{recording.file.name}"
        frames = coded(levels(waveform, self.known.sample_rate, self.ear), self.ear, name)
        if self.ear.code == "analog":
            return frames.half().numpy()
        counted["spikes"] += int(frames.sum())
        return frames.to(torch.uint8).numpy()

    def prepare(self, x: Tensor, y: Tensor, training: bool) -> Batch:
        """`[T, B, F]` -> float, in training augmented."""
        frames = x.float()
        if training:
            frames, y = self.augmentation.on_frames(frames, y, self.num_classes, self.epoch)
        return frames, y


def read_wav(file: Path, sample_rate: int) -> Tensor:
    """A mono recording `[L]` in -1 to 1. Raises UserError where it is missing, damaged, empty, or of another rate."""
    import soundfile

    read_start(file)
    with file.open("rb") as stream:
        head = stream.read(8)
    if head.startswith(b"RIFF") and (whole := int.from_bytes(head[4:], "little") + 8) > (size := file.stat().st_size):
        raise UserError(f"{file} holds {size:,} bytes where its header says {whole:,}: fetch it again")
    try:
        with soundfile.SoundFile(file) as sound:
            if sound.frames * sound.channels > LONGEST:
                raise UserError(f"{file} claims {sound.frames:,} samples of sound: fetch it again")
            data, rate = sound.read(dtype="float32", always_2d=True), sound.samplerate
    except (soundfile.SoundFileError, OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read as audio ({first_line(error)}): fetch it again") from None
    if rate != sample_rate:
        raise UserError(f"{file} has {rate} samples per second, expected {sample_rate}")
    if not len(data):
        raise UserError(f"{file} holds no sample of sound: fetch it again")
    if not np.isfinite(data).all():
        raise UserError(f"{file} holds samples that are no numbers: fetch it again")
    return torch.from_numpy(data.mean(1))
