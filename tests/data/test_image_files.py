"""The readers on the real files, and on files that are missing, cut short, wrong or hostile."""

import gzip
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from snnrepro.data.image_files import (
    READERS,
    read_cifar10,
    read_cifar_binary,
    read_cifar_pickle,
    read_idx,
    read_mnist,
)
from snnrepro.errors import UserError

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "dataset"
BATCHES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
FOLDERS = {"mnist": "MNIST/raw", "fashion_mnist": "FashionMNIST/raw", "cifar10": "cifar-10-batches-bin"}
# The counts that the data sets' own pages print.
MNIST_TRAIN = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
MNIST_TEST = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
CLASSES = {"mnist": (MNIST_TRAIN, MNIST_TEST), "fashion_mnist": ([6000] * 10, [1000] * 10)}
CLASSES["cifar10"] = ([5000] * 10, [1000] * 10)


def complaint(read, *args) -> str:
    with pytest.raises(UserError) as caught:
        read(*args)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def array_or_complaint(file: Path) -> np.ndarray | str:
    try:
        return read_idx(file)
    except UserError as error:
        return str(error)


def idx_bytes(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def idx_folder(folder: Path, **replaced: bytes) -> Path:
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for split, n in (("train", 20), ("t10k", 10)):
        images = np.arange(n * 6, dtype=np.uint8).reshape(n, 2, 3)
        (raw / f"{split}-images-idx3-ubyte").write_bytes(replaced.get(f"{split}_images", idx_bytes(images)))
        labels = (np.arange(n) % 10).astype(np.uint8)
        (raw / f"{split}-labels-idx1-ubyte").write_bytes(replaced.get(f"{split}_labels", idx_bytes(labels)))
    return raw


def official_pickle(pixels: np.ndarray, labels: list[int]) -> bytes:
    """The opcodes of the files that Python 2 wrote: byte strings, the old NumPy module, integers for booleans."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R("
    array += b"K\x01" + b"".join(b"J" + struct.pack("<i", size) for size in pixels.shape) + b"\x86"
    array += b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R(K\x03" + text(b"|")
    array += b"NNN" + b"J\xff\xff\xff\xff" * 2 + b"K\x00tb\x89"
    array += b"T" + struct.pack("<i", pixels.nbytes) + pixels.tobytes() + b"tb"
    listed = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(" + text(b"labels") + listed + text(b"data") + array + text(b"filenames") + b"]u."


@pytest.fixture(scope="module", params=FOLDERS)
def real(request, real_data):
    return request.param, READERS[request.param](real_data(request.param))


def test_real_data_has_its_official_shapes_dtypes_and_class_counts(real):
    name, data = real
    images, shape = (50_000, (3, 32, 32)) if name == "cifar10" else (60_000, (1, 28, 28))
    assert [a.shape for a in data] == [(images, *shape), (images,), (10_000, *shape), (10_000,)]
    assert [a.dtype for a in data] == [np.uint8, np.int64, np.uint8, np.int64]
    assert (np.bincount(data.train_y).tolist(), np.bincount(data.test_y).tolist()) == CLASSES[name]


def test_mean_and_deviation_of_the_real_training_set_are_those_of_the_config(real):
    name, data = real
    config, values = OmegaConf.load(CONFIGS / f"{name}.yaml"), np.arange(256) / 255
    pixels = np.stack([np.bincount(channel.ravel(), minlength=256) for channel in data.train_x.swapaxes(0, 1)])
    share = pixels / pixels.sum(1, keepdims=True)
    np.testing.assert_allclose(share @ values, config.mean, atol=1e-4)
    if name != "cifar10":  # its published deviations are the average over images, not of all pixels
        np.testing.assert_allclose(np.sqrt(share @ values**2 - (share @ values) ** 2), config.std, atol=1e-4)


def test_mnist_keeps_the_order_of_its_files(real_data):
    data = read_mnist(real_data("mnist"))
    assert data.train_y[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert data.test_y[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]


def test_cifar_binary_record_is_a_label_then_the_red_green_and_blue_planes(real_data):
    folder = real_data("cifar10")
    data = read_cifar10(folder)
    record = (folder / "cifar-10-batches-bin" / "data_batch_3.bin").read_bytes()[7 * 3073 : 8 * 3073]
    assert data.train_y[20_007] == record[0]
    for c, h, w in [(0, 0, 0), (0, 3, 17), (1, 30, 2), (2, 31, 31)]:
        assert data.train_x[20_007, c, h, w] == record[1 + c * 1024 + h * 32 + w]


def test_cifar_pickle_layout_reads_exactly_as_the_binary_layout(real_data, tmp_path):
    binary = read_cifar10(real_data("cifar10"))
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    pixels = np.concatenate([binary.train_x, binary.test_x]).reshape(6, 10_000, 3072)
    labels = np.concatenate([binary.train_y, binary.test_y]).reshape(6, 10_000)
    for name, x, y in zip(BATCHES, pixels, labels, strict=True):
        (folder / name).write_bytes(pickle.dumps({b"data": x, b"labels": y.tolist()}, protocol=2))
    for ours, theirs in zip(read_cifar10(tmp_path), binary, strict=True):
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs)


def test_cifar_pickle_as_python_2_wrote_it_is_read(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (10_000, 3072), dtype=np.uint8)
    labels = [i * 7 % 10 for i in range(10_000)]
    (tmp_path / "batch").write_bytes(official_pickle(pixels, labels))
    x, y = read_cifar_pickle(tmp_path / "batch")
    assert np.array_equal(x.reshape(10_000, 3072), pixels)
    assert y.tolist() == labels


def test_idx_with_gz_reads_exactly_as_the_plain_one(real_data, tmp_path):
    plain = real_data("mnist") / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
    (tmp_path / "x.gz").write_bytes(gzip.compress(plain.read_bytes(), 1))
    assert np.array_equal(read_idx(tmp_path / "x"), read_idx(plain))


def test_small_idx_folder_is_read_with_a_channel_axis(tmp_path):
    idx_folder(tmp_path)
    data = read_mnist(tmp_path)
    assert data.train_x[:, 0].ravel().tolist() == list(range(120))
    assert (data.train_x.shape, data.test_x.shape) == ((20, 1, 2, 3), (10, 1, 2, 3))
    assert data.test_y.tolist() == list(range(10))


@pytest.mark.parametrize(("cut", "held"), [(3000, "3,000"), (16, "16"), (3937, "3,937")])
def test_idx_file_cut_short_or_too_long_is_named_with_its_expected_size(tmp_path, cut, held):
    file = tmp_path / "train-images-idx3-ubyte"
    file.write_bytes((idx_bytes(np.zeros((5, 28, 28), np.uint8)) + b"more")[:cut])
    message = complaint(read_idx, file)
    assert str(file) in message
    assert f" {held} bytes" in message
    assert "3,936" in message


NOT_IDX = {"empty": b"", "cut magic": b"\0\0\x08", "magic only": b"\0\0\x08\x03", "png": b"\x89PNG\r\n\x1a\n"}
NOT_IDX |= {
    "floats": b"\0\0\x0d\x01\0\0\0\0",
    "no dimension": b"\0\0\x08\0",
    "five sizes": b"\0\0\x08\x05" + b"\0\0\0\1" * 5 + b"\7",
}


@pytest.mark.parametrize("kind", NOT_IDX)
def test_file_that_is_not_idx_is_refused_by_name(tmp_path, kind):
    file = tmp_path / "train-images-idx3-ubyte"
    file.write_bytes(NOT_IDX[kind])
    assert f"{file} is not an idx file" in complaint(read_idx, file)


def test_idx_header_with_a_zero_and_impossible_sizes_is_refused(tmp_path):
    (tmp_path / "x").write_bytes(b"\0\0\x08\x03" + struct.pack(">3I", 0, 2**32 - 1, 2**32 - 1))
    assert str(tmp_path / "x") in complaint(read_idx, tmp_path / "x")


def test_missing_idx_file_is_named_with_its_gz(tmp_path):
    (idx_folder(tmp_path) / "t10k-labels-idx1-ubyte").unlink()
    assert "t10k-labels-idx1-ubyte not found (nor t10k-labels-idx1-ubyte.gz)" in complaint(read_mnist, tmp_path)


def test_truncated_gz_is_refused_wherever_it_is_cut(tmp_path):
    packed = gzip.compress(idx_bytes(np.arange(60, dtype=np.uint8).reshape(5, 3, 4)), mtime=0)
    for cut in range(len(packed)):
        (tmp_path / "x.gz").write_bytes(packed[:cut])
        assert str(tmp_path / "x") in complaint(read_idx, tmp_path / "x")


def test_gz_with_one_damaged_byte_reads_right_or_is_refused(tmp_path):
    array = np.random.default_rng(0).integers(0, 4, (5, 3, 4), dtype=np.uint8)
    packed = gzip.compress(idx_bytes(array), mtime=0)
    for i in range(len(packed)):
        (tmp_path / "x.gz").write_bytes(packed[:i] + bytes([packed[i] ^ 0x55]) + packed[i + 1 :])
        result = array_or_complaint(tmp_path / "x")
        assert isinstance(result, str) or np.array_equal(result, array)


def test_wrong_content_of_a_gz_is_named_by_the_gz(tmp_path):
    (tmp_path / "x.gz").write_bytes(gzip.compress(idx_bytes(np.zeros(9, np.uint8))[:-1]))
    assert str(tmp_path / "x.gz") in complaint(read_idx, tmp_path / "x")


MISFITS = [("train_labels", (19,)), ("train_labels", (20, 1)), ("t10k_images", (10,))]


@pytest.mark.parametrize(("file", "shape"), MISFITS)
def test_images_and_labels_that_do_not_fit_are_refused_with_their_shapes(tmp_path, file, shape):
    raw = idx_folder(tmp_path, **{file: idx_bytes(np.zeros(shape, np.uint8))})
    message = complaint(read_mnist, tmp_path)
    assert f"{raw}: {file.partition('_')[0]}" in message
    assert str(shape) in message


def test_idx_label_out_of_range_is_refused_with_the_range(tmp_path):
    raw = idx_folder(tmp_path, t10k_labels=idx_bytes(np.array([0] * 9 + [10], np.uint8)))
    message = complaint(read_mnist, tmp_path)
    assert str(raw) in message
    assert "0 to 10, expected 0 to 9" in message


def test_idx_label_out_of_range_names_the_labels_file(tmp_path):
    idx_folder(tmp_path, t10k_labels=idx_bytes(np.array([0] * 9 + [10], np.uint8)))
    assert "t10k" in complaint(read_mnist, tmp_path)


@given(
    st.one_of(
        st.binary(max_size=40),
        st.builds(
            lambda sizes, rest: bytes([0, 0, 8, len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes) + rest,
            st.lists(st.integers(0, 4), min_size=1, max_size=5) | st.tuples(st.integers(0, 2), st.just(2**32 - 1)),
            st.binary(max_size=64),
        ),
        st.lists(st.integers(0, 3), min_size=1, max_size=4).map(lambda s: idx_bytes(np.full(s, 7, np.uint8))),
    )
)
@settings(derandomize=True, deadline=None, max_examples=300)
def test_any_bytes_as_idx_give_the_array_or_a_user_error(tmp_path_factory, data):
    file = tmp_path_factory.getbasetemp() / "any-idx"
    file.write_bytes(data)
    result = array_or_complaint(file)
    if isinstance(result, str):
        assert str(file) in result
        assert "\n" not in result
    else:
        assert idx_bytes(result) == data


@pytest.mark.parametrize("size", [0, 1, 3073 * 9_999, 3073 * 10_000 - 1, 3073 * 10_000 + 1])
def test_cifar_binary_of_another_size_is_named_with_both_sizes(tmp_path, size):
    file = tmp_path / "data_batch_1.bin"
    file.write_bytes(bytes(size))
    message = complaint(read_cifar_binary, file)
    assert str(file) in message
    assert f" {size:,} bytes" in message
    assert "30,730,000" in message


def test_cifar_binary_label_out_of_range_is_refused_by_name(tmp_path):
    data = np.zeros((10_000, 3073), np.uint8)
    data[4321, 0] = 10
    data.tofile(tmp_path / "test_batch.bin")
    message = complaint(read_cifar_binary, tmp_path / "test_batch.bin")
    assert "test_batch.bin" in message
    assert "0 to 10, expected 0 to 9" in message


@pytest.mark.parametrize(("folder", "file"), [("bin", "data_batch_1.bin"), ("py", "data_batch_1")])
def test_missing_cifar_file_is_named(tmp_path, folder, file):
    (tmp_path / f"cifar-10-batches-{folder}").mkdir()
    assert str(tmp_path / f"cifar-10-batches-{folder}" / file) + " not found" in complaint(read_cifar10, tmp_path)


@pytest.mark.parametrize("name", FOLDERS)
def test_missing_folder_is_named_with_the_command_that_mends_it(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    message = complaint(READERS[name], Path("nowhere"))
    assert str(tmp_path.resolve() / "nowhere") in message
    assert FOLDERS[name] in message
    assert f"python train.py dataset={name} paths.data_dir=" in message


@pytest.mark.parametrize("read", [read_idx, read_cifar_pickle, pytest.param(read_cifar_binary)])
def test_directory_in_place_of_a_file_is_refused_by_name(tmp_path, read):
    assert str(tmp_path) in complaint(read, tmp_path)


class Hostile:
    """Asks the unpickler to call `function(argument)`."""

    def __init__(self, function, argument):
        self.call = function, (argument,)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("function", [os.system, eval, exec, os.mkdir], ids=lambda f: f.__name__)
def test_pickle_that_asks_for_a_function_is_refused_and_nothing_runs(tmp_path, function, protocol):
    mark = tmp_path / "mark"
    python = f"__import__('os').mkdir({str(mark)!r})"
    argument = {os.system: f"mkdir '{mark}'", os.mkdir: str(mark)}.get(function, python)
    data = pickle.dumps({b"data": Hostile(function, argument), b"labels": [0]}, protocol=protocol)
    (tmp_path / "data_batch_1").write_bytes(data)
    message = complaint(read_cifar_pickle, tmp_path / "data_batch_1")
    assert not mark.exists()
    assert str(tmp_path / "data_batch_1") in message
    assert f".{function.__name__}" in message
    pickle.loads(data)  # what the reader kept from running
    assert mark.exists()


def test_pickle_cannot_reach_past_an_allowed_name_by_a_dot(tmp_path):
    (tmp_path / "batch").write_bytes(b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.")
    assert "numpy.ndarray.tofile" in complaint(read_cifar_pickle, tmp_path / "batch")


@pytest.mark.parametrize("data", [b"P1\n.", b"\x80\x04\x8c\x05os\nos\x8c\x06system\x93."], ids=["id", "name"])
def test_pickle_whose_error_holds_a_line_break_is_refused_in_one_line(tmp_path, data):
    (tmp_path / "batch").write_bytes(data)
    complaint(read_cifar_pickle, tmp_path / "batch")


def batch(x=None, y=None, n: int = 10_000) -> bytes:
    x = np.zeros((n, 3072), np.uint8) if x is None else x
    return pickle.dumps({b"data": x, b"labels": [0] * n if y is None else y})


NO_BATCH = {
    "empty": lambda: b"",
    "text": lambda: b"not a pickle",
    "no object": lambda: b"\x80\x04.",
    "a list": lambda: pickle.dumps([1, 2]),
    "no data": lambda: pickle.dumps({b"labels": [0]}),
    "no labels": lambda: pickle.dumps({b"data": np.zeros((2, 3072), np.uint8)}),
    "text for pixels": lambda: batch(x="pixels"),
    "wrong width": lambda: batch(x=np.zeros((10_000, 3071), np.uint8)),
    "9,999 images": lambda: batch(n=9_999),
    "9,999 labels": lambda: batch(y=[0] * 9_999),
    "label 10": lambda: batch(y=[0] * 9_999 + [10]),
    "label -1": lambda: batch(y=[-1] + [0] * 9_999),
    "label cat": lambda: batch(y=["cat"] * 10_000),
    "cut": lambda: batch()[:-50],
}
MISCAST = {
    "pixels are fractions": lambda: batch(x=np.full((10_000, 3072), 0.5, np.float16)),
    "pixels above 255": lambda: batch(x=np.full((10_000, 3072), 256, np.int16)),
    "labels are fractions": lambda: batch(y=[0.7] * 10_000),
    "labels have two axes": lambda: batch(y=np.zeros((10_000, 1), np.int64)),
}


@pytest.mark.parametrize("kind", NO_BATCH)
def test_pickle_that_is_no_cifar_batch_is_refused_by_name(tmp_path, kind):
    (tmp_path / "data_batch_2").write_bytes(NO_BATCH[kind]())
    assert str(tmp_path / "data_batch_2") in complaint(read_cifar_pickle, tmp_path / "data_batch_2")


@pytest.mark.parametrize("kind", MISCAST)
def test_pickle_with_values_that_are_not_bytes_and_classes_is_refused(tmp_path, kind):
    (tmp_path / "batch").write_bytes(MISCAST[kind]())
    complaint(read_cifar_pickle, tmp_path / "batch")


VALID = official_pickle(np.arange(6, dtype=np.uint8).reshape(2, 3), [3, 4])


@given(
    st.one_of(
        st.binary(max_size=60),
        st.tuples(st.integers(0, len(VALID) - 1), st.binary(min_size=1, max_size=4)).map(
            lambda change: VALID[: change[0]] + change[1] + VALID[change[0] + len(change[1]) :]
        ),
    )
)
@settings(derandomize=True, deadline=None, max_examples=300)
def test_any_bytes_as_pickle_are_refused_with_a_user_error(tmp_path_factory, data):
    file = tmp_path_factory.getbasetemp() / "any-pickle"
    file.write_bytes(data)
    with pytest.raises(UserError) as caught:
        read_cifar_pickle(file)
    assert str(file) in str(caught.value)
