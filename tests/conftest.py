"""Real data where they are, else the tests that need them skip; train.py and the scripts run in this process."""

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from filelock import FileLock

from snnrepro.ledger import record, runs
from snnrepro.ledger.runs import Records
from snnrepro.metrics import speed

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"
BESIDE_OTHERS = "PYTEST_XDIST_WORKER" in os.environ


def pytest_configure() -> None:
    if BESIDE_OTHERS:  # one thread for each of the processes that share the cores, and for those that they start
        os.environ["OMP_NUM_THREADS"] = "1"
        torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if BESIDE_OTHERS:  # what takes long comes first: begun last, it would leave the other cores idle
        items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session", autouse=True)
def _inference_is_timed_briefly():
    """Tests ask that a run has its samples per second, not how steady they are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speed, "INFERENCE_SECONDS", 0.02)
        yield


@pytest.fixture(scope="session")
def real_data(tmp_path_factory: pytest.TempPathFactory):
    """Give the folder that holds a data set in its official layout, `real_data("cifar10")`, or skip the test."""
    if given := os.environ.get("SNNREPRO_DATA"):
        folder, unpack = Path(given), None
    else:
        base = tmp_path_factory.getbasetemp()
        folder, unpack = (base.parent if BESIDE_OTHERS else base) / "data", SHARED / "unpack.py"
        folder.mkdir(exist_ok=True)
    places = {
        "cifar10": "cifar-10-batches-bin",
        "mnist": "MNIST/raw",
        "fashion_mnist": "FashionMNIST/raw",
        "nmnist": "NMNIST",
        "dvs_gesture": "DVSGesture",
        "spoken_digits": "free-spoken-digit-dataset",
        "spoken_digits_spikes": "spoken_digits_spikes",
        "speech_commands": "SpeechCommands",
    }

    def get(name: str) -> Path:
        if unpack is not None and unpack.is_file():
            with FileLock(f"{folder}-{name}.lock"):  # one process unpacks for all
                if not (folder / places[name]).is_dir():
                    subprocess.run([sys.executable, str(unpack), str(folder), name], capture_output=True, check=False)
        if not (folder / places[name]).is_dir():
            pytest.skip(f"{name} is not here: set SNNREPRO_DATA to the folder that holds {places[name]}")
        return folder

    return get


@pytest.fixture(scope="session")
def format_file():
    """Give one real file of a format, `format_file("sample.aedat4")`, or skip the test."""

    def get(name: str) -> Path:
        file = SHARED / "formats" / name
        if not file.is_file():
            pytest.skip(f"{name} is not here: it belongs in {file.parent.relative_to(ROOT.parent)} beside the project")
        return file

    return get


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    """Run `python train.py words...` in this process: (exit code, stdout, stderr). Runs go to tmp_path/runs."""

    def run(*words: str) -> tuple[int, str, str]:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["train.py", f"paths.runs_dir={tmp_path / 'runs'}", *words])
        with pytest.raises(SystemExit) as stopped:
            runpy.run_path(str(ROOT / "train.py"), run_name="__main__")
        out, err = capfd.readouterr()
        return int(stopped.value.code or 0), out, err

    return run


@pytest.fixture
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the configs, which is then composed from; what is added to it was added by somebody else."""
    copy = tmp_path / "configs"
    shutil.copytree(ROOT / "configs", copy)
    for module in ("check", "compose"):
        monkeypatch.setattr(f"snnrepro.config.{module}.CONFIGS", copy)
    return copy


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def script(monkeypatch, capfd, tmp_path):
    """Run `python scripts/name words...` in this process, where torch is imported already, from the folder tmp_path."""
    import torch

    def run(name: str, *words: str) -> Done:
        capfd.readouterr()
        file = ROOT / "scripts" / name
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(str(file.parent))
        monkeypatch.setattr(sys, "argv", [name, *words])
        threads = torch.get_num_threads()
        code: object = 0
        try:
            runpy.run_path(str(file), run_name="__main__")
        except SystemExit as stopped:
            code = stopped.code
        finally:
            torch.set_num_threads(threads)
        out, err = capfd.readouterr()
        if isinstance(code, str):
            code, err = 1, f"{err}{code}\n"
        return Done(int(code or 0), out, err)

    return run


@pytest.fixture
def only_our_records(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Judge what lies in tmp_path, not the project's own results; git is not asked at every record."""
    monkeypatch.setattr(runs, "Records", lambda folders: Records(folders[:1]))
    monkeypatch.setattr(record, "git_state", lambda: {"commit": "1234567", "dirty": False})
    monkeypatch.chdir(tmp_path)
