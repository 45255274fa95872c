"""Readers of the official image files, each into one uint8 array.

Shapes: images `[N, C, H, W]` uint8 (generated ones float32), labels `[N]` int64. Every reader takes the data folder and
raises UserError with the file's name for what is missing, truncated or not what it claims to be.
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

from snnrepro.errors import DataNotFoundError, UserError, first_line

CIFAR_PIXELS = 3 * 32 * 32


class Images(NamedTuple):
    """A data set as it lies on disk, before any choice of samples."""

    train_x: NDArray[np.uint8] | NDArray[np.float32]
    train_y: NDArray[np.int64]
    test_x: NDArray[np.uint8] | NDArray[np.float32]
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
        raise not_found("cifar10", folder, "cifar-10-batches-bin/ or cifar-10-batches-py/")
    *train, (test_x, test_y) = [read(file) for file in files]
    x, y = (np.concatenate(part) for part in zip(*train, strict=True))
    return Images(x, y, test_x, test_y)


def read_cifar100(folder: Path) -> Images:
    """`cifar-100-binary` (the official binary version) or `cifar-100-python` (torchvision's), fine labels."""
    binary, python = folder / "cifar-100-binary", folder / "cifar-100-python"
    if binary.is_dir():
        parts = [
            read_cifar_binary(binary / f"{name}.bin", records, label_bytes=2)
            for name, records in (("train", 50_000), ("test", 10_000))
        ]
    elif python.is_dir():
        parts = [
            read_cifar_pickle(python / name, records, b"fine_labels")
            for name, records in (("train", 50_000), ("test", 10_000))
        ]
    else:
        raise not_found("cifar100", folder, "cifar-100-python/ or cifar-100-binary/")
    return Images(*parts[0], *parts[1])


def read_yin_yang(folder: Path) -> Images:
    """The Yin-Yang set, generated: 10,000 + 10,000 points, float32 `[N, 1, 1, 4]` (x, y, 1 - x, 1 - y), 3 classes.

    The rule is the data set's (Kriener et al., arXiv 2102.08211), sizes and seeds (42, 0) are those of Block's code.
    """
    return Images(*yin_yang(10_000, seed=42), *yin_yang(10_000, seed=0))


def yin_yang(size: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Points drawn until each has the class drawn for it: 0 and 1 the halves, 2 the dots; radius 0.5, dots 0.1."""
    draws = np.random.RandomState(seed)
    points, classes = np.empty((size, 2)), np.empty(size, np.int64)
    for i in range(size):
        classes[i] = draws.randint(3)
        while True:
            points[i] = draws.rand(2)
            if yin_yang_class(*points[i]) == classes[i]:
                break
    return np.hstack([points, 1 - points]).astype(np.float32).reshape(size, 1, 1, 4), classes


def yin_yang_class(x: float, y: float) -> int | None:
    """Class of a point of the unit square; None outside the circle."""
    if math.hypot(x - 0.5, y - 0.5) > 0.5:
        return None
    right, left = math.hypot(x - 0.75, y - 0.5), math.hypot(x - 0.25, y - 0.5)
    if right < 0.1 or left < 0.1:
        return 2
    return int(right <= 0.1 or 0.1 < left <= 0.25 or (y > 0.5 and right > 0.25))


def not_found(name: str, folder: Path, wanted: str) -> DataNotFoundError:
    """The one line for a data set that is not there."""
    return DataNotFoundError(
        f"{name}: {wanted} not found in {folder.resolve()}; run python scripts/prepare_data.py dataset={name}, or name "
        f"the folder that holds it: python train.py dataset={name} paths.data_dir=FOLDER"
    )


def _read_idx_folder(folder: Path, name: str) -> Images:
    raw = folder / name / "raw"
    if not raw.is_dir():
        dataset = {"MNIST": "mnist", "FashionMNIST": "fashion_mnist"}[name]
        raise not_found(dataset, folder, f"{name}/raw/train-images-idx3-ubyte and the other three idx files")
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


def read_cifar_binary(
    file: Path, records: int = 10_000, label_bytes: int = 1
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """A CIFAR file: records of label bytes (CIFAR-100: coarse, fine) and 3,072 pixel bytes (three planes)."""
    try:
        data = np.fromfile(file, np.uint8)
    except FileNotFoundError:
        raise UserError(f"{file} not found") from None
    except OSError as error:
        raise UserError(f"{file} cannot be read: {first_line(error)}") from None
    expected = records * (label_bytes + CIFAR_PIXELS)
    if data.size != expected:
        raise UserError(f"{file} holds {data.size:,} bytes, {records:,} CIFAR images take {expected:,}: fetch it again")
    table = data.reshape(records, -1)
    num_classes = 10 if label_bytes == 1 else 100
    return table[:, label_bytes:].reshape(-1, 3, 32, 32), _labels(table[:, label_bytes - 1], file, num_classes)


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


def read_cifar_pickle(
    file: Path, records: int = 10_000, labels: bytes = b"labels"
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """A CIFAR file of the Python version, read without executing what the pickle may ask for."""
    try:
        batch = _CifarUnpickler(io.BytesIO(file.read_bytes()), encoding="bytes").load()
        x, y = np.asarray(batch[b"data"]), np.asarray(batch[labels])
    except FileNotFoundError:
        raise UserError(f"{file} not found") from None
    except Exception as error:
        raise UserError(f"{file} is no CIFAR file ({first_line(error)}): fetch it again") from None
    whole = np.issubdtype(y.dtype, np.integer) and y.shape == (records,)
    if x.dtype != np.uint8 or x.size != records * CIFAR_PIXELS or not whole:
        raise UserError(
            f"{file} holds {x.dtype} pixels {x.shape} and {y.dtype} labels {y.shape}, "
            f"expected uint8 ({records}, {CIFAR_PIXELS}) and integers ({records},)"
        )
    return x.reshape(-1, 3, 32, 32), _labels(y, file, 10 if labels == b"labels" else 100)


def _labels(y: NDArray[Any], file: Path, num_classes: int) -> NDArray[np.int64]:
    if len(y) and not 0 <= int(y.min()) <= int(y.max()) < num_classes:
        raise UserError(f"{file}: labels run from {y.min()} to {y.max()}, expected 0 to {num_classes - 1}")
    return y.astype(np.int64)


READERS: dict[str, Callable[[Path], Images]] = {
    "digits": read_digits,
    "mnist": read_mnist,
    "fashion_mnist": read_fashion_mnist,
    "cifar10": read_cifar10,
    "cifar100": read_cifar100,
    "yin_yang": read_yin_yang,
}
