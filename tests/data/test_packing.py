"""Packed frames come back exactly, in whatever order, and take the smaller of two forms on disk.

Shapes: a sample `[T, *]`, a batch `[T, B, *]`.
"""

import math
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from snnrepro.data.cache import Packed
from snnrepro.data.packing import PartWriter

COUNTS = [0, 1, 2, 254, 255, 256, 300, 510, 511, 2**15 - 1, 2**15, 2**16 - 1, 70_000]


def packed(folder: Path, samples, shape=None, dtype="counts", part="train", labels=None) -> Packed:
    """Write the samples, then read the files as the writer says they lie."""
    writer = PartWriter(folder, part, shape or samples[0].shape, dtype)
    for i, sample in enumerate(samples):
        writer.append(sample, labels[i] if labels else i)
    held = writer.finish()
    arrays = {}
    for name, spec in held["arrays"].items():
        arrays[name] = np.fromfile(folder / spec["file"], spec["dtype"]).reshape(spec["shape"])
    assert {spec["file"] for spec in held["arrays"].values()} == {f.name for f in folder.glob(f"{part}.*")}
    return Packed(arrays.pop("labels"), tuple(held["shape"]), held["dtype"], arrays)


def smallest_exact(largest: int) -> str:
    """Of the types that torch has."""
    return "uint8" if largest < 2**8 else "int16" if largest < 2**15 else "int32"


def bytes_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir() if not file.name.endswith(".labels"))


@st.composite
def recordings(draw):
    shape = draw(st.sampled_from([(1,), (5,), (1, 1), (3, 7), (1, 2, 3, 3), (4, 2, 1, 5), (2, 3, 2)]))
    kind = draw(st.sampled_from([np.uint8, np.uint16, np.uint32]))
    allowed = [count for count in COUNTS if count <= np.iinfo(kind).max]
    values = st.sampled_from(draw(st.lists(st.sampled_from(allowed), min_size=1, max_size=4, unique=True)))
    fill = draw(st.sampled_from([st.just(0), st.just(allowed[-1]), st.nothing()]))
    samples = draw(st.lists(hnp.arrays(kind, shape, elements=values, fill=fill), min_size=1, max_size=6))
    rows = draw(st.lists(st.integers(0, len(samples) - 1), min_size=1, max_size=9))
    return samples, rows


@settings(deadline=None, max_examples=100)
@given(recordings())
def test_a_batch_is_what_was_appended_in_the_order_of_its_rows(case):
    samples, rows = case
    with TemporaryDirectory() as folder:
        part = packed(Path(folder), samples)
    batch = part.batch(np.array(rows))
    np.testing.assert_array_equal(batch, np.stack([samples[row] for row in rows], axis=1))
    assert batch.dtype == smallest_exact(max(int(sample.max()) for sample in samples))


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("density", [0.002, 1.0])
def test_any_count_survives_in_either_form(tmp_path, count, density):
    rng = np.random.default_rng(count)
    samples = [((rng.random((4, 2, 25, 5)) < density) * count).astype(np.uint32) for _ in range(3)]
    part = packed(tmp_path, samples)
    batch = part.batch(np.array([2, 0, 0, 1]))
    np.testing.assert_array_equal(batch, np.stack([samples[row] for row in (2, 0, 0, 1)], axis=1))
    assert batch.dtype == part.dtype == smallest_exact(count)


def test_large_and_small_counts_of_one_set_do_not_disturb_each_other(tmp_path):
    """The first count above 255 comes after samples that were written without any."""
    samples = [np.zeros((2, 400), np.uint32) for _ in range(5)]
    for sample, places in zip(samples, ({3: 1}, {4: 255, 5: 2}, {0: 70_000, 399: 3}, {}, {7: 256, 8: 1}), strict=True):
        for place, count in places.items():
            sample[1, place] = count
    part = packed(tmp_path, samples)
    assert "positions" in part.arrays
    np.testing.assert_array_equal(part.batch(np.arange(5)), np.stack(samples, axis=1))


@pytest.mark.parametrize(
    ("shape", "width"),
    [((5, 13_107), 2), ((4, 2, 64, 128), 2), ((65_537,), 4), ((1, 65_537), 4), ((3, 2, 128, 128), 4)],
)
def test_positions_take_two_bytes_as_long_as_they_fit(tmp_path, shape, width):
    samples = [np.zeros(math.prod(shape), np.uint16) for _ in range(2)]
    samples[0][[0, -1]] = 1, 9
    samples[1][-2] = 1
    samples = [sample.reshape(shape) for sample in samples]
    part = packed(tmp_path, samples)
    assert part.arrays["positions"].itemsize == width
    np.testing.assert_array_equal(part.batch(np.array([1, 0])), np.stack(samples[::-1], axis=1))


@pytest.mark.parametrize("largest", [1, 2, 255, 300, 510, 40_000])
@pytest.mark.parametrize("nonzero", [0, 1, 10, 250, 300, 330, 340, 480, 490, 500, 505, 510, 900, 1000])
def test_the_smaller_form_is_kept(tmp_path, largest, nonzero):
    samples = [np.zeros((4, 250), np.uint32) for _ in range(10)]
    rng = np.random.default_rng(nonzero)
    for sample in samples:
        sample.reshape(-1)[rng.choice(1000, nonzero, replace=False)] = largest
    part = packed(tmp_path, samples)
    largest = largest if nonzero else 0
    entries = 10 * nonzero * max(1, math.ceil(largest / 255))
    sparse = 8 * 11 + entries * (2 if largest < 2 else 3)  # positions of 2 bytes, and 1 for a count where there is one
    dense = 10 * 1000 * np.dtype(smallest_exact(largest)).itemsize
    assert bytes_of(tmp_path) == min(sparse, dense)
    np.testing.assert_array_equal(part.batch(np.arange(10)), np.stack(samples, axis=1))


def test_many_dense_samples_keep_their_order(tmp_path):
    samples = list(np.random.default_rng(0).integers(1, 256, (150, 3, 2, 4), dtype=np.uint16))
    part = packed(tmp_path, samples)
    assert "frames" in part.arrays
    np.testing.assert_array_equal(part.batch(np.arange(150)), np.stack(samples, axis=1))


def test_empty_samples_are_zeros_wherever_they_stand(tmp_path):
    empty, one = np.zeros((3, 100), np.uint16), np.zeros((3, 100), np.uint16)
    one[2, 99] = 1
    samples = [empty, empty, one, empty, one, empty]
    part = packed(tmp_path, samples)
    np.testing.assert_array_equal(part.batch(np.array([5, 4, 3, 2, 1, 0])), np.stack(samples[::-1], axis=1))


@pytest.mark.parametrize("dtype", ["counts", "float16"])
def test_a_part_without_samples_is_a_part(tmp_path, dtype):
    part = packed(tmp_path, [], (3, 5), dtype)
    assert len(part.labels) == 0
    assert part.shape == (3, 5)


def test_frames_that_do_not_lie_in_order_in_memory_are_packed_in_order(tmp_path):
    frames = np.arange(24, dtype=np.uint16).reshape(4, 3, 2)
    reals = frames.astype(np.float16)
    for part, whole, dtype in (("counts", frames, "counts"), ("reals", reals, "float16")):
        turned = whole.transpose(2, 0, 1)
        back = packed(tmp_path, [turned, turned[::-1]], dtype=dtype, part=part).batch(np.array([0, 1]))
        np.testing.assert_array_equal(back, np.stack([turned, turned[::-1]], axis=1))


def test_labels_and_parts_are_kept_apart(tmp_path):
    first, second = np.full((1, 4), 7, np.uint8), np.full((1, 4), 8, np.uint8)
    train = packed(tmp_path, [first] * 3, labels=[4, 0, 9], part="train")
    test = packed(tmp_path, [second] * 2, labels=[1, 2], part="test")
    assert (train.labels.tolist(), test.labels.tolist()) == ([4, 0, 9], [1, 2])
    assert (train.batch(np.array([0])) == 7).all()
    assert (test.batch(np.array([1])) == 8).all()


@settings(deadline=None, max_examples=50)
@given(hnp.arrays(np.uint16, st.tuples(*map(st.integers, (1, 1, 1), (5, 3, 4)))), st.data())
def test_real_numbers_come_back_bit_by_bit(bits, data):
    """Not-a-numbers, signed zeros and subnormal numbers among them."""
    samples = list(bits.view(np.float16))
    rows = data.draw(st.lists(st.integers(0, len(samples) - 1), min_size=1, max_size=6))
    with TemporaryDirectory() as folder:
        part = packed(Path(folder), samples, dtype="float16")
    batch = part.batch(np.array(rows))
    assert batch.dtype == np.float16
    np.testing.assert_array_equal(batch.view(np.uint16), np.stack([bits[row] for row in rows], axis=1))
