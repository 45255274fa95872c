"""Sweeps and single runs on a real Slurm of one node: what fails, is cancelled, preempted or runs again."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from slurm_node import slurm_node

from snnrepro.config.compose import compose_jobs
from snnrepro.jobs import outcomes, sweeps
from snnrepro.ledger.record import run_folder

ROOT = Path(__file__).resolve().parents[2]
ON_SLURM = ["-m", "hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1"]
SMALL = ["architecture.hidden=[16]"]
LONG = [*SMALL, "neuron=lif", "dataset.train_samples=512", "trainer.max_epochs=40", "trainer.progress_bar=false"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def slurm():
    with slurm_node() as folder:
        yield folder


@pytest.fixture(autouse=True)
def _asked_often(monkeypatch, slurm):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(sweeps, "SECONDS", 0.5)
    monkeypatch.setattr(outcomes, "SECONDS", 0.5)


def records(folder: Path) -> list[dict]:
    return [json.loads(file.read_text()) for file in sorted(folder.rglob("run.json"))]


def until(ready: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def slurm_says(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def has_saved_an_epoch(runs: Path) -> bool:
    return any(runs.glob("*/*/*/checkpoints/last.ckpt"))


def test_a_sweep_names_the_job_that_failed_and_the_same_command_runs_only_that(train, tmp_path):
    words = [*SMALL, "trainer=smoke", "dataset.train_samples=256", "neuron=lif,psn,psu", "seed=0,1"]
    jobs = compose_jobs(["-m", *words, f"paths.runs_dir={tmp_path / 'runs'}"])
    in_its_way = run_folder(jobs[3].config, jobs[3].choices) / "curves.csv"  # psn, seed 1
    in_its_way.mkdir(parents=True)
    code, out, err = train(*ON_SLURM, *words)
    assert code == 1, err
    found = records(tmp_path / "runs")
    assert sorted(record["status"] for record in found) == ["completed"] * 5 + ["failed"]
    (failed,) = (record for record in found if record["status"] == "failed")
    assert (failed["neuron"], failed["seed"]) == ("psn", 1)
    assert "IsADirectoryError" in failed["error"]
    assert "neuron=psn seed=1: failed: IsADirectoryError" in out
    table = out[out.index("sweep") :]
    assert "failed: IsADirectoryError" in table
    assert "5 of 6 completed" in table
    first = {file: file.read_bytes() for file in (tmp_path / "runs").rglob("run.json")}
    in_its_way.rmdir()
    code, out, err = train(*ON_SLURM, *words)
    assert code == 0, err
    assert "5 of 6 completed already" in out
    assert "1 job is in Slurm's queue" in out
    assert "6 of 6 completed" in out
    changed = [file for file, before in first.items() if file.read_bytes() != before]
    assert [file.parent for file in changed] == [in_its_way.parent]
    code, out, _ = train(*ON_SLURM, *words)
    assert (code, "queue" in out) == (0, False)


def test_a_preempted_job_goes_on_by_itself_and_a_cancelled_one_by_the_same_command(train, tmp_path):
    runs = tmp_path / "runs"
    command = [sys.executable, str(ROOT / "train.py"), *ON_SLURM, f"paths.runs_dir={runs}", *LONG]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as sweep:
        until(lambda: has_saved_an_epoch(runs))
        (number,) = slurm_says("squeue", "--noheader", "--format=%A").split()
        slurm_says("scancel", "--signal=USR1", number)
        until(lambda: records(runs)[0]["sessions"][-1].get("epochs_before"))
        slurm_says("scancel", number)
        out, err = sweep.communicate(timeout=120)
    assert sweep.returncode == 1, err
    (record,) = records(runs)
    assert record["status"] == "interrupted"
    assert "0 of 1 completed; the run: interrupted" in out
    code, _, err = train(*ON_SLURM, *LONG)
    assert code == 0, err
    (record,) = records(runs)
    assert record["status"] == "completed"
    assert [session["resumed"] for session in record["sessions"]] == [False, True, True]
    epochs = [session["epochs_before"] for session in record["sessions"]]
    assert 0 == epochs[0] < epochs[1] <= epochs[2]


def test_what_slurm_refuses_is_one_line(train, tmp_path):
    code, out, err = train(*ON_SLURM, "hydra.launcher.partition=nowhere", "seed=0,1")
    assert (code, out) == (2, "")
    assert err.startswith("error: Slurm did not take the jobs: ")
    assert "nvalid partition" in err
    assert err.count("\n") == 1
    assert not records(tmp_path / "runs")


def test_a_job_that_is_killed_before_it_starts_is_not_waited_for(tmp_path):
    command = [
        sys.executable,
        str(ROOT / "train.py"),
        *ON_SLURM,
        "+hydra.launcher.additional_parameters.begin=now+1hour",
    ]
    command += [f"paths.runs_dir={tmp_path / 'runs'}", "trainer=smoke", "seed=0,1"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) as sweep:
        until(lambda: slurm_says("squeue", "--noheader", "--states=PENDING"))
        slurm_says("scancel", "--state=PENDING")
        out, _ = sweep.communicate(timeout=60)
    assert sweep.returncode == 1
    assert out.count("not started") == 2
