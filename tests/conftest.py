"""Real data where it lies beside the project or where SNNREPRO_DATA points; else the tests that need it skip."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def real_data(tmp_path_factory: pytest.TempPathFactory):
    """A function: real_data("cifar10") -> the folder that holds it in its official layout, or skips the test."""
    if given := os.environ.get("SNNREPRO_DATA"):
        folder, unpack = Path(given), None
    else:
        folder, unpack = tmp_path_factory.mktemp("data"), SHARED / "unpack.py"
    places = {"cifar10": "cifar-10-batches-bin", "mnist": "MNIST/raw", "fashion_mnist": "FashionMNIST/raw"}

    def get(name: str) -> Path:
        if not (folder / places[name]).is_dir() and unpack is not None and unpack.is_file():
            subprocess.run([sys.executable, str(unpack), str(folder), name], capture_output=True, check=False)
        if not (folder / places[name]).is_dir():
            pytest.skip(f"{name} is not here: set SNNREPRO_DATA to the folder that holds {places[name]}")
        return folder

    return get
