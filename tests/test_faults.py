"""What goes wrong on the way: no run ends as completed that is not, and nothing that was saved is lost."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from snnrepro.ledger import record
from snnrepro.ledger.record import Run
from snnrepro.training import callbacks, costs
from snnrepro.training.checkpoints import Checkpoints, read
from snnrepro.training.classifier import Classifier

ROOT = Path(__file__).resolve().parents[1]
WORDS = ["trainer.max_epochs=3", "architecture.hidden=[32]", "dataset.train_samples=256", "trainer.progress_bar=false"]


def one_record(folder: Path) -> dict:
    (file,) = folder.rglob("run.json")
    return json.loads(file.read_text())


def accuracies(folder: Path) -> dict:
    return {name: value for name, value in one_record(folder)["metrics"].items() if "accuracy" in name}


@contextmanager
def before(owner: object, name: str, action: Callable[[], object], number: int = 1) -> Iterator[None]:
    """Context in which something happens before the `number`th call of a function."""
    function, calls = getattr(owner, name), iter(range(1, 10**6))

    def wrapped(*args, **settings):
        if next(calls) == number:
            action()
        return function(*args, **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, wrapped)
        yield


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 2 MB, and what fills it to the last byte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")

    def fill() -> None:
        with (folder / "filler").open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                return

    yield folder, fill
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Where an unbroken run lies, once `unbroken` has been called."""
    return tmp_path_factory.mktemp("whole")


def unbroken(train, whole: Path) -> dict:
    assert train(*WORDS, f"paths.runs_dir={whole}")[0] == 0  # done once, skipped after
    return accuracies(whole)


# When the disk is full: before which call, and how many epochs are saved by then (None: no record was begun).
PHASES = {
    "while the run opens": (Run, "__enter__", 1, None),
    "when it is built": (Run, "update", 1, 0),
    "at the first curves": (callbacks, "write_csv", 1, 0),
    "at the first checkpoint": (Checkpoints, "on_train_epoch_end", 1, 0),
    "at a later checkpoint": (Checkpoints, "on_train_epoch_end", 3, 2),
    "in the test": (costs, "write_csv", 1, 3),
}


@pytest.mark.slow
@pytest.mark.parametrize("phase", PHASES)
def test_full_disk_is_one_line_and_with_room_again_the_run_goes_on_to_the_same_end(train, small_disk, whole, phase):
    folder, fill = small_disk
    runs = folder / "runs"
    owner, name, number, epochs = PHASES[phase]
    with before(owner, name, fill, number):
        code, out, err = train(*WORDS, f"paths.runs_dir={runs}")
    assert code == 1
    assert "no space left on the disk" in err.lower().replace("device", "the disk")
    assert err.count("\n") == 1
    assert "test accuracy" not in out
    if epochs is None:
        assert not list(runs.rglob("run.json"))
    else:
        assert one_record(runs)["status"] == "failed"
        assert "no space left" in one_record(runs)["error"]
        assert one_record(runs)["metrics"] == {}
        assert sum(read(file)["epoch"] + 1 for file in runs.rglob("last.ckpt")) == epochs
    assert not list(folder.rglob("*.partial"))
    (folder / "filler").unlink()
    assert train(*WORDS, f"paths.runs_dir={runs}")[0] == 0
    assert one_record(runs)["sessions"][-1]["epochs_before"] == (epochs or 0)
    assert accuracies(runs) == unbroken(train, whole)


@pytest.mark.slow
def test_a_disk_that_is_full_at_the_very_end_still_takes_the_record(train, small_disk):
    folder, fill = small_disk
    with before(Run, "complete", fill):
        assert train(*WORDS, f"paths.runs_dir={folder}")[0] == 0
    assert one_record(folder)["status"] == "completed"


@pytest.mark.slow
def test_a_record_that_cannot_be_written_at_the_end_is_no_success_and_the_test_is_run_again(
    train, small_disk, whole, monkeypatch
):
    folder, fill = small_disk

    monkeypatch.setattr(record, "RESERVE_BYTES", 0)
    with before(Run, "complete", fill):
        code, out, err = train(*WORDS, f"paths.runs_dir={folder}")
    assert (code, err.count("\n")) == (1, 1)
    assert "the record could not be written: No space left" in err
    assert "test accuracy" not in out
    assert one_record(folder)["status"] == "running"
    (folder / "filler").unlink()
    assert train(*WORDS, f"paths.runs_dir={folder}")[0] == 0
    assert accuracies(folder) == unbroken(train, whole)


@pytest.mark.parametrize("again", [False, True], ids=["gone", "another in its place"])
def test_a_run_whose_folder_is_removed_ends_with_one_line_and_makes_none_anew(train, tmp_path, again):
    def remove() -> None:
        (record,) = tmp_path.rglob("run.json")
        shutil.move(record.parent, tmp_path / "elsewhere")  # its number is not given to the next folder
        if again:
            record.parent.mkdir()

    with before(Checkpoints, "on_train_epoch_end", remove, 2):
        code, out, err = train(*WORDS)
    assert (code, err.count("\n")) == (1, 1)
    assert "was removed while the run went on: start it again" in err
    assert "test accuracy" not in out
    assert not [file for file in (tmp_path / "runs").rglob("*") if file.is_file()]
    assert train(*WORDS)[0] == 0
    assert [entry["resumed"] for entry in one_record(tmp_path / "runs")["sessions"]] == [False]


@pytest.mark.slow
def test_a_killed_loader_process_is_named_and_the_run_goes_on_from_the_last_epoch(train, tmp_path, whole):
    def kill_a_loader() -> None:
        me = os.getpid()
        children = Path(f"/proc/{me}/task/{me}/children").read_text().split()
        forked = [int(pid) for pid in children if Path(f"/proc/{pid}/cmdline").read_bytes() == mine]
        os.kill(forked[-1], signal.SIGKILL)
        time.sleep(0.2)

    mine = Path("/proc/self/cmdline").read_bytes()
    words = [*WORDS, "dataset.num_workers=2"]
    with before(Classifier, "on_train_epoch_end", kill_a_loader, 2):
        code, _, err = train(*words)
    assert (code, err.count("\n")) == (1, 1), err
    assert "a loader process" in err
    assert "killed by signal: Killed" in err
    assert "lower dataset.num_workers" in err
    failed = one_record(tmp_path / "runs")
    assert (failed["status"], failed["metrics"]) == ("failed", {})
    assert "a loader process" in failed["error"]
    assert train(*words)[0] == 0
    assert one_record(tmp_path / "runs")["sessions"][-1]["resumed"]
    assert accuracies(tmp_path / "runs") == unbroken(train, whole)


def test_a_loss_that_becomes_nan_after_some_epochs_is_a_failed_run_that_keeps_them(train, tmp_path):
    def spoil() -> None:
        spoiled.append(True)

    spoiled: list[bool] = []
    step = Classifier.training_step

    def training_step(self, batch, batch_idx):
        if spoiled:  # a spike hides NaN in what drives it: the readout does not
            self.network.readout1.weight.data.fill_(float("nan"))
        return step(self, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patch, before(Classifier, "on_train_epoch_end", spoil, 2):
        patch.setattr(Classifier, "training_step", training_step)
        code, out, err = train(*WORDS)
    assert (code, err.count("\n")) == (1, 1)
    assert "the training loss became NaN or infinite (epoch 3, step 0): lower optimizer.lr" in err
    assert "test accuracy" not in out
    failed = one_record(tmp_path / "runs")
    assert (failed["status"], failed["metrics"]) == ("failed", {})
    assert "NaN or infinite" in failed["error"]
    last = read(next(tmp_path.rglob("last.ckpt")))
    assert last["epoch"] == 1
    assert all(bool(torch.isfinite(value).all()) for value in last["state_dict"].values())


@pytest.mark.parametrize("phase", ["built", "trained", "tested"])
def test_memory_that_runs_out_is_a_failed_run_that_says_which_setting_to_lower(train, tmp_path, phase):
    def take_too_much() -> None:
        torch.empty(2**62, dtype=torch.uint8)

    owner, name = {"built": (Classifier, "__init__"), "trained": (Classifier, "training_step")}.get(
        phase, (Classifier, "test_step")
    )
    with before(owner, name, take_too_much):
        code, out, err = train(*WORDS)
    assert (code, err.count("\n")) == (1, 1)
    assert "out of memory: lower dataset.batch_size, dataset.num_steps or the size of the architecture" in err
    assert "test accuracy" not in out
    assert one_record(tmp_path / "runs")["status"] == "failed"
    assert "out of memory" in one_record(tmp_path / "runs")["error"]


@pytest.mark.slow
def test_a_limit_on_memory_that_the_net_exceeds_is_one_line(tmp_path):
    """The system refuses what the net asks for, in a process of its own, as it does under a scheduler's limit."""

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (12 * 2**30, 12 * 2**30))

    words = [*WORDS, "architecture.hidden=[60000,60000]", f"paths.runs_dir={tmp_path / 'runs'}"]
    command = [sys.executable, str(ROOT / "train.py"), *words]
    done = subprocess.run(command, preexec_fn=limited, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "out of memory: lower dataset.batch_size" in done.stderr
    assert one_record(tmp_path / "runs")["status"] == "failed"


def test_a_clock_that_jumps_changes_neither_results_nor_durations(train, tmp_path, whole, monkeypatch):
    expected = unbroken(train, whole)
    now, draw = time.time, random.Random(0)
    monkeypatch.setattr(time, "time", lambda: now() + draw.uniform(-1e7, 1e7))
    monkeypatch.setattr(time, "time_ns", lambda: time.time() * 10**9)
    with before(Checkpoints, "on_train_epoch_end", lambda: os.kill(os.getpid(), signal.SIGINT), 3):
        assert train(*WORDS)[0] == 130
    for file in tmp_path.rglob("*"):
        os.utime(file, (draw.uniform(0, 2e9),) * 2)
    assert train(*WORDS)[0] == 0
    resumed = one_record(tmp_path / "runs")
    assert accuracies(tmp_path / "runs") == expected
    assert [entry["resumed"] for entry in resumed["sessions"]] == [False, True]
    assert all(0 < entry["seconds"] < 200 for entry in resumed["sessions"])
    assert all(0 <= seconds < 200 for seconds in resumed["seconds"].values())
