"""Sweeps on a real Ray of this machine, and in processes of joblib's."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from snnrepro.config.compose import compose_jobs
from snnrepro.ledger.record import run_folder

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["architecture.hidden=[16]", "trainer=smoke", "dataset.train_samples=256"]

pytestmark = pytest.mark.slow


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """Run `python train.py -m words...` in a process with an empty home folder, which must stay so."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def run(*words: str) -> tuple[int, str, str]:
        command = [sys.executable, str(ROOT / "train.py"), "-m", f"paths.runs_dir={tmp_path / 'runs'}", *words]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=200)
        assert not [name for name in home.iterdir() if "ray" in name.name]
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture
def ray_words():
    """How Ray is to start: on two cores, with its own files in a folder whose name is short, as its sockets need."""
    with tempfile.TemporaryDirectory(prefix="ray") as folder:
        yield [
            "hydra/launcher=ray",
            "hydra.launcher.ray.init.num_cpus=2",
            "hydra.launcher.ray.init.num_gpus=0",
            f"hydra.launcher.ray.init._temp_dir={folder}",
        ]


def records(folder: Path) -> list[dict]:
    return [json.loads(file.read_text()) for file in sorted(folder.rglob("run.json"))]


def blocked(runs: Path, words: list[str], number: int) -> Path:
    """A folder where a job of the sweep wants to write a file."""
    job = compose_jobs(["-m", *words, f"paths.runs_dir={runs}"])[number]
    folder = run_folder(job.config, job.choices) / "curves.csv"
    folder.mkdir(parents=True)
    return folder


def test_a_sweep_on_ray_names_the_job_that_failed_and_the_same_command_runs_only_that(sweep, ray_words, tmp_path):
    words = [*SMALL, "neuron=lif,psn,psu", "seed=0,1"]
    in_its_way = blocked(tmp_path / "runs", words, 3)
    code, out, err = sweep(*ray_words, *words)
    assert code == 1, err
    assert sorted(record["status"] for record in records(tmp_path / "runs")) == ["completed"] * 5 + ["failed"]
    assert "6 jobs are with Ray, which has 2 CPU, 0 GPU" in out
    assert "neuron=psn seed=1: failed: IsADirectoryError" in out
    assert "5 of 6 completed" in out[out.index("records: ") :]
    assert "Traceback" not in err
    in_its_way.rmdir()
    code, out, err = sweep(*ray_words, *words)
    assert code == 0, err
    assert "5 of 6 completed already" in out
    assert "1 job is with Ray" in out
    assert "6 of 6 completed" in out[out.index("records: ") :]


def test_ray_that_has_no_gpu_for_a_job_is_one_line(sweep, ray_words, tmp_path):
    code, _, err = sweep(*ray_words, "hydra.launcher.ray.remote.num_gpus=1", "seed=0,1")
    assert code == 2
    assert "error: a job asks for 1 GPU, Ray has 0: set hydra.launcher.ray.remote.num_gpus\n" in err
    assert "Traceback" not in err
    assert not records(tmp_path / "runs")


def test_ray_that_does_not_answer_is_one_line(sweep, tmp_path):
    code, _, err = sweep("hydra/launcher=ray", "hydra.launcher.ray.init.address=nowhere", "seed=0,1")
    assert code == 2
    assert "error: Ray did not start: " in err
    assert "Traceback" not in err


def test_a_sweep_in_processes_of_joblib_goes_on_past_a_failed_job(sweep, tmp_path):
    words = [*SMALL, "neuron=lif,psn", "seed=0,1", "dataset.num_workers=1"]  # each with a loader process of its own
    blocked(tmp_path / "runs", words, 2)
    code, out, err = sweep("hydra/launcher=joblib", *words)
    assert code == 1, err
    assert sorted(record["status"] for record in records(tmp_path / "runs")) == ["completed"] * 3 + ["failed"]
    assert "neuron=psn seed=0: failed: IsADirectoryError" in out
    assert "3 of 4 completed" in out[out.index("records: ") :]
    assert "Traceback" not in err
