"""One run in several processes (trainer=ddp): the same run, counted once, one record; and what ends it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from slurm_node import slurm_node

from snnrepro.config.compose import compose_job
from snnrepro.data.samples import EpochBatches
from snnrepro.errors import UserError
from snnrepro.jobs.processes import Task, this_task
from snnrepro.place import Place
from snnrepro.training.session import Session

ROOT = Path(__file__).resolve().parents[2]
# In fp64, and without batch norm: SyncBatchNorm refuses the CPU. The last batch holds one sample, for two processes.
WORDS = [
    *("neuron=lif", "neuron.v_threshold=0.1", "architecture.batch_norm=false", "architecture.hidden=[64]"),
    *("trainer.precision=64-true", "dataset.batch_size=100", "dataset.train_samples=301", "trainer.progress_bar=false"),
]
TWO = ["trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu"]


def one_record(folder: Path) -> dict:
    (file,) = folder.rglob("run.json")
    return json.loads(file.read_text())


def batches(size, batch_size, part, **settings):
    return EpochBatches(size, batch_size, seed=3, part=part, **({"shuffle": True, "drop_last": False} | settings))


@pytest.mark.parametrize("world", [2, 3, 8])
@pytest.mark.parametrize("size", [64, 65, 71, 72, 95])
@pytest.mark.parametrize("drop_last", [False, True])
def test_the_parts_of_all_processes_are_the_batches_of_one_each_sample_once(size, world, drop_last):
    settings = {"shuffle": False, "drop_last": drop_last}
    whole = [rows.tolist() for rows, _ in batches(size, 32, (0, 1), **settings)]
    parts = [[rows.tolist() for rows, _ in batches(size, 32, (rank, world), **settings)] for rank in range(world)]
    for rank, part in enumerate(parts):
        assert len(part) == len(batches(size, 32, (rank, world), **settings))
    for i, batch in enumerate(whole):
        assert sorted(row for part in parts if i < len(part) for row in part[i]) == sorted(batch)


@pytest.mark.parametrize("size", [64, 65, 71, 95])
def test_in_training_every_process_takes_every_step_and_the_weights_make_it_the_mean_over_the_batch(size):
    world = 3
    value = np.random.default_rng(0).normal(size=size)
    parts = [batches(size, 32, (rank, world)) for rank in range(world)]
    assert len({len(part) for part in parts}) == 1
    whole = list(batches(size, 32, (0, 1)))
    for i, taken in enumerate(zip(*parts, strict=True)):
        mean = sum(part.weight_of(i) * value[rows.numpy()].mean() for part, (rows, _) in zip(parts, taken, strict=True))
        assert mean / world == pytest.approx(value[whole[i][0].numpy()].mean())
        assert len({seed for _, seed in taken}) == world  # draws of their own


@pytest.mark.slow
def test_two_processes_give_the_metrics_of_one_with_the_doubled_batch_and_count_every_sample_once(train, tmp_path):
    """dataset.batch_size is of all processes: two with 50 samples each against one with 100."""
    words = [*WORDS, "protocol=paper", "trainer.max_epochs=2", "measure.training_spikes=true"]
    assert train(*words)[0] == 0
    code, out, err = train(*words, *TWO, f"paths.runs_dir={tmp_path / 'two'}")
    assert (code, err) == (0, "")
    assert out.count("epoch 1/2") == out.count("run.json") == 1
    one, two = one_record(tmp_path / "runs"), one_record(tmp_path / "two")
    assert one["identity"] == two["identity"]
    assert two["device"]["processes"] == 2
    for part in ("samples", "operations", "layers"):
        for name, value in one[part].items():
            assert two[part][name] == pytest.approx(value, rel=1e-9), (part, name)
    for name, value in one["metrics"].items():
        if name.startswith("test/") and "per_second" not in name and value is not None:
            assert two["metrics"][name] == pytest.approx(value, rel=1e-6), name  # torchmetrics adds up in fp32
    ones, twos = (
        np.genfromtxt(next((tmp_path / f).rglob("curves.csv")), delimiter=",", names=True) for f in ("runs", "two")
    )
    for name in ones.dtype.names:
        if name != "seconds":
            assert twos[name] == pytest.approx(ones[name], rel=1e-5), name
    weights = [
        torch.load(next((tmp_path / f).rglob("last.ckpt")), weights_only=True)["state_dict"] for f in ("runs", "two")
    ]
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=1e-9, atol=1e-9)


def start(folder: Path, *words: str) -> subprocess.Popen:
    """A run in two processes, begun so far that it has saved an epoch."""
    command = [sys.executable, str(ROOT / "train.py"), f"paths.runs_dir={folder}", *WORDS, *TWO, *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not any(folder.rglob("last.ckpt")) and time.monotonic() < deadline:
        time.sleep(0.05)
    return process


def members(process: subprocess.Popen) -> list[int]:
    """The processes of a run, those that keep multiprocessing's books apart."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(pid) for pid in children if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]


def gone(pids: list[int]) -> bool:
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["a process killed", "SIGTERM", "all killed"])
def test_a_run_in_two_processes_that_is_cut_off_leaves_none_behind_and_goes_on_in_one(train, tmp_path, how):
    words = ["trainer.max_epochs=40"]
    process = start(tmp_path / "runs", *words)
    pids = members(process)
    assert len(pids) == 2
    if how == "a process killed":
        os.kill(pids[1], signal.SIGKILL)
    else:
        process.send_signal(signal.SIGTERM if how == "SIGTERM" else signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    record = one_record(tmp_path / "runs")
    status, said, code = {
        "a process killed": ("failed", "process 2 of 2 was killed by signal 9", 1),
        "SIGTERM": ("interrupted", "interrupted; the same command goes on from the last checkpoint", 130),
        "all killed": ("running", "", -signal.SIGKILL),
    }[how]
    assert process.returncode == code
    assert record["status"] == status
    assert said in err
    assert "Traceback" not in err
    assert gone(pids)
    assert train(*WORDS, *words)[0] == 0
    record = one_record(tmp_path / "runs")
    assert [entry["resumed"] for entry in record["sessions"]] == [False, True]


@pytest.mark.slow
def test_a_mistake_in_several_processes_is_one_line_and_a_failed_record(train, tmp_path):
    line = "the training loss became NaN or infinite"
    code, _, err = train(*WORDS, *TWO, "optimizer=sgd", "optimizer.lr=1e38", "trainer.max_epochs=9")
    assert code == 1
    assert err.count("\n") == 1
    assert line in err
    record = one_record(tmp_path / "runs")
    assert record["status"] == "failed"
    assert line in record["error"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["architecture.batch_norm=true"], "batch norms over several processes need GPUs"),
        (["dataset.batch_size=1"], "dataset.batch_size=1 is for all 2 processes"),
        (["dataset.train_samples=2", "dataset.batch_size=2", "trainer.sync_batchnorm=false"], None),
    ],
    ids=["batch norm", "too small a batch", "a sample for each"],
)
def test_what_cannot_be_spread_over_processes_is_refused_by_each_before_it_trains(tmp_path, words, line):
    config = compose_job([*WORDS, *TWO, *words]).config
    place = Place(rank=1, world=2, local=1, beside=2)
    if line is None:
        Session(config, tmp_path, ("group", "neuron-hash", "seed0"), place)
    else:
        with pytest.raises(UserError, match=line):
            Session(config, tmp_path, ("group", "neuron-hash", "seed0"), place)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["trainer=ddp", "trainer.accelerator=cpu"], "trainer.devices=auto counts GPUs"),
        (["trainer.devices=0"], "trainer.devices must be a whole number above 0 or one of auto, got 0"),
        (["-m", "trainer.devices=2", "seed=0,1"], "a job of a sweep takes one device"),
    ],
)
def test_devices_that_cannot_be_had_are_one_line(train, words, line):
    code, _, err = train(*words)
    assert code in (1, 2)
    assert err.count("\n") == 1
    assert line in err


def test_the_environment_tells_which_of_several_tasks_this_is(monkeypatch):
    for name in ("SLURM_STEP_ID", "NNODES"):
        monkeypatch.delenv(name, raising=False)
    assert this_task() == Task()
    slurm = {"JOB_ID": "77", "STEP_ID": "0", "PROCID": "2", "STEP_NUM_TASKS": "3", "STEP_NODELIST": "gpu[3-4,9]"}
    for name, value in slurm.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert this_task()[:3] == (2, 3, "gpu3")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")  # one task of a job: a run of its own
    assert this_task() == Task()
    for name, value in {"NNODES": "2", "NODE_RANK": "1", "MASTER_ADDR": "a", "MASTER_PORT": "5"}.items():
        monkeypatch.setenv(name, value)
    assert this_task() == Task(1, 2, "a", 5)
    monkeypatch.delenv("MASTER_ADDR")
    with pytest.raises(UserError, match="MASTER_ADDR"):
        this_task()


@pytest.mark.slow
def test_two_tasks_started_by_hand_make_one_run(tmp_path):
    words = [*WORDS, f"paths.runs_dir={tmp_path / 'runs'}", "trainer.max_epochs=2"]
    command = [sys.executable, str(ROOT / "train.py"), *words]
    given = {"NNODES": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(20_000 + os.getpid() % 10_000)}
    tasks = [
        subprocess.Popen(
            command,
            env=os.environ | given | {"NODE_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (1, 0)
    ]
    (quiet, first_err), (said, second_err) = (task.communicate(timeout=120) for task in tasks)
    assert [task.returncode for task in tasks] == [0, 0], first_err + second_err
    assert quiet == ""
    assert said.count("run.json") == 1
    record = one_record(tmp_path / "runs")
    assert (record["status"], record["device"]["processes"]) == ("completed", 2)


@pytest.fixture(scope="module")
def slurm():
    with slurm_node() as folder:
        yield folder


@pytest.mark.slow
def test_two_tasks_of_a_slurm_job_make_one_run_which_the_user_signal_requeues(slurm, tmp_path):
    """The script for several machines, on one: two tasks with a process each."""
    runs, output = tmp_path / "runs", tmp_path / "output"
    job = ["--nodes=1", "--ntasks=2", "--ntasks-per-node=2", "--gpus-per-node=0", "--cpus-per-task=1", "--parsable"]
    words = ["trainer.devices=1", *WORDS, f"paths.runs_dir={runs}", "trainer.max_epochs=15"]
    script = [*job, f"--output={output}", "scripts/multi_node.sbatch", *words]
    given = os.environ | {"PYTHON": sys.executable}
    done = subprocess.run(["sbatch", *script], cwd=ROOT, env=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    number = done.stdout.strip()

    def until(holds) -> None:
        deadline = time.monotonic() + 120
        while not holds():
            assert time.monotonic() < deadline, output.read_text()
            time.sleep(0.05)

    until(lambda: any(runs.rglob("last.ckpt")))
    subprocess.run(["scancel", "--signal=USR1", number], check=True)
    until(lambda: one_record(runs)["status"] == "completed")
    until(lambda: f"JobId={number}" not in shown(number) or "JobState=COMPLETED" in shown(number))
    record, said = one_record(runs), output.read_text()
    assert record["device"]["processes"] == 2
    assert [entry["resumed"] for entry in record["sessions"]] == [False, True]
    assert said.count("requeued: it goes on from its last epoch") == 1
    assert said.count("run.json") == 1
    assert f"Slurm job {number} requeued" in said
    assert "Traceback" not in said


def shown(job: str) -> str:
    return subprocess.run(["scontrol", "show", "job", job], capture_output=True, text=True, check=False).stdout
