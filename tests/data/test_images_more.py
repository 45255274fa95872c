"""Images over time through the data module, the generated and the rarer sources, and images of a folder.

Shapes: in memory `[N, C, H, W]`; batches `[1, B, C, H, W]`; on the device `[T, B, *]`.
"""

import math
import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import center_crop, resize

from snnrepro.data.augment import Augmentation
from snnrepro.data.encoding import columns, latency, latency_v1, pixel_order, pixels, rate, rows
from snnrepro.data.event_augment import EventAugmentation
from snnrepro.data.image_files import READERS, read_cifar_binary, read_cifar_pickle, read_yin_yang
from snnrepro.data.image_folder import read_image
from snnrepro.data.images import ImageDataModule, encoded_shape
from snnrepro.errors import UserError

DIGITS = {"source": "digits", "image_shape": [1, 8, 8], "num_classes": 10, "num_steps": 8, "pixel_max": 16.0}
DIGITS |= {"batch_size": 64, "num_workers": 0, "mean": [0.3], "std": [0.4]}


def module(folder="", protocol="validated", seed=0, augmentation=None, **options) -> ImageDataModule:
    made = ImageDataModule(str(folder), "", protocol, seed, augmentation or Augmentation(), **options)
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


def epoch(made: ImageDataModule, number: int) -> tuple[Tensor, Tensor]:
    loader = made.train_dataloader()
    loader.sampler.set_epoch(number)
    return whole(loader)


# --- encodings


@pytest.mark.parametrize(
    ("options", "encode", "shape"),
    [
        ({"encoding": "columns"}, columns, (8, 64, 1, 8)),
        ({"encoding": "rows"}, rows, (8, 64, 1, 8)),
        ({"encoding": "pixels", "num_steps": 64}, pixels, (64, 64, 1)),
        ({"encoding": "permuted_pixels", "num_steps": 64}, lambda x: pixels(x, pixel_order(64, 0)), (64, 64, 1)),
        (
            {"encoding": "permuted_pixels", "num_steps": 64, "permutation_seed": 5},
            lambda x: pixels(x, pixel_order(64, 5)),
            (64, 64, 1),
        ),
        ({"encoding": "repeat", "num_steps": 3}, lambda x: x.expand(3, 64, 1, 8, 8), (3, 64, 1, 8, 8)),
    ],
    ids=lambda value: None if callable(value) else str(value),
)
def test_normalised_images_are_laid_out_over_time(options, encode, shape):
    made = module(**DIGITS | options)
    x, y = next(iter(made.test_dataloader()))
    out, labels = made.prepare(x, y, training=False)
    assert out.shape == shape == (made.num_steps, 64, *made.input_shape)
    assert out.dtype == torch.float32
    assert torch.equal(labels, y)
    torch.testing.assert_close(out, encode((x / 16 - 0.3) / 0.4))


@pytest.mark.parametrize(
    ("encoding", "encode"), [("columns", columns), ("rows", rows), ("pixels", pixels), ("permuted_pixels", pixels)]
)
def test_the_shape_that_a_network_is_built_for_is_the_one_it_gets(encoding, encode):
    steps, shape = encoded_shape(encoding, (3, 5, 7))
    assert encode(torch.zeros(1, 2, 3, 5, 7)).shape == (steps, 2, *shape)


@pytest.mark.parametrize(("encoding", "encode"), [("latency", latency), ("latency_v1", latency_v1)])
@pytest.mark.parametrize("num_steps", [1, 30, 100])
def test_latencies_take_intensities_or_bytes_without_normalising(encoding, encode, num_steps):
    made = module(**DIGITS | {"encoding": encoding, "num_steps": num_steps, "pixel_max": 255.0})
    assert made.input_shape == (1, 8, 8)
    every_byte = torch.arange(256, dtype=torch.uint8).reshape(1, 4, 1, 8, 8)
    out, _ = made.prepare(every_byte, torch.zeros(4).long(), training=False)
    assert out.shape == (num_steps, 4, 1, 8, 8)
    wanted = every_byte.float() if encoding == "latency_v1" else every_byte.float() / 255
    assert torch.equal(out, encode(wanted, num_steps))
    assert set(out.unique().tolist()) <= {0, 1}


def test_rate_draws_are_the_same_at_every_evaluation_and_new_at_every_training_step():
    made = module(**DIGITS | {"encoding": "rate", "num_steps": 20})
    x, y = next(iter(made.test_dataloader()))
    torch.manual_seed(1)
    first, second = (made.prepare(x, y, training=False)[0] for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(first, rate(x.float() / 16, 20, torch.Generator().manual_seed(0)))
    assert torch.equal(module(seed=3, **DIGITS | {"encoding": "rate", "num_steps": 20}).prepare(x, y, False)[0], first)
    others = module(**DIGITS | {"encoding": "rate", "num_steps": 20, "split_seed": 1}).prepare(x, y, False)[0]
    assert not torch.equal(first, others)
    training = []
    for _ in range(2):
        torch.manual_seed(1)
        training += [made.prepare(x, y, training=True)[0] for _ in range(2)]
    assert torch.equal(training[0], training[2])
    assert torch.equal(training[1], training[3])
    assert not torch.equal(training[0], training[1])
    assert not torch.equal(training[0], first)
    for spikes in (first, training[0]):
        assert set(spikes.unique().tolist()) == {0, 1}
        assert float(spikes.mean()) == pytest.approx(float(x.float().mean()) / 16, abs=0.01)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"encoding": "rows", "num_steps": 7}, ("num_steps=7", "rows", "8 steps")),
        ({"encoding": "permuted_pixels", "num_steps": 8}, ("num_steps=8", "64 steps")),
        ({"encoding": "rate", "num_steps": 0}, ("num_steps",)),
        pytest.param({"augmentation": EventAugmentation(flip=0.5)}, ("flip", "events"), id="event augmentation"),
        ({"image_shape": [8, 8]}, ("dataset.image_shape",)),
        ({"image_shape": [1, 8, 9]}, ("(1, 8, 8)", "(1, 8, 9)")),
        ({"num_classes": 9}, ("dataset.num_classes=9", "9")),
        ({"batch_size": 1296}, ("dataset.batch_size=1296", "1,295")),
    ],
    ids=str,
)
def test_a_wrong_setting_is_one_line(options, words):
    message = complaint(**DIGITS | options)
    for word in words:
        assert word in message


# --- CIFAR-100


def cifar100_records(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coarse labels, fine labels, pixels `[n, 3072]`."""
    rng = np.random.default_rng(n)
    return rng.integers(0, 20, n), rng.integers(0, 100, n), rng.integers(0, 256, (n, 3072), dtype=np.uint8)


def test_binary_cifar100_gives_fine_labels_and_planes(tmp_path):
    coarse, fine, picture = cifar100_records(10)
    file = tmp_path / "train.bin"
    file.write_bytes(np.hstack([coarse[:, None], fine[:, None], picture]).astype(np.uint8).tobytes())
    x, y = read_cifar_binary(file, 10, label_bytes=2)
    assert y.tolist() == fine.tolist()
    assert np.array_equal(x, picture.reshape(10, 3, 32, 32))
    bad = bytearray(file.read_bytes())
    bad[1] = 100
    for spoilt, why in ((bytes(bad), "100"), (bytes(bad)[:-1], "30,739 bytes"), (bytes(bad) + b"0", "30,741 bytes")):
        file.write_bytes(spoilt)
        with pytest.raises(UserError, match=why) as caught:
            read_cifar_binary(file, 10, label_bytes=2)
        assert str(file) in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1


def test_python_cifar100_gives_fine_labels(tmp_path):
    coarse, fine, picture = cifar100_records(10)
    batch = {b"data": picture, b"fine_labels": fine.tolist(), b"coarse_labels": coarse.tolist(), b"filenames": []}
    file = tmp_path / "train"
    file.write_bytes(pickle.dumps(batch))
    x, y = read_cifar_pickle(file, 10, b"fine_labels")
    assert y.tolist() == fine.tolist()
    assert np.array_equal(x, picture.reshape(10, 3, 32, 32))
    for spoilt in (
        batch | {b"fine_labels": [100] * 10},
        batch | {b"fine_labels": [0] * 9},
        {key: batch[key] for key in (b"data", b"coarse_labels")},
    ):
        file.write_bytes(pickle.dumps(spoilt))
        with pytest.raises(UserError) as caught:
            read_cifar_pickle(file, 10, b"fine_labels")
        assert str(file) in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1


@pytest.mark.slow
def test_cifar100_is_read_whole_from_both_layouts(tmp_path):
    """Files with holes: 60,000 black images, of which one in each part is not."""
    binary, python = tmp_path / "a" / "cifar-100-binary", tmp_path / "b" / "cifar-100-python"
    for folder in (binary, python):
        folder.mkdir(parents=True)
    for name, count, fine in (("train", 50_000, 99), ("test", 10_000, 98)):
        with (binary / f"{name}.bin").open("wb") as stream:
            stream.seek(3074 * (count - 1))
            stream.write(bytes([19, fine]) + b"\7" * 3072)
        picture = np.zeros((count, 3072), np.uint8)
        picture[-1] = 7
        labels = [0] * (count - 1)
        with (python / name).open("wb") as stream:
            pickle.dump({b"data": picture, b"fine_labels": [*labels, fine], b"coarse_labels": [*labels, 19]}, stream)
    for folder in (tmp_path / "a", tmp_path / "b"):
        train_x, train_y, test_x, test_y = READERS["cifar100"](folder)
        assert (train_x.shape, test_x.shape) == ((50_000, 3, 32, 32), (10_000, 3, 32, 32))
        assert (train_y[-1], test_y[-1], train_y[:-1].max(), test_y[:-1].max()) == (99, 98, 0, 0)
        assert (train_x[-1] == 7).all()
        assert (test_x[-1] == 7).all()
        assert not train_x[-2].any()
    (binary / "test.bin").unlink()
    with pytest.raises(UserError, match=r"test.bin not found"):
        READERS["cifar100"](tmp_path / "a")
    with pytest.raises(UserError, match="cifar-100-python/ or cifar-100-binary/"):
        READERS["cifar100"](tmp_path)


# --- Yin-Yang


@pytest.fixture(scope="module")
def yin_yang_points():
    return read_yin_yang(Path())


def by_the_rule(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """0 and 1 where the S between two half circles of radius 1/4 divides the disc, 2 in the two dots."""
    point, right, left = x + 1j * y, 0.75 + 0.5j, 0.25 + 0.5j
    upper = y > 0.5
    second = (
        (upper & (abs(point - right) > 0.25)) | (~upper & (abs(point - left) <= 0.25)) | (abs(point - left) <= 0.25)
    )
    dots = (abs(point - right) < 0.1) | (abs(point - left) < 0.1)
    return np.where(dots, 2, second.astype(int))


def test_yin_yang_points_lie_in_the_disc_and_follow_the_rule(yin_yang_points):
    train_x, train_y, test_x, test_y = yin_yang_points
    for points, classes in ((train_x, train_y), (test_x, test_y)):
        assert points.shape == (10_000, 1, 1, 4)
        assert points.dtype == np.float32
        assert classes.dtype == np.int64
        x, y, not_x, not_y = points.reshape(-1, 4).T.astype(float)
        np.testing.assert_allclose((x + not_x, y + not_y), 1, atol=1e-7)
        assert (np.hypot(x - 0.5, y - 0.5) <= 0.5).all()
        # A point within rounding of a border may fall on either side.
        assert (by_the_rule(x, y) != classes).sum() <= 1
        counts = np.bincount(classes, minlength=3)
        assert len(counts) == 3
        assert (abs(counts - 10_000 / 3) < 6 * math.sqrt(10_000 * 2 / 9)).all()
        for k, middle in ((0, (0.75, 0.65)), (1, (0.25, 0.65)), (2, (0.25, 0.5)), (2, (0.75, 0.5))):
            near = np.hypot(x - middle[0], y - middle[1]) < 0.04
            assert near.any()
            assert (classes[near] == k).all()


def test_yin_yang_is_the_same_every_time_and_other_points_to_test_on(yin_yang_points):
    again = read_yin_yang(Path("elsewhere"))
    assert all(np.array_equal(a, b) for a, b in zip(yin_yang_points, again, strict=True))
    train, test = ({row.tobytes() for row in x.reshape(-1, 4)} for x in (again.train_x, again.test_x))
    assert len(train) == len(test) == 10_000
    assert not train & test


def test_yin_yang_draws_are_those_of_its_authors(yin_yang_points):
    """A class is drawn, then points until one has it, with NumPy's old generator: seed 42 to train on, 0 to test on."""
    for seed, points, classes in ((42, *yin_yang_points[:2]), (0, *yin_yang_points[2:])):
        draws = np.random.RandomState(seed)
        for i in range(300):
            goal, found = draws.randint(3), None
            while found != goal:
                x, y = draws.rand(2)
                found = int(by_the_rule(x, y)) if math.hypot(x - 0.5, y - 0.5) <= 0.5 else None
            assert classes[i] == goal
            np.testing.assert_allclose(points[i, 0, 0], [x, y, 1 - x, 1 - y], rtol=1e-6)


def test_yin_yang_points_are_four_spikes_the_earlier_the_larger():
    made = module(
        source="yin_yang", image_shape=[1, 1, 4], num_classes=3, num_steps=50, encoding="latency", pixel_max=1
    )
    assert made.splits == {"train": 9000, "train_available": 9000, "validation": 1000, "test": 10_000}
    x, y = next(iter(made.test_dataloader()))
    assert x.shape == (1, 128, 1, 1, 4)
    out, _ = made.prepare(x, y, training=False)
    assert out.shape == (50, 128, 1, 1, 4)
    assert (out.sum(0) == 1).all()
    assert torch.equal(out.argmax(0), ((1 - x[0].double()) * 49).floor().long())
    assert made.class_names == ("yin", "yang", "dot")


# --- folders of images

SYNSETS = ("n01440764", "n02085620", "n03000684")
FOLDER = {"source": "imagenet", "image_shape": [3, 14, 14], "num_classes": 3, "num_steps": 2, "batch_size": 4}
FOLDER |= {"num_workers": 0, "allow_partial": True, "validation_fraction": 0.34}


@pytest.fixture
def folder(tmp_path) -> Path:
    """Six images of each synset to train on and three to test on, colour by synset and number, made out of order."""
    rng = np.random.default_rng(0)
    for part, count in (("val", 3), ("train", 6)):
        for label in (2, 0, 1):
            place = tmp_path / "imagenet" / part / SYNSETS[label]
            place.mkdir(parents=True)
            for n in range(count):
                picture = rng.integers(0, 200, (30 + n, 40, 3), dtype=np.uint8)
                picture[..., label] |= 0xC0
                Image.fromarray(picture).save(place / f"{SYNSETS[label]}_{n}.JPEG", quality=95)
    (tmp_path / "imagenet" / "train" / SYNSETS[0] / "notes.txt").write_text("not an image")
    (tmp_path / "imagenet" / "LOC_synset_mapping.txt").write_text("not a folder")
    return tmp_path


def test_labels_are_the_places_of_the_synsets_in_their_order(folder):
    made = module(folder, **FOLDER)
    for loader in (made.train_dataloader(), made.val_dataloader(), made.test_dataloader()):
        x, y = whole(loader)
        assert x.dtype == torch.uint8
        assert x.shape[0] == 1
        assert x.shape[2:] == (3, 14, 14)
        assert x[0].float().mean((2, 3)).argmax(1).tolist() == y.tolist()
    assert whole(made.test_dataloader())[1].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert made.class_names == SYNSETS
    assert made.splits == {"train": 12, "train_available": 12, "validation": 6, "test": 9}
    out, _ = made.prepare(*next(iter(made.test_dataloader())), training=False)
    assert out.shape == (2, 4, 3, 14, 14)


def test_a_part_of_imagenet_is_refused_or_recorded(folder):
    message = complaint(folder, **FOLDER | {"allow_partial": False})
    assert "18 of 1,281,167 (train), 9 of 50,000 (test)" in message
    assert "dataset.allow_partial=true" in message
    facts = module(folder, **FOLDER).facts
    assert facts["partial"] is True
    assert facts["recordings"] == {"train": 18, "test": 9}
    assert facts["official"] == {"train": 1_281_167, "test": 50_000}


def test_test_images_are_the_middle_of_the_scaled_image(folder):
    made = module(folder, **FOLDER)
    x, _ = whole(made.test_dataloader())
    files = sorted((folder / "imagenet" / "val").glob("*/*.JPEG"))
    for b, file in enumerate(files):
        picture = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)
        shorter = 16  # 256 / 224 of 14
        longer = int(shorter * picture.shape[2] / picture.shape[1])
        scaled = resize(picture, [shorter, longer], antialias=True)
        assert torch.equal(x[0, b], center_crop(scaled, [14, 14]))
    again, _ = whole(made.test_dataloader())
    assert torch.equal(x, again)
    one_by_one, _ = whole(module(folder, seed=5, **FOLDER | {"batch_size": 1}).test_dataloader())
    assert torch.equal(x, one_by_one)


def test_a_test_image_that_needs_no_scaling_is_cut_out_exactly(folder):
    picture = np.random.default_rng(1).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(picture).save(folder / "imagenet" / "val" / SYNSETS[0] / "a.png")
    x, _ = whole(module(folder, **FOLDER).test_dataloader())
    assert np.array_equal(x[0, 0].permute(1, 2, 0), picture[1:15, 1:15])


def test_training_images_are_random_parts_drawn_by_seed_and_epoch(folder):
    first, again, other = (module(folder, seed=seed, **FOLDER) for seed in (0, 0, 1))
    drawn = epoch(first, 1)
    assert torch.equal(drawn[0], epoch(again, 1)[0])
    for different in (epoch(first, 2), epoch(other, 1)):
        by_label = [x[0][y.argsort(stable=True)] for x, y in (drawn, different)]
        assert not torch.equal(*by_label)
    # The same image is never cut twice in the same place, and one batch's images not alike.
    one = next(iter((folder / "imagenet" / "train" / SYNSETS[0]).glob("*.JPEG")))
    for file in (folder / "imagenet" / "train").glob("*/*.JPEG"):
        if file != one:
            file.write_bytes(one.read_bytes())
    x, _ = epoch(module(folder, **FOLDER), 0)
    assert len({image.numpy().tobytes() for image in x[0]}) == 12
    state = torch.get_rng_state()
    epoch(first, 3)
    assert torch.equal(state, torch.get_rng_state())


def test_loader_processes_give_the_same_images(folder):
    alone, helped = (module(folder, **FOLDER | {"num_workers": workers}) for workers in (0, 2))
    assert helped.train_dataloader().num_workers == helped.test_dataloader().num_workers == 2
    assert torch.equal(epoch(alone, 1)[0], epoch(helped, 1)[0])
    assert torch.equal(whole(alone.test_dataloader())[0], whole(helped.test_dataloader())[0])


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGBA", "P", "1", "I;16"])
def test_images_of_every_kind_have_three_channels(tmp_path, mode):
    file = tmp_path / ("image.jpeg" if mode in ("L", "CMYK") else "image.png")
    Image.fromarray(np.full((5, 7), 255, np.uint8)).convert("RGB" if mode == "CMYK" else "L").convert(mode).save(file)
    image = read_image(file)
    assert image.shape == (3, 5, 7)
    assert image.dtype == torch.uint8
    assert (image[:, 0, 0] == image[0, 0, 0]).all()


def test_a_file_that_is_no_image_is_named(tmp_path):
    file = tmp_path / "image.JPEG"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(file, "JPEG")
    good = file.read_bytes()
    assert read_image(file).shape == (3, 40, 40)
    for bad in (good[: len(good) // 2], good[:10], b"", b"<html>" * 100):
        file.write_bytes(bad)
        with pytest.raises(UserError) as caught:
            read_image(file)
        assert str(file) in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1
    file.unlink()
    file.symlink_to("nowhere")
    with pytest.raises(UserError, match=file.name):
        read_image(file)


def test_an_image_of_absurd_size_is_named(tmp_path):
    """A head that claims 20,000 x 20,000 pixels, which Pillow refuses to make room for."""
    file = tmp_path / "image.png"
    chunks = (b"IHDR" + struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0), b"IDAT" + zlib.compress(bytes(100)))
    packed = [struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks]
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(packed))
    with pytest.raises(UserError) as caught:
        read_image(file)
    assert str(file) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"image_shape": [1, 14, 14]}, ("dataset.image_shape", "3")),
        ({"num_classes": 2}, ("dataset.num_classes=2", "2")),
        ({"batch_size": 13}, ("dataset.batch_size=13", "12")),
    ],
    ids=str,
)
def test_a_wrong_setting_for_a_folder_of_images_is_one_line(folder, options, words):
    message = complaint(folder, **FOLDER | options)
    for word in words:
        assert word in message


def test_a_folder_without_images_is_one_line_that_names_it(tmp_path):
    assert str(tmp_path) in complaint(tmp_path, **FOLDER)
    for part in ("train", "val"):
        (tmp_path / "imagenet" / part).mkdir(parents=True)
    assert str(tmp_path) in complaint(tmp_path, **FOLDER)
    (tmp_path / "imagenet" / "train" / SYNSETS[0]).mkdir()
    assert "train set holds no sample" in complaint(tmp_path, **FOLDER)


@pytest.mark.parametrize("part", ["train", "val"])
def test_a_damaged_image_met_in_a_loader_process_is_one_line_of_a_run(folder, train, part):
    bad = folder / "imagenet" / part / SYNSETS[1] / f"{SYNSETS[1]}_1.JPEG"
    bad.write_bytes(bad.read_bytes()[:300])
    words = [f"dataset.{key}={value}" for key, value in FOLDER.items() if key not in ("source", "num_workers")]
    words += ["dataset=imagenet", "dataset.num_workers=1", "architecture=dense", "architecture.hidden=[8]"]
    code, _, err = train(*(word.replace(" ", "") for word in words), "trainer.max_epochs=1", f"paths.data_dir={folder}")
    assert code == 1
    (line,) = [line for line in err.splitlines() if line.strip()]
    assert line.startswith(f"error: {bad.resolve()} cannot be read as an image")
