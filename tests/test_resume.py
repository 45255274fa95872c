"""A run that is killed at any moment and started again ends as if it had never stopped."""

import csv
import json
import random
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from snnrepro.config.compose import compose_job
from snnrepro.ledger.record import Run
from snnrepro.training import checkpoints

ROOT = Path(__file__).resolve().parents[1]
# All that draws or remembers: dropout, mixing, augmentation in the loader, a stochastic neuron, a schedule, the best.
WORDS = [
    "architecture.dropout=0.2",
    "architecture.hidden=[64]",
    "augmentation.mixup_alpha=0.5",
    "augmentation.crop_padding=1",
    "augmentation.flip=0.5",
    "trainer.max_epochs=8",
    "trainer.progress_bar=false",
    "dataset.train_samples=512",
]
TIMED = re.compile("per_second|per_step|per_epoch|share|speed/|memory")


class Warm:
    """Runs of train.py, each in a process forked from one that has imported everything."""

    def __init__(self, folder: Path) -> None:
        self.output = folder / "output"
        command = [sys.executable, str(ROOT / "tests" / "warm.py")]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert self.process.stdout is not None
        assert "ready" in self.process.stdout.readline()

    def run(self, words: list[str], **kill: object) -> int:
        """The exit code, or minus the signal that ended it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.output.unlink(missing_ok=True)
        task = {"words": words, "output": str(self.output), **kill}
        self.process.stdin.write(json.dumps(task) + "\n")
        self.process.stdin.flush()
        return int(json.loads(self.process.stdout.readline()))


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    warm = Warm(tmp_path_factory.mktemp("warm"))
    with warm.process:  # its end closes what it is spoken to by
        yield warm
        warm.process.stdin.close()


def result(runs: Path) -> dict:
    """All that must not depend on whether a run was interrupted."""
    (file,) = runs.rglob("run.json")
    record = json.loads(file.read_text())
    curves = list(csv.DictReader((file.parent / "curves.csv").read_text().splitlines()))
    return {
        "status": record["status"],
        "metrics": {name: value for name, value in record["metrics"].items() if not TIMED.search(name)},
        "layers": record["layers"],
        "best_epoch": record["best_epoch"],
        "curves": [{**row, "seconds": ""} for row in curves],
        "rates": (file.parent / "rates.csv").read_text(),
        **{name: checkpoints.read(file.parent / "checkpoints" / name) for name in ("last.ckpt", "best.ckpt")},
    }


def same(one: object, other: object) -> bool:
    """Equal to the last bit, tensors too; but for seconds in the curves that a checkpoint holds."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(key == "seconds" or same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


POINTS = [("checkpoint", 3), ("best", 2), ("between", 2), ("record", 1), ("record", 3)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workers", "at_random", "more"),
    [(0, 3, []), (1, 1, []), (2, 1, ["trainer.save_minutes=1e-9", "measure.training_spikes=true"])],
    ids=["no loader process", "one", "two, saved after every batch"],
)
def test_kills_at_random_moments_and_in_the_middle_of_writing_change_no_bit(warm, tmp_path, workers, at_random, more):
    """Twenty kills in all, fifteen of them while a checkpoint or a record is being written."""
    words = [*WORDS, "neuron=rpsu", f"dataset.num_workers={workers}", *more]
    started = time.monotonic()
    assert warm.run([*words, f"paths.runs_dir={tmp_path / 'whole'}"]) == 0, warm.output.read_text()
    lasts = time.monotonic() - started
    whole = result(tmp_path / "whole")
    assert whole["status"] == "completed"

    draw = random.Random(workers)
    moments = [{"after": draw.uniform(0.05, 0.9) * lasts} for _ in range(at_random)]
    moments += [{"at": at, "number": number} for at, number in POINTS]
    draw.shuffle(moments)
    killed, runs = 0, 0
    while killed < len(moments):
        assert runs < 20
        folder = tmp_path / f"cut{runs}"
        ended = 1
        while ended:
            kill = moments[killed] if killed < len(moments) else {}
            ended = warm.run([*words, f"paths.runs_dir={folder}"], **kill)
            assert ended in (0, -signal.SIGKILL), warm.output.read_text()
            killed += ended != 0
            assert "damaged" not in warm.output.read_text()
            for file in folder.rglob("run.json"):
                # Killed after its last record it is completed, which the comparison below holds it to.
                status = json.loads(file.read_text())["status"]
                assert status == "completed" or (ended and status == "running")
            assert all(checkpoints.read(file) for file in folder.rglob("*.ckpt"))
        runs += 1
        again = result(folder)
        assert {name: same(again[name], whole[name]) for name in whole} == dict.fromkeys(whole, True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workers", "number", "step", "neuron"),
    [(0, signal.SIGTERM, 10, "mpe_psn"), (2, signal.SIGUSR1, 13, "rpsu"), (0, signal.SIGTERM, 16, "rpsu")],
)
def test_a_run_stopped_within_an_epoch_is_saved_there_and_ends_with_the_same_bits(
    warm, tmp_path, workers, number, step, neuron
):
    """Four batches an epoch: the tenth is a second one, the sixteenth a last one, whose epoch is trained again."""
    words = [*WORDS, "dataset.batch_size=128", "measure.training_spikes=true", f"dataset.num_workers={workers}"]
    words += [f"neuron={neuron}", "loss.auxiliary_weight=0.1"]
    assert warm.run([*words, f"paths.runs_dir={tmp_path / 'whole'}"]) == 0
    cut = [*words, f"paths.runs_dir={tmp_path / 'cut'}"]
    assert warm.run(cut, signal=number, number=step) == 130
    assert "Traceback" not in warm.output.read_text()
    (record,) = (tmp_path / "cut").rglob("run.json")
    assert json.loads(record.read_text())["status"] == "interrupted"
    assert warm.run(cut) == 0, warm.output.read_text()
    whole, again = result(tmp_path / "whole"), result(tmp_path / "cut")
    assert {name: same(again[name], whole[name]) for name in whole} == dict.fromkeys(whole, True)
    session = json.loads(record.read_text())["sessions"][-1]
    batches = step % 4
    assert (session["epochs_before"], session.get("batches_before", 0)) == ((step - 1) // 4, batches)


@pytest.mark.slow
def test_a_second_job_of_one_identity_is_refused_with_the_firsts_host_and_pid_until_that_is_dead(train, tmp_path):
    words = ["trainer.max_epochs=100000", "trainer.progress_bar=false", "dataset.num_workers=1"]
    command = [sys.executable, str(ROOT / "train.py"), f"paths.runs_dir={tmp_path / 'runs'}", *words]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as first:
        try:
            deadline = time.monotonic() + 120
            while not any(tmp_path.rglob("last.ckpt")) and time.monotonic() < deadline:
                time.sleep(0.05)
            (record,) = (tmp_path / "runs").rglob("run.json")
            before = record.read_bytes()
            code, out, err = train(*words, "overwrite=true")
            assert (code, out) == (1, "")
            assert err == (
                f"error: {record.parent} is being run by process {first.pid} on {socket.gethostname()}: wait for it\n"
            )
            assert record.read_bytes() == before
        finally:
            first.kill()
    job = compose_job([f"paths.runs_dir={tmp_path / 'runs'}", *words])
    # Its loader process may live on for seconds, and holds nothing.
    with Run(job.config, job.choices, job.overrides) as run:
        assert run.ready
        assert len(run.record["sessions"]) == 2
