"""Spoken words: what is heard by an independent formula, its codes, the official splits, and files that are no speech.

Shapes: waveforms `[L]`; levels `[T, F]`; batches `[T, B, F]`.
"""

import math
import shutil
import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from snnrepro.data.augment import Augmentation
from snnrepro.data.event_augment import EventAugmentation
from snnrepro.data.spectrogram import Ear, coded, levels
from snnrepro.data.speech import SpeechDataModule, read_wav
from snnrepro.errors import UserError

RATE = 8000
DIGITS = {"source": "spoken_digits", "num_steps": 50, "num_mels": 20, "batch_size": 8, "num_workers": 0}
DIGITS |= {"allow_partial": True}
WORDS = {"source": "gsc", "version": "v0.01", "num_steps": 20, "num_mels": 16, "batch_size": 32, "num_workers": 0}
WORDS |= {"allow_partial": True}


@pytest.fixture(autouse=True)
def _one_thread():
    """Waveforms are short: threads would only wait for each other where cores are shared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def write_wav(file: Path, waveform: np.ndarray, rate: int = RATE) -> Path:
    """Numbers from -1 to 1 as 16 bits, one row or two columns (stereo)."""
    with wave.open(str(file), "wb") as out:
        out.setnchannels(waveform.ndim)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes((waveform * 32768).round().clip(-32768, 32767).astype("<i2").tobytes())
    return file


def write_floats(file: Path, waveform: np.ndarray, rate: int = RATE) -> Path:
    """The same as 32-bit floats, which may be no numbers."""
    samples = waveform.astype("<f4").tobytes()
    layout = b"fmt " + (16).to_bytes(4, "little") + (3).to_bytes(2, "little") + (1).to_bytes(2, "little")
    layout += rate.to_bytes(4, "little") + (4 * rate).to_bytes(4, "little")
    layout += (4).to_bytes(2, "little") + (32).to_bytes(2, "little")
    body = b"WAVE" + layout + b"data" + len(samples).to_bytes(4, "little") + samples
    file.write_bytes(b"RIFF" + len(body).to_bytes(4, "little") + body)
    return file


def module(folder: Path, cache: Path, protocol="validated", augmentation=None, **options) -> SpeechDataModule:
    made = SpeechDataModule(str(folder), str(cache), protocol, 0, augmentation or EventAugmentation(), **options)
    made.setup()
    return made


def complaint(*args, **options) -> str:
    with pytest.raises(UserError) as caught:
        module(*args, **options)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def whole(loader) -> tuple[Tensor, Tensor]:
    batches = list(loader)
    return torch.cat([x for x, _ in batches], 1), torch.cat([y for _, y in batches])


def tone(hertz: float, seconds: float = 1.0, rate: int = RATE, amplitude: float = 0.5) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def band_edges(ear: Ear, rate: int) -> np.ndarray:
    """Lower edges, middles and upper edges of the bands in Hz are each other's neighbours, `[F + 2]`."""
    low, high = (2595 * math.log10(1 + hertz / 700) for hertz in (ear.low_hz, rate / 2))
    return 700 * (10 ** (np.linspace(low, high, ear.num_mels + 2) / 2595) - 1)


def heard(waveform: np.ndarray, rate: int, ear: Ear) -> np.ndarray:
    """Levels by the formula: Hann windows around t * duration / T, power, triangles of area 1 in Hz, decibels."""
    length, window = round(rate * ear.duration_ms / 1000), round(rate * ear.window_ms / 1000)
    fft = 2 ** math.ceil(math.log2(window))
    sound = np.zeros(length)
    sound[: len(waveform)] = waveform[:length]
    sound = np.pad(sound, fft // 2, mode="reflect")
    hann = np.zeros(fft)
    hann[(fft - window) // 2 : (fft - window) // 2 + window] = np.sin(np.pi * np.arange(window) / window) ** 2
    hop = length // ear.num_steps
    power = np.stack([np.abs(np.fft.rfft(sound[t * hop : t * hop + fft] * hann)) ** 2 for t in range(ear.num_steps)])
    edges, hertz = band_edges(ear, rate), np.arange(fft // 2 + 1) * rate / fft
    bands = [np.interp(hertz, edges[k : k + 3], [0, 2 / (edges[k + 2] - edges[k]), 0]) for k in range(ear.num_mels)]
    energy = power @ np.array(bands).T
    decibels = 10 * np.log10(np.maximum(energy / energy.max(), 1e-300))
    return 1 + np.maximum(decibels, -ear.dynamic_range_db) / ear.dynamic_range_db


def by_delta(level: np.ndarray, threshold: float) -> np.ndarray:
    """A spike where a band has moved by the threshold since its last spike: `[T, 2F]`."""
    spikes = np.zeros((len(level), 2 * level.shape[1]), np.uint8)
    for band, row in enumerate(level.T):
        last = row[0]
        for t, value in enumerate(row):
            if abs(value - last) >= np.float32(threshold):
                spikes[t, band + (0 if value > last else level.shape[1])] = 1
                last = value
    return spikes


@pytest.fixture(scope="module")
def some_digits(real_data, tmp_path_factory) -> Path:
    """Takes 0, 4, 5, 11 and 23 of every digit of two speakers: 40 to test on and 60 to train on."""
    folder = tmp_path_factory.mktemp("digits")
    recordings = folder / "free-spoken-digit-dataset" / "recordings"
    recordings.mkdir(parents=True)
    for digit in range(10):
        for speaker in ("jackson", "theo"):
            for take in (0, 4, 5, 11, 23):
                name = f"{digit}_{speaker}_{take}.wav"
                shutil.copy2(real_data("spoken_digits") / "free-spoken-digit-dataset" / "recordings" / name, recordings)
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


def digit_files(folder: Path, takes: tuple[int, ...]) -> list[Path]:
    files = (folder / "free-spoken-digit-dataset" / "recordings").iterdir()
    chosen = [(*file.stem.split("_"), file) for file in files if int(file.stem.split("_")[2]) in takes]
    return [file for _, _, _, file in sorted(chosen, key=lambda row: (int(row[0]), int(row[2]), row[1]))]


def own_folder(folder: Path, **waveforms: np.ndarray) -> Path:
    """A data set of recordings that the test made."""
    place = folder / "spoken_digits" / "recordings"
    place.mkdir(parents=True)
    for name, waveform in waveforms.items():
        write_wav(place / f"{name[1:]}.wav", waveform)
    return folder


# --- what is heard


@pytest.mark.parametrize(
    ("rate", "ear"),
    [
        (8000, Ear(50, num_mels=20)),
        (8000, Ear(100, 1000.0, 40, 25.0, 20.0, 80.0)),
        (16_000, Ear(30, 700.0, 24, 32.0, 100.0, 40.0)),
    ],
    ids=str,
)
@pytest.mark.parametrize("seconds", [0.3, 1.0, 1.7])
def test_levels_are_those_of_the_formula(rate, ear, seconds):
    rng = np.random.default_rng(0)
    n = round(rate * seconds)
    waveform = tone(440, seconds, rate) * np.linspace(0, 1, n) + rng.normal(0, 0.01, n) * np.linspace(1, 0, n)
    found = levels(torch.from_numpy(waveform).float(), rate, ear)
    assert found.shape == (ear.num_steps, ear.num_mels)
    np.testing.assert_allclose(found.numpy(), heard(waveform, rate, ear), atol=2e-4)


@pytest.mark.parametrize("hertz", [150, 440, 1000, 2500, 3700])
def test_a_tone_lights_the_band_it_lies_in(hertz):
    ear = Ear(20, num_mels=20)
    level = levels(torch.from_numpy(tone(hertz)).float(), RATE, ear)[5:15]
    middles = band_edges(ear, RATE)[1:-1]
    edges = band_edges(ear, RATE)
    for loudest in level.argmax(1).tolist():
        assert edges[loudest] < hertz < edges[loudest + 2]
    far = (middles < hertz / 2) | (middles > min(2 * hertz, hertz + 1500))
    assert (level[:, far] < 0.75).all()
    assert (level.max(1).values > 0.99).all()


def test_half_the_amplitude_is_six_decibels_less():
    loud_then_soft = np.concatenate([tone(1000, 0.5), tone(1000, 0.5) / 2])
    for dynamic_range in (40.0, 80.0):
        level = levels(torch.from_numpy(loud_then_soft).float(), RATE, Ear(20, dynamic_range_db=dynamic_range))
        band = int(level[3].argmax())
        lost = float(level[4, band] - level[15, band])
        assert lost == pytest.approx(20 * math.log10(2) / dynamic_range, abs=1e-3)


@pytest.mark.parametrize("dynamic_range", [1.0, 7.3, 20.0, 80.0, 100.0, 320.0, 500.0])
def test_levels_lie_in_0_to_1_the_loudest_at_1_and_silence_at_0(dynamic_range):
    noise = np.random.default_rng(1).normal(0, 0.1, RATE // 4)
    level = levels(torch.from_numpy(noise).float(), RATE, Ear(40, dynamic_range_db=dynamic_range))
    assert level.max() == 1
    assert level.min() == 0
    assert (level[20:] == 0).all()  # nothing is left of a recording of a quarter second


def test_loudness_does_not_matter():
    noise = torch.from_numpy(np.random.default_rng(1).normal(0, 0.1, RATE)).float()
    torch.testing.assert_close(levels(noise, RATE, Ear(40)), levels(noise / 1000, RATE, Ear(40)))


@pytest.mark.parametrize("code", ["analog", "delta", "level"])
def test_silence_is_nothing(code):
    ear = Ear(30, code=code)
    level = levels(torch.zeros(RATE), RATE, ear)
    assert (level == 0).all()
    assert (coded(level, ear, "a.wav") == 0).all()


def test_what_comes_after_the_duration_is_not_heard():
    sound = torch.from_numpy(np.random.default_rng(2).normal(0, 0.1, 2 * RATE)).float()
    ear = Ear(40, duration_ms=500.0)
    assert torch.equal(levels(sound, RATE, ear), levels(sound[: RATE // 2], RATE, ear))
    assert not torch.equal(levels(sound, RATE, ear), levels(sound, RATE, Ear(40)))


# --- codes


@pytest.mark.parametrize("threshold", [0.02, 0.1, 0.4])
def test_delta_spikes_where_a_level_has_moved(threshold):
    level = torch.rand(60, 7, generator=torch.Generator().manual_seed(0)).cumsum(0) % 1
    spikes = coded(level, Ear(60, num_mels=7, code="delta", delta_threshold=threshold), "a.wav")
    np.testing.assert_array_equal(spikes.numpy(), by_delta(level.numpy(), threshold))
    assert spikes.any()


@pytest.mark.parametrize("rate", [0.25, 0.5, 1.0])
def test_level_spikes_with_the_chance_of_the_level(rate):
    level = torch.linspace(0, 1, 11).expand(2000, 11)
    spikes = coded(level, Ear(2000, num_mels=11, code="level", level_rate=rate), "a.wav")
    chance = rate * level[0]
    assert set(spikes.unique().tolist()) == {0, 1}
    assert ((spikes.mean(0) - chance).abs() <= 6 * (chance * (1 - chance) / 2000).sqrt()).all()
    assert not torch.equal(spikes[:1000], spikes[1000:])


def test_level_draws_follow_the_seed_and_the_recording():
    level = torch.full((30, 20), 0.5)
    ear = Ear(30, num_mels=20, code="level", level_rate=1.0)
    draws = [
        coded(level, ear._replace(coding_seed=seed), n)
        for seed in (0, 1, 2**32 - 1, 2**40)
        for n in ("a/1.wav", "a/2.wav")
    ]
    assert len({draw.numpy().tobytes() for draw in draws}) == 8
    assert torch.equal(draws[0], coded(level, ear, "a/1.wav"))


# --- the data sets


def test_takes_0_to_4_are_the_test_set(some_digits, cache):
    made = module(some_digits, cache, **DIGITS)
    files = digit_files(some_digits, (0, 4))
    assert len(files) == 40
    x, y = whole(made.test_dataloader())
    assert x.shape == (50, 40, 40)
    assert x.dtype == torch.uint8
    assert y.tolist() == [int(file.name[0]) for file in files]
    for b, file in enumerate(files):
        level = levels(read_wav(file, RATE), RATE, made.ear)
        np.testing.assert_array_equal(x[:, b].numpy(), by_delta(level.numpy(), 0.1), strict=True)
    assert made.splits == {"train": 50, "train_available": 50, "validation": 10, "test": 40}
    assert (made.input_shape, made.num_classes, made.num_steps) == ((40,), 10, 50)
    floats, labels = made.prepare(x, y, training=False)
    assert floats.dtype == torch.float32
    assert torch.equal(floats, x.float())
    assert torch.equal(labels, y)


def test_facts_of_spoken_digits(some_digits, cache):
    facts = module(some_digits, cache, **DIGITS).facts
    files = digit_files(some_digits, (0, 4, 5, 11, 23))
    lengths = [len(read_wav(file, RATE)) for file in files]
    assert facts["recordings"] == {"train": 60, "test": 40}
    assert facts["official"] == {"train": 2700, "test": 300}
    assert facts["partial"] is True
    assert facts["test_is_train"] is False
    assert facts["recordings_cut"] == sum(length > RATE for length in lengths)
    spikes = sum(by_delta(levels(read_wav(f, RATE), RATE, Ear(50, num_mels=20)).numpy(), 0.1).sum() for f in files)
    assert facts["spikes"] == spikes
    shorter = module(some_digits, cache, **DIGITS, duration_ms=400.0)
    assert shorter.facts["recordings_cut"] == sum(length > 0.4 * RATE for length in lengths) > 0


def test_the_sound_of_short_recordings_adds_up(some_digits, cache):
    files = digit_files(some_digits, (0, 4, 5, 11, 23))
    seconds = sum(len(read_wav(file, RATE)) for file in files) / RATE
    assert module(some_digits, cache, **DIGITS).facts["milliseconds"] == pytest.approx(1000 * seconds, abs=100)


def test_whole_data_is_asked_for(some_digits, tmp_path):
    message = complaint(some_digits, tmp_path, **DIGITS | {"allow_partial": False})
    assert "60 of 2,700 (train), 40 of 300 (test)" in message
    assert "dataset.allow_partial=true" in message
    assert list(tmp_path.iterdir()) == []


def test_analog_levels_are_served_as_they_are_in_half_precision(some_digits, cache):
    made = module(some_digits, cache, **DIGITS, code="analog")
    x, _ = whole(made.test_dataloader())
    assert x.shape == (50, 40, 20)
    assert x.dtype == torch.float16
    wanted = [levels(read_wav(file, RATE), RATE, made.ear).half() for file in digit_files(some_digits, (0, 4))]
    assert torch.equal(x, torch.stack(wanted, 1))
    assert made.input_shape == (20,)
    assert "spikes" not in made.facts
    assert made.prepare(x, torch.zeros(40), training=False)[0].dtype == torch.float32


def test_level_draws_of_a_recording_do_not_depend_on_the_set_around_it(some_digits, cache, tmp_path):
    options = {"code": "level", "level_rate": 0.8}
    many, _ = whole(module(some_digits, cache, **DIGITS, **options).test_dataloader())
    alone = tmp_path / "alone" / "spoken_digits" / "recordings"
    alone.mkdir(parents=True)
    files = digit_files(some_digits, (0, 4))
    for b in (7, 30):
        shutil.copy2(files[b], alone)
    few = {"batch_size": 2, "validation_fraction": 0.5}
    first, _ = whole(module(tmp_path / "alone", cache, **DIGITS | options | few).test_dataloader())
    assert torch.equal(first, many[:, [7, 30]])
    assert first.any()
    other, _ = whole(module(tmp_path / "alone", cache, **DIGITS | options | few, coding_seed=1).test_dataloader())
    assert not torch.equal(other, first)
    renamed = files[7].name.replace("_0.", "_1.").replace("_4.", "_3.")
    (alone / files[7].name).rename(alone / renamed)
    third, _ = whole(module(tmp_path / "alone", cache, **DIGITS | options | few).test_dataloader())
    assert torch.equal(third[:, 1], first[:, 1])
    assert not torch.equal(third[:, 0], first[:, 0])


def test_every_setting_of_the_ear_takes_frames_of_its_own(some_digits, cache):
    plain = module(some_digits, cache, **DIGITS | {"code": "level"}).facts["frames_digest"]
    assert module(some_digits, cache, **DIGITS | {"code": "level", "batch_size": 3}).facts["frames_digest"] == plain
    digests = {plain}
    for change in (
        {"num_steps": 40},
        {"duration_ms": 900.0},
        {"num_mels": 21},
        {"window_ms": 20.0},
        {"low_hz": 60.0},
        {"dynamic_range_db": 70.0},
        {"code": "delta"},
        {"code": "delta", "delta_threshold": 0.2},
        {"level_rate": 0.6},
        {"coding_seed": 1},
    ):
        digests.add(module(some_digits, cache, **DIGITS | {"code": "level"} | change).facts["frames_digest"])
    assert len(digests) == 11


def test_official_lists_of_speech_commands_make_the_parts(real_data, cache):
    folder = real_data("speech_commands")
    place = folder / "SpeechCommands" / "speech_commands_v0.01"
    lists = {part: (place / f"{part}_list.txt").read_text().split() for part in ("validation", "testing")}
    there = {f"{file.parent.name}/{file.name}" for file in place.glob("*/*.wav")}
    words = sorted({name.split("/")[0] for name in there})
    assert (len(there), len(words)) == (300, 30)
    validated, paper = (module(folder, cache, protocol=protocol, **WORDS) for protocol in ("validated", "paper"))
    held = {part: sorted(there & set(names)) for part, names in lists.items()}
    rest = sorted(there - set(lists["validation"]) - set(lists["testing"]))

    def frames_of(name: str) -> Tensor:
        level = levels(read_wav(place / name, 16_000), 16_000, validated.ear)
        return torch.from_numpy(by_delta(level.numpy(), 0.1))

    for loader, names in (
        (validated.test_dataloader(), held["testing"]),
        (validated.val_dataloader(), held["validation"]),
    ):
        x, y = whole(loader)
        assert [words[label] for label in y.tolist()] == [name.split("/")[0] for name in names]
        for b in range(0, len(names), 7):
            assert torch.equal(x[:, b], frames_of(names[b]))
    _, y = whole(validated.train_dataloader())
    assert sorted(words[label] for label in y.tolist()) == [name.split("/")[0] for name in rest]
    train, validation, test = len(rest), len(held["validation"]), len(held["testing"])
    assert validated.splits == {
        "train": train,
        "train_available": train,
        "validation": validation,
        "test": test,
    }
    assert paper.splits["train"] == train  # the official validation set is never trained on
    assert paper.splits["validation"] == 0
    assert validated.facts["recordings"] == {"train": train, "validation": validation, "test": test}
    official = {part: len(names) for part, names in lists.items()}
    assert validated.facts["official"] == {
        "train": 64_727 - sum(official.values()),
        "validation": official["validation"],
        "test": official["testing"],
    }
    assert (validated.num_classes, validated.class_names) == (30, tuple(words))


def test_without_official_validation_recordings_some_are_held_out(tmp_path):
    place = tmp_path / "SpeechCommands" / "speech_commands_v0.01"
    for word in ("yes", "zero"):
        (place / word).mkdir(parents=True)
        for n in range(4):
            write_wav(place / word / f"{n}_nohash_0.wav", tone(300 + 100 * n, rate=16_000), 16_000)
    (place / "testing_list.txt").write_text("yes/0_nohash_0.wav\nzero/0_nohash_0.wav\n")
    (place / "validation_list.txt").write_text("yes/77_nohash_0.wav\n")
    made = module(tmp_path, tmp_path, **WORDS | {"batch_size": 2, "validation_fraction": 0.34})
    assert made.facts["recordings"] == {"train": 6, "validation": 0, "test": 2}
    assert made.splits == {"train": 4, "train_available": 4, "validation": 2, "test": 2}


def test_level_draws_belong_to_the_word_and_the_name_and_not_to_the_version(tmp_path):
    place = tmp_path / "SpeechCommands"
    for word in ("yes", "zero"):
        (place / word).mkdir(parents=True)
        for name in ("a_nohash_0.wav", "b_nohash_0.wav"):
            write_wav(place / word / name, tone(500, rate=16_000), 16_000)
    (place / "testing_list.txt").write_text("yes/a_nohash_0.wav\nzero/a_nohash_0.wav\n")
    (place / "validation_list.txt").write_text("yes/b_nohash_0.wav\n")
    options = WORDS | {"code": "level", "batch_size": 1}
    first, second = (
        whole(module(tmp_path, tmp_path, **options | {"version": version}).test_dataloader())
        for version in ("v0.01", "v0.02")
    )
    assert torch.equal(first[0], second[0])
    assert (first[1].tolist(), second[1].tolist()) == ([28, 29], [33, 34])
    assert not torch.equal(first[0][:, 0], first[0][:, 1])


def test_the_second_version_has_five_words_more():
    made = SpeechDataModule("", "", "validated", 0, EventAugmentation(), source="gsc", num_steps=10)
    assert made.num_classes == len(set(made.class_names)) == 35
    assert sorted(made.class_names) == list(made.class_names)
    assert {"backward", "forward", "follow", "learn", "visual"} < set(made.class_names)


# --- recordings that are not what they should be


def test_short_and_long_and_stereo_recordings_are_taken(tmp_path):
    waveforms = {
        "_0_a_0": tone(500, 0.1),
        "_1_a_0": tone(500, 3.0),
        "_2_a_0": np.stack([np.zeros(RATE), tone(500)], 1),
        "_0_a_5": tone(500, 1 / RATE),
        "_1_a_5": tone(500, 1.0),
    }
    folder = own_folder(tmp_path, **waveforms)
    options = {"code": "analog", "batch_size": 1, "validation_fraction": 0.5}
    made = module(folder, tmp_path / "cache", protocol="paper", **DIGITS | options)
    x, y = whole(made.test_dataloader())
    assert y.tolist() == [0, 1, 2]
    assert (x[10:, 0] == 0).all()
    assert x[:5, 0].max() == 1
    assert (x[:, 1].amax(1) > 0.9).all()
    torch.testing.assert_close(x[2:48, 2], x[2:48, 1], atol=5e-3, rtol=0)
    assert made.facts["recordings_cut"] == 1


def cut_short(file: Path):
    write_wav(file, tone(500))
    file.write_bytes(file.read_bytes()[:5000])


def with_a_hole(number: float) -> np.ndarray:
    waveform = tone(500)
    waveform[3] = number
    return waveform


BAD = {
    "wrong rate": (lambda file: write_wav(file, tone(500), 16_000), "16000 samples per second, expected 8000"),
    "not wav": (lambda file: file.write_bytes(b"<html>not found</html>" * 30), "cannot be read as audio"),
    "of no bytes": (lambda file: file.write_bytes(b""), "is empty"),
    "head only": (lambda file: write_wav(file, np.zeros(0)), "no sample"),
    "half a head": (lambda file: file.write_bytes(write_wav(file, tone(500)).read_bytes()[:30]), ""),
    "cut short": (cut_short, ""),
    "no number": (lambda file: write_floats(file, with_a_hole(np.nan)), ""),
    "infinite": (lambda file: write_floats(file, with_a_hole(np.inf)), ""),
    "a folder": (lambda file: file.mkdir(), "cannot be read"),
    "a broken link": (lambda file: file.symlink_to("nowhere"), ""),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_file_that_is_no_recording_is_named_and_nothing_is_left(tmp_path, kind):
    folder = own_folder(tmp_path, _0_a_5=tone(500), _0_a_1=tone(700))
    bad = folder / "spoken_digits" / "recordings" / "0_a_7.wav"
    write, why = BAD[kind]
    write(bad)
    options = {"batch_size": 1, "validation_fraction": 0.5, "code": "analog"}
    message = complaint(folder, tmp_path / "cache", **DIGITS | options)
    assert str(bad) in message
    assert why in message
    assert not [p for p in (tmp_path / "cache").rglob("*") if p.is_file() and p.stat().st_size]


def test_floats_and_whole_numbers_are_the_same_sound(tmp_path):
    waveform = np.round(tone(500) * 32768) / 32768
    floats = read_wav(write_floats(tmp_path / "a.wav", waveform), RATE)
    whole_numbers = read_wav(write_wav(tmp_path / "b.wav", waveform), RATE)
    assert torch.equal(floats, whole_numbers)
    np.testing.assert_allclose(floats, waveform, atol=1e-7)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_steps": 8001}, ("8000 Hz", "step")),
        ({"duration_ms": 0.2, "num_steps": 1}, ("dataset",)),
        ({"duration_ms": 10.0, "num_steps": 1}, ("dataset",)),  # shorter than a window
        ({"window_ms": 0.1}, ("8000 Hz", "window")),
        ({"low_hz": 4000.0}, ("8000 Hz", "4000 Hz")),
        ({"num_steps": 0}, ("num_steps",)),
        ({"batch_size": 1000}, ("dataset.batch_size=1000", "50 training samples")),
        pytest.param({"augmentation": Augmentation(cutout=2)}, ("cutout", "images"), id="image augmentation"),
    ],
    ids=str,
)
def test_a_wrong_setting_is_one_line(some_digits, tmp_path, options, words):
    message = complaint(some_digits, tmp_path, **DIGITS | options)
    for word in words:
        assert word in message


@pytest.mark.parametrize("source", ["spoken_digits", "gsc"])
def test_an_empty_folder_is_one_line_that_names_it(tmp_path, source):
    message = complaint(tmp_path, tmp_path / "cache", source=source, num_steps=4)
    assert str(tmp_path) in message
    assert "prepare_data.py" in message


def test_speech_commands_without_the_validation_list_are_one_line(tmp_path):
    place = tmp_path / "SpeechCommands" / "speech_commands_v0.01" / "yes"
    place.mkdir(parents=True)
    write_wav(place / "a_nohash_0.wav", tone(500, rate=16_000), 16_000)
    (place.parent / "testing_list.txt").write_text("yes/a_nohash_0.wav\n")
    assert "validation_list.txt" in complaint(tmp_path, tmp_path / "cache", **WORDS)
