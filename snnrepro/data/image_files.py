"""Readers of the official image files, each into one uint8 array.

Shapes: images `[N, C, H, W]` uint8, labels `[N]` int64. Every reader takes the data folder and raises UserError with
the file's name for what is missing, truncated or not what it claims to be.
"""

import gzip
import io
import math
import pickle
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from snnrepro.errors import UserError

CIFAR_RECORD = 1 + 3 * 32 * 32


class Images(NamedTuple):
    """A data set as it lies on disk, before any choice of samples."""

    train_x: NDArray[np.uint8]
    train_y: NDArray[np.int64]
    test_x: NDArray[np.uint8]
    test_y: NDArray[np.int64]


def read_digits(folder: Path) -> Images:
    """scikit-learn's 1,797 handwritten digits, 8 x 8, grey 0-16; a fixed fifth of every class is the test set."""
    from sklearn.datasets import load_digits

    from snnrepro.data.splits import stratified_split

    digits = load_digits()
    x = digits.images.astype(np.uint8)[:, None]
    y = digits.target.astype(np.int64)
    train, test = stratified_split(y, 0.2, seed=0)
    return Images(x[train], y[train], x[test], y[test])


def read_mnist(folder: Path) -> Images:
    """`MNIST/raw/*-ubyte`, as torchvision lays it out."""
    return _read_idx_folder(folder, "MNIST")


def read_fashion_mnist(folder: Path) -> Images:
    """`FashionMNIST/raw/*-ubyte`, as torchvision lays it out."""
    return _read_idx_folder(folder, "FashionMNIST")


def read_cifar10(folder: Path) -> Images:
    """`cifar-10-batches-bin` (the official binary version) or `cifar-10-batches-py` (torchvision's)."""
    binary, python = folder / "cifar-10-batches-bin", folder / "cifar-10-batches-py"
    names = [f"data_batch_{i}" for i in range(1, 6)]
    read: Callable[[Path], Any]
    if binary.is_dir():
        read, files = read_cifar_binary, [binary / f"{name}.bin" for name in [*names, "test_batch"]]
    elif python.is_dir():
        read, files = read_cifar_pickle, [python / name for name in [*names, "test_batch"]]
    else:
        raise missing("cifar10", folder, "cifar-10-batches-bin/ or cifar-10-batches-py/")
    *train, (test_x, test_y) = [read(file) for file in files]
    x, y = (np.concatenate(part) for part in zip(*train, strict=True))
    return Images(x, y, test_x, test_y)


def missing(name: str, folder: Path, wanted: str) -> UserError:
    return UserError(
        f"{name}: {wanted} not found in {folder.resolve()}; put it there, or name the folder that holds it: "
        f"python train.py dataset={name} paths.data_dir=FOLDER"
    )


def _read_idx_folder(folder: Path, name: str) -> Images:
    raw = folder / name / "raw"
    if not raw.is_dir():
        dataset = {"MNIST": "mnist", "FashionMNIST": "fashion_mnist"}[name]
        raise missing(dataset, folder, f"{name}/raw/train-images-idx3-ubyte and the other three idx files")
    arrays: list[Any] = []
    for split in ("train", "t10k"):
        images, labels = raw / f"{split}-images-idx3-ubyte", raw / f"{split}-labels-idx1-ubyte"
        x, y = read_idx(images), read_idx(labels)
        if x.ndim != 3 or y.ndim != 1 or len(x) != len(y):
            raise UserError(f"{raw}: {split} holds images {x.shape} and labels {y.shape}, which do not belong together")
        arrays += [x[:, None], _labels(y, labels, 10)]
    train_x, train_y, test_x, test_y = arrays
    return Images(train_x, train_y, test_x, test_y)


def read_idx(file: Path) -> NDArray[np.uint8]:
    """An idx file of unsigned bytes, or the same with .gz: magic 0x0000080N, N big-endian sizes, the bytes."""
    if not file.exists():
        packed = file.with_name(file.name + ".gz")
        if not packed.exists():
            raise UserError(f"{file} not found (nor {packed.name})")
        file = packed
    try:
        data = file.read_bytes()
        if file.suffix == ".gz":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{file} cannot be read: {first_line(error)}") from None
    dimensions = data[3] if len(data) >= 4 and data[:3] == b"\x00\x00\x08" else 0
    header = 4 + 4 * dimensions
    if not 1 <= dimensions <= 4 or len(data) < header:
        raise UserError(f"{file} is not an idx file of unsigned bytes (it begins with {data[:4].hex() or 'nothing'})")
    shape = tuple(int.from_bytes(data[i : i + 4], "big") for i in range(4, header, 4))
    expected = header + math.prod(shape)
    if len(data) != expected:
        raise UserError(f"{file} holds {len(data):,} bytes where its header says {expected:,}: fetch it again")
    if 0 in shape:
        raise UserError(f"{file} holds nothing: its header says {shape}")
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def read_cifar_binary(file: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """A CIFAR-10 batch: 10,000 records of one label byte and 3,072 pixel bytes (red, green, blue planes)."""
    try:
        data = np.fromfile(file, np.uint8)
    except FileNotFoundError:
        raise UserError(f"{file} not found") from None
    except OSError as error:
        raise UserError(f"{file} cannot be read: {first_line(error)}") from None
    expected = 10_000 * CIFAR_RECORD
    if data.size != expected:
        raise UserError(f"{file} holds {data.size:,} bytes, a CIFAR-10 batch has {expected:,}: fetch it again")
    records = data.reshape(-1, CIFAR_RECORD)
    return records[:, 1:].reshape(-1, 3, 32, 32), _labels(records[:, 0], file, 10)


class _CifarUnpickler(pickle.Unpickler):
    """Builds NumPy arrays and nothing else: a pickle from elsewhere may name any function."""

    allowed = frozenset(
        [
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("_codecs", "encode"),
        ]
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.allowed:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def read_cifar_pickle(file: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """A CIFAR-10 batch of the Python version, read without executing what the pickle may ask for."""
    try:
        batch = _CifarUnpickler(io.BytesIO(file.read_bytes()), encoding="bytes").load()
        x, y = np.asarray(batch[b"data"]), np.asarray(batch[b"labels"])
    except FileNotFoundError:
        raise UserError(f"{file} not found") from None
    except Exception as error:
        raise UserError(f"{file} is not a CIFAR-10 batch ({first_line(error)}): fetch it again") from None
    if x.dtype != np.uint8 or x.size != 10_000 * 3072 or not np.issubdtype(y.dtype, np.integer) or y.shape != (10_000,):
        raise UserError(
            f"{file} holds {x.dtype} pixels {x.shape} and {y.dtype} labels {y.shape}, "
            "a CIFAR-10 batch has uint8 (10000, 3072) and integers (10000,)"
        )
    return x.reshape(-1, 3, 32, 32), _labels(y, file, 10)


def first_line(error: Exception) -> str:
    """What an error says, on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _labels(y: NDArray[Any], file: Path, num_classes: int) -> NDArray[np.int64]:
    if len(y) and not 0 <= int(y.min()) <= int(y.max()) < num_classes:
        raise UserError(f"{file}: labels run from {y.min()} to {y.max()}, expected 0 to {num_classes - 1}")
    return y.astype(np.int64)


READERS: dict[str, Callable[[Path], Images]] = {
    "digits": read_digits,
    "mnist": read_mnist,
    "fashion_mnist": read_fashion_mnist,
    "cifar10": read_cifar10,
}
