"""Files with bytes changed, cut out, put in: exactly valid data, or one line that names the file.

Drawn alike each time. The formats without a test here have theirs beside their readers: events of every format
(test_event_files), any bytes as idx or pickle (test_image_files), archives (test_fetch), each byte of a packed cache
(test_cache). A changed pixel of an idx, CIFAR or JPEG file, a sample of a wav and an event cannot be noticed: those
formats hold no checksum. PNG, gz and zip do, and the cache does.
"""

import csv
import io
import json
import shutil
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from snnrepro.data.cache import META, Cache, DamagedError, open_or_build, opened
from snnrepro.data.event_sources import GESTURES, find_dvs_gesture, gesture_labels
from snnrepro.data.image_files import CIFAR_PIXELS, read_cifar_binary, read_cifar_pickle, read_idx
from snnrepro.data.image_folder import read_image
from snnrepro.data.speech import find_speech_commands, read_wav
from snnrepro.errors import UserError

DRAWN = settings(
    max_examples=120,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)


@st.composite
def changed(draw, data: bytes, head: int = 64) -> bytes:
    """The bytes with one to four changes, half of them among the first, where a format keeps its sizes."""
    made = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        end = len(made) if draw(st.booleans()) else min(head, len(made))
        place = draw(st.integers(0, max(0, end - 1)))
        match draw(st.sampled_from(["set", "flip", "cut", "take", "put", "repeat"])):
            case "set":
                made[place : place + 1] = bytes([draw(st.sampled_from([0, 1, 127, 128, 255]))])
            case "flip" if made:
                made[place % len(made)] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del made[place:]
            case "take":
                del made[place : place + draw(st.integers(1, 40))]
            case "put":
                made[place:place] = draw(st.binary(max_size=9))
            case _:
                made += made[place:]
    return bytes(made)


def outcome(read, file: Path) -> Any:
    """What a reader gives, None where it told in one line what is wrong with the file."""
    try:
        return read(file)
    except UserError as error:
        message = str(error)
    assert str(file) in message, message
    assert len(message.splitlines()) == 1, message
    return None


def sound() -> bytes:
    text = io.BytesIO()
    with wave.open(text, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(8000)
        out.writeframes((1000 * np.sin(np.arange(400))).astype("<i2").tobytes())
    return text.getvalue()


@DRAWN
@given(changed(sound()))
def test_a_changed_wav_gives_finite_sound_or_one_line(tmp_path, data):
    file = tmp_path / "a.wav"
    file.write_bytes(data)
    found = outcome(lambda f: read_wav(f, 8000), file)
    if found is not None:
        assert (found.dtype, found.ndim) == (torch.float32, 1)
        assert 0 < len(found) <= len(data)
        assert torch.isfinite(found).all()


@pytest.mark.parametrize("head", [b".snd", b"caff", b"FORM", b"RIFX", b"fLaC", b"OggS", b"RF64", b"riff", b"MATL"])
def test_sound_of_another_format_that_claims_to_be_long_takes_no_memory(tmp_path, head):
    file = tmp_path / "a.wav"
    file.write_bytes(head + b"\x7f" * 200)
    assert outcome(lambda f: read_wav(f, 8000), file) is None


def picture(kind: str) -> bytes:
    text = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (12, 9, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(text, kind)
    return text.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@DRAWN
@given(st.data())
def test_a_changed_image_gives_three_channels_or_one_line(tmp_path, kind, data):
    file = tmp_path / "a.JPEG"
    file.write_bytes(data.draw(changed(picture(kind), 200)))
    found = outcome(read_image, file)
    if found is not None:
        assert (found.dtype, found.ndim, found.shape[0]) == (torch.uint8, 3, 3)
        assert found.numel() > 0


def test_every_changed_byte_of_a_pngs_pixels_is_noticed(tmp_path):
    data = picture("PNG")
    file = tmp_path / "a.png"
    begin = data.index(b"IDAT") + 4
    for place in range(begin, begin + int.from_bytes(data[begin - 8 : begin - 4], "big")):
        made = bytearray(data)
        made[place] ^= 1
        file.write_bytes(made)
        assert outcome(read_image, file) is None


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "PPM", "WEBP", "ICO"])
def test_an_image_of_another_format_is_refused_before_its_decoder_sees_it(tmp_path, kind):
    file = tmp_path / "a.JPEG"
    file.write_bytes(picture(kind))
    assert outcome(read_image, file) is None


@DRAWN
@given(st.data())
def test_a_changed_cifar_file_gives_images_and_classes_or_one_line(tmp_path, data):
    whole = np.random.default_rng(0).integers(0, 10, (2, 1 + CIFAR_PIXELS), dtype=np.uint8).tobytes()
    file = tmp_path / "data_batch_1.bin"
    file.write_bytes(data.draw(changed(whole)))
    found = outcome(lambda f: read_cifar_binary(f, 2), file)
    if found is not None:
        assert found[0].shape == (2, 3, 32, 32)
        assert found[0].dtype == np.uint8
        assert set(found[1].tolist()) <= set(range(10))


@DRAWN
@given(st.data())
def test_a_changed_cifar_pickle_gives_images_and_classes_or_one_line(tmp_path, data):
    import pickle

    batch = {b"data": np.arange(2 * CIFAR_PIXELS, dtype=np.uint16).astype(np.uint8).reshape(2, -1), b"labels": [3, 9]}
    protocol = data.draw(st.sampled_from([0, 2, 4]))
    file = tmp_path / "data_batch_1"
    file.write_bytes(data.draw(changed(pickle.dumps(batch, protocol), 300)))
    found = outcome(lambda f: read_cifar_pickle(f, 2), file)
    if found is not None:
        assert found[0].shape == (2, 3, 32, 32)
        assert set(found[1].tolist()) <= set(range(10))


@DRAWN
@given(st.data())
def test_a_changed_idx_file_gives_what_its_header_says_or_one_line(tmp_path, data):
    whole = b"\x00\x00\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (2, 3, 4)) + bytes(range(24))
    file = tmp_path / "a-ubyte"
    file.write_bytes(made := data.draw(changed(whole, 16)))
    found = outcome(read_idx, file)
    if found is not None:
        assert found.dtype == np.uint8
        assert found.size == len(made) - 4 - 4 * found.ndim


TABLE = b"class,startTime_usec,endTime_usec\n1,0,100\n11,200,300\n"


@DRAWN
@given(changed(TABLE))
def test_a_changed_table_of_labels_gives_classes_and_times_or_one_line(tmp_path, data):
    file = tmp_path / "a_labels.csv"
    file.write_bytes(data)
    gesture_labels.cache_clear()
    found = outcome(lambda _: gesture_labels(tmp_path / "a.aedat"), file) or ()
    assert all(0 <= label < len(GESTURES) and isinstance(a, int) and isinstance(b, int) for label, a, b in found)


@DRAWN
@given(changed(b"user01.aedat\nuser02.aedat\n"))
def test_a_changed_list_of_trials_finds_recordings_of_the_folder_or_is_one_line(tmp_path, data):
    (tmp_path / "a_labels.csv").write_bytes(TABLE)
    for name in ("user01", "user02"):
        (tmp_path / f"{name}.aedat").touch()
        (tmp_path / f"{name}_labels.csv").write_bytes(TABLE)
    (tmp_path / "trials_to_train.txt").write_bytes(data)
    (tmp_path / "trials_to_test.txt").write_bytes(b"user02.aedat\n")
    found = outcome(find_dvs_gesture, tmp_path)
    if found is not None:
        assert all(one.file.parent == tmp_path for part in found.parts.values() for one in part)


@DRAWN
@given(changed(b"yes/a_nohash_0.wav\nno/b_nohash_0.wav\n"))
def test_a_changed_list_of_words_is_taken_or_one_line(tmp_path, data):
    place = tmp_path / "SpeechCommands" / "speech_commands_v0.01"
    (place / "yes").mkdir(parents=True, exist_ok=True)
    (place / "yes" / "a_nohash_0.wav").write_bytes(sound())
    (place / "validation_list.txt").write_bytes(b"yes/x.wav\n")
    (place / "testing_list.txt").write_bytes(data)
    found = outcome(lambda _: find_speech_commands("v0.01", tmp_path), place / "testing_list.txt")
    assert found is None or sum(map(len, found.parts.values())) == 1


@pytest.mark.parametrize("name", ["../user01.aedat", "/tmp/user01.aedat", "a/../user01.aedat"])
def test_a_list_of_trials_names_no_file_elsewhere(tmp_path, name):
    (tmp_path / "DvsGesture").mkdir()
    for folder in (tmp_path, tmp_path / "DvsGesture"):
        (folder / "user01.aedat").touch()
        (folder / "user01_labels.csv").write_bytes(TABLE)
    for part in ("train", "test"):
        (tmp_path / "DvsGesture" / f"trials_to_{part}.txt").write_text(name)
    assert outcome(find_dvs_gesture, tmp_path / "DvsGesture") is None


@pytest.fixture(scope="module")
def packed(tmp_path_factory) -> Path:
    def fill(writer) -> dict[str, Any]:
        part = writer("train", (3, 4), "counts")
        for n in range(5):
            part.append(np.eye(3, 4, dtype=np.uint8) * n, n)
        return {"events": 3}

    root = tmp_path_factory.mktemp("cache")
    return open_or_build(root / "set", {"T": 3}, "source", fill).folder


def same(one: Cache, other: Cache) -> bool:
    rows = np.arange(5)
    return all(np.array_equal(one.parts[part].batch(rows), other.parts[part].batch(rows)) for part in other.parts)


@DRAWN
@given(st.data())
def test_a_changed_cache_is_noticed_or_serves_the_same(tmp_path, packed, data):
    copy = tmp_path / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(packed, copy)
    file = copy / data.draw(st.sampled_from(sorted(path.name for path in packed.iterdir())))
    before = file.read_bytes()
    file.write_bytes(made := data.draw(changed(before, len(before))))
    found: Cache | None = None
    message = ""
    try:
        found = opened(copy)
    except DamagedError as error:
        message = str(error)
    if found is None:
        assert made != before
        assert len(message.splitlines()) == 1
    else:
        assert same(found, opened(packed))
        assert made == before or (file.name == META and json.loads(made) == json.loads(before))


def test_a_description_without_end_is_damage(tmp_path, packed):
    copy = tmp_path / "copy"
    shutil.copytree(packed, copy)
    for text in ("[" * 100_000, '{"a":' * 100_000, "9" * 5000, '"' + "x" * 10):
        (copy / META).write_text(text)
        with pytest.raises(DamagedError):
            opened(copy)


def test_a_cell_of_a_label_table_without_end_is_one_line(tmp_path):
    file = tmp_path / "a_labels.csv"
    file.write_text("class,a,b\n1," + "9" * (csv.field_size_limit() + 1) + ",3\n")
    gesture_labels.cache_clear()
    with pytest.raises(UserError, match="a_labels"):
        gesture_labels(tmp_path / "a.aedat")
