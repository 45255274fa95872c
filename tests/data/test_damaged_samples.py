"""A sample that cannot be read stops a run by its name, or, if told, is left out and recorded."""

import json
from pathlib import Path

import numpy as np
import pytest
from event_writers import some_events, write_atis_bin, write_spike_trains
from PIL import Image
from test_speech import tone, write_wav

from snnrepro.build import data_module
from snnrepro.data import recorded
from snnrepro.data.datamodule import DataModule
from snnrepro.errors import UserError
from snnrepro.ledger.verdicts import is_reduced


@pytest.fixture
def digits(tmp_path) -> Path:
    """N-MNIST's layout: four recordings of each of three digits to train on, two to test on."""
    for part, count in (("Train", 4), ("Test", 2)):
        for digit in range(3):
            place = tmp_path / "NMNIST" / part / str(digit)
            place.mkdir(parents=True)
            for n in range(count):
                write_atis_bin(place / f"{n:05d}.bin", some_events(50, 34, seed=10 * digit + n))
    return tmp_path


def cut(file: Path, left: int = 7) -> Path:
    file.write_bytes(file.read_bytes()[:left])
    return file


def made(folder: Path, *words: str) -> DataModule:
    small = ["dataset.batch_size=1", "dataset.num_workers=0", "dataset.validation_fraction=0.34"]
    module, _ = data_module([*small, f"paths.data_dir={folder}", f"paths.cache_dir={folder / 'cache'}", *words])
    module.setup()
    return module


def complaint(folder: Path, *words: str) -> str:
    with pytest.raises(UserError) as caught:
        made(folder, *words)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_damaged_recording_is_named_and_stops(digits):
    broken = cut(digits / "NMNIST" / "Train" / "1" / "00002.bin")
    message = complaint(digits, "dataset=nmnist")
    assert str(broken) in message
    assert "dataset.damaged=skip" in message


def test_damaged_recordings_are_left_out_if_told_and_the_record_says_which(digits, capsys):
    cut(digits / "NMNIST" / "Train" / "1" / "00002.bin")
    cut(digits / "NMNIST" / "Test" / "0" / "00001.bin")
    for _ in ("packed", "read again"):
        module = made(digits, "dataset=nmnist", "dataset.damaged=skip")
        facts = module.facts
        assert facts["damaged"] == {
            "skipped": {"train": 1, "test": 1},
            "files": ["NMNIST/Train/1/00002.bin", "NMNIST/Test/0/00001.bin"],
        }
        assert facts["recordings"] == {"train": 11, "test": 5}
        assert facts["partial"] is True
        assert module.splits["test"] == 5
        (line,) = [line for line in capsys.readouterr().err.splitlines() if "damaged" in line]
        assert line.startswith("nmnist: 2 damaged left out: NMNIST/Train/1/00002.bin, ")


def test_the_rest_is_what_it_is_without_the_damaged_ones(digits):
    broken = cut(digits / "NMNIST" / "Train" / "1" / "00002.bin")
    skipping = made(digits, "dataset=nmnist", "dataset.damaged=skip")
    events = skipping.facts["events"]
    broken.unlink()
    without = made(digits, "dataset=nmnist")
    assert without.facts["frames_digest"] == skipping.facts["frames_digest"]
    assert without.facts["events"] == events


def test_frames_made_while_skipping_are_not_served_where_damage_stops(digits):
    cut(digits / "NMNIST" / "Train" / "1" / "00002.bin")
    made(digits, "dataset=nmnist", "dataset.damaged=skip")
    assert "00002.bin" in complaint(digits, "dataset=nmnist")


def test_a_whole_set_is_the_same_whether_damage_stops_or_not(digits):
    stopping, skipping = (made(digits, "dataset=nmnist", f"dataset.damaged={word}").facts for word in ("stop", "skip"))
    assert stopping == skipping


def test_at_most_so_many_names_stand_in_the_record(digits, monkeypatch):
    monkeypatch.setattr(recorded, "MOST_NAMES", 2)
    for n in range(3):
        cut(digits / "NMNIST" / "Train" / "1" / f"0000{n}.bin")
    found = made(digits, "dataset=nmnist", "dataset.damaged=skip").facts["damaged"]
    assert (found["skipped"], len(found["files"])) == ({"train": 3}, 2)


@pytest.mark.parametrize("part", ["Train", "Test"])
def test_a_part_of_damaged_recordings_only_is_an_error(digits, part):
    for file in (digits / "NMNIST" / part).glob("*/*.bin"):
        cut(file)
    assert "fetch them again" in complaint(digits, "dataset=nmnist", "dataset.damaged=skip")


def test_a_damaged_sample_of_a_container_is_named_by_its_place(tmp_path):
    place = tmp_path / "spoken_digits_spikes"
    place.mkdir()
    trains = [(np.linspace(0, 0.5, 9, dtype=np.float32), np.arange(9)) for _ in range(6)]
    for part in ("train", "test"):
        write_spike_trains(place / f"shd_{part}.h5", trains, [0, 1] * 3)
    bad = [*trains[:3], (np.full(9, np.nan, np.float32), np.arange(9)), *trains[4:]]
    write_spike_trains(place / "shd_train.h5", bad, [0, 1] * 3)
    message = complaint(tmp_path, "dataset=spoken_digits_spikes")
    assert f"{place / 'shd_train.h5'}, sample 3" in message
    facts = made(tmp_path, "dataset=spoken_digits_spikes", "dataset.damaged=skip").facts
    assert facts["damaged"] == {"skipped": {"train": 1}, "files": ["spoken_digits_spikes/shd_train.h5, sample 3"]}


def test_a_damaged_word_is_named_or_left_out(tmp_path):
    place = tmp_path / "free-spoken-digit-dataset" / "recordings"
    place.mkdir(parents=True)
    for digit in (0, 1):
        for take in range(10):
            write_wav(place / f"{digit}_a_{take}.wav", tone(300 + 20 * take, rate=8000), 8000)
    broken = cut(place / "1_a_7.wav", 60)
    assert str(broken) in complaint(tmp_path, "dataset=spoken_digits")
    facts = made(tmp_path, "dataset=spoken_digits", "dataset.damaged=skip").facts
    assert facts["damaged"]["files"] == ["free-spoken-digit-dataset/recordings/1_a_7.wav"]
    assert facts["recordings"] == {"train": 9, "test": 10}


@pytest.fixture
def images(tmp_path) -> Path:
    for part, count in (("val", 3), ("train", 6)):
        for label in range(2):
            place = tmp_path / "imagenet" / part / f"n{label}"
            place.mkdir(parents=True)
            for n in range(count):
                pixels = np.random.default_rng(n).integers(0, 255, (20, 20, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{n}.JPEG")
    return tmp_path


IMAGENET = ["dataset=imagenet", "dataset.image_shape=[3,14,14]", "dataset.num_classes=2"]


def test_damaged_images_are_left_out_if_told_and_looked_for_once(images, monkeypatch, capsys):
    broken = cut(images / "imagenet" / "train" / "n1" / "2.JPEG", 300)
    module = made(images, *IMAGENET, "dataset.damaged=skip")
    assert module.facts["damaged"] == {"skipped": {"train": 1}, "files": ["imagenet/train/n1/2.JPEG"]}
    assert module.facts["recordings"] == {"train": 11, "test": 6}
    assert module.facts["partial"] is True
    assert len(list(module.train_dataloader())) > 0
    monkeypatch.setattr("snnrepro.data.image_folder.read_image", None)
    assert made(images, *IMAGENET, "dataset.damaged=skip").facts == module.facts
    monkeypatch.undo()
    Image.new("RGB", (20, 20)).save(broken)
    assert "damaged" not in made(images, *IMAGENET, "dataset.damaged=skip").facts
    assert capsys.readouterr().err.count("damaged left out") == 2


def test_a_changed_list_of_damaged_images_is_made_again(images):
    cut(images / "imagenet" / "train" / "n1" / "2.JPEG", 300)
    made(images, *IMAGENET, "dataset.damaged=skip")
    (kept,) = (images / "cache" / "imagenet").iterdir()
    text = kept.read_text()
    for wrong in ("", "[]", text.replace("2.JPEG", "3.JPEG"), '{"damaged": [], "digest": 3}'):
        kept.write_text(wrong)
        found = made(images, *IMAGENET, "dataset.damaged=skip").facts["damaged"]
        assert found["files"] == ["imagenet/train/n1/2.JPEG"]
        assert kept.read_text() == text


def test_images_that_are_all_damaged_are_an_error(images):
    for file in (images / "imagenet" / "val").glob("*/*"):
        cut(file, 300)
    assert "none of the 6 samples of test" in complaint(images, *IMAGENET, "dataset.damaged=skip")


def test_sets_of_few_whole_files_have_nothing_to_skip():
    assert "fetch a broken one again" in complaint(Path(), "dataset=digits", "+dataset.damaged=skip")


def test_a_run_that_left_samples_out_says_so_and_decides_nothing(digits, train, tmp_path):
    cut(digits / "NMNIST" / "Train" / "1" / "00002.bin")
    words = ["dataset=nmnist", "dataset.allow_partial=true", "dataset.damaged=skip", "architecture=dense"]
    words += ["architecture.hidden=[4]", "trainer=smoke", "dataset.batch_size=2", "dataset.num_workers=0"]
    words += ["dataset.validation_fraction=0.34", f"paths.data_dir={digits}", f"paths.cache_dir={tmp_path / 'c'}"]
    code, out, err = train(*words)
    assert code == 0, err
    assert err.splitlines() == ["nmnist: 1 damaged left out: NMNIST/Train/1/00002.bin"]
    assert "1 damaged left out" in out
    (file,) = (tmp_path / "runs").rglob("run.json")
    record = json.loads(file.read_text())
    assert record["data"]["damaged"]["files"] == ["NMNIST/Train/1/00002.bin"]
    assert is_reduced(record)
