"""A queue of sweeps: what it holds, what is left of it, what it runs, and its mistakes in one line."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from snnrepro.errors import UserError
from snnrepro.jobs.queue import read_queue

ROOT = Path(__file__).resolve().parents[2]
QUICK = "dataset.train_samples=128 trainer.max_epochs=1"
QUEUE = """
hours: 1
items:
  - name: first
    asks: "does it run?"
    seconds: 10
    sweeps:
      - neuron=lif,psn seed=0 {quick} paths.runs_dir={runs}
  - name: second
    asks: "and on?"
    seconds: 3600
    sweeps:
      - neuron=lif seed=1 {quick} paths.runs_dir={runs}
{more}"""
MORE = """      - neuron=lif seed=0 neuron.v_threshold=0.5
        {quick} paths.runs_dir={runs}
"""


@pytest.fixture
def queue(tmp_path):
    """Writes a queue's file, with changes of its text. more: four runs in three sweeps, not three in two."""

    def write(*changes: tuple[str, str], more: bool = False):
        words = {"quick": QUICK, "runs": tmp_path / "runs"}
        text = QUEUE.format(**words, more=MORE.format(**words) if more else "")
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        file = tmp_path / "queue.yaml"
        file.write_text(text)
        return file

    return write


def test_a_queue_knows_its_runs_and_what_is_left(queue, train):
    file = queue(more=True)
    items = read_queue(file, []).items
    assert [(item.name, len(item.runs), item.left, item.spent) for item in items] == [
        ("first", 2, 2, 0),
        ("second", 2, 2, 0),
    ]
    assert train("neuron=psn", "seed=0", *QUICK.split())[0] == 0
    first = read_queue(file, []).items[0]
    assert (len(first.runs), first.left) == (2, 1)
    assert 0 < first.spent < 600


def test_words_that_are_added_reach_every_run(queue):
    folders = {
        run.job.config.paths.data_dir
        for item in read_queue(queue(), ["paths.data_dir=there"]).items
        for run in item.runs
    }
    assert folders == {"there"}


MISTAKES = {
    "no list": (("items:", "item:"), "a queue has `hours` and a list of `items`"),
    "hours a text": (("hours: 1", "hours: long"), "hours must be a number above 0, got 'long'"),
    "unknown key": (('asks: "and on?"', "ask: on"), "item 2: unknown key 'ask'; did you mean asks?"),
    "no seconds": (("    seconds: 10\n", ""), "item 1: seconds is missing"),
    "seconds 0": (("seconds: 10", "seconds: 0"), "item 1: seconds must be a number above 0, got 0"),
    "sweeps a text": (("sweeps:\n      - neuron=lif,psn", "sweeps: neuron=lif,psn"), "queue.yaml"),
    "an unknown neuron": (("neuron=lif,psn", "neuron=lif,psm"), "item 1 (first)"),
    "an unknown key of a run": (("seed=1", "sed=1"), "item 2 (second)"),
    "an option": (("seed=1", "-m"), "-m has no place in a sweep of a queue"),
    "a launcher": (("seed=1", "hydra/launcher=slurm"), "hydra/launcher=slurm has no place in a sweep of a queue"),
    "a run twice": (("seed=1", "seed=0"), "second and first hold the same run"),
}


@pytest.mark.parametrize(("change", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_that_says_where(change, message, queue):
    with pytest.raises(UserError) as caught:
        read_queue(queue(change), [])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_queue_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        read_queue(tmp_path / "none.yaml", [])


def test_it_is_run_to_its_end_and_nothing_twice(queue, script, tmp_path):
    file = queue(more=True)
    listed = script("reproduce.py", "--queue", str(file), "--list")
    assert (listed.returncode, listed.stderr) == (0, "that makes 2.01 h, more than the 1 h it may take\n")
    assert "0 of 4 completed" in listed.stdout
    assert not (tmp_path / "runs").exists()
    done = script("reproduce.py", "--queue", str(file), "--jobs", "2")
    assert done.returncode == 0, done.stderr
    assert "4 of 4 completed" in done.stdout.splitlines()[-1]
    records = {record: record.stat().st_mtime_ns for record in (tmp_path / "runs").rglob("run.json")}
    assert len(records) == 4
    again = script("reproduce.py", "--queue", str(file), "--jobs", "2")
    assert again.returncode == 0
    assert "train.py" not in again.stdout
    assert records == {record: record.stat().st_mtime_ns for record in records}
    done_late = script("reproduce.py", "--queue", str(queue(("hours: 1", "hours: 0.0001"), more=True)), "--list")
    assert (done_late.returncode, done_late.stderr) == (0, "")  # nothing is left that could take too long


def test_a_run_that_fails_does_not_stop_the_others(queue, script, tmp_path):
    file = queue(("seed=1", "seed=1 dataset.batch_size=9999"))
    done = script("reproduce.py", "--queue", str(file))
    assert done.returncode == 1
    assert "2 of 3 completed" in done.stdout.splitlines()[-1]


@pytest.mark.slow
def test_sigterm_stops_the_run_at_hand_and_the_same_command_goes_on(tmp_path):
    file = tmp_path / "queue.yaml"
    words = f"neuron=lif seed=0 dataset.train_samples=128 trainer.max_epochs=300 paths.runs_dir={tmp_path / 'runs'}"
    file.write_text(f"hours: 1\nitems: [{{name: one, asks: whether it stops, seconds: 9, sweeps: ['{words}']}}]")
    command = [sys.executable, str(ROOT / "scripts" / "reproduce.py"), "--queue", str(file)]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as queue:
        end = time.monotonic() + 120
        while not list((tmp_path / "runs").rglob("last.ckpt")):
            assert queue.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
        queue.send_signal(signal.SIGTERM)
        _, err = queue.communicate(timeout=60)
    assert (queue.returncode, err.splitlines()[-1]) == (130, "interrupted; the same command goes on")
    (record,) = (tmp_path / "runs").rglob("run.json")
    assert json.loads(record.read_text())["status"] == "interrupted"  # by the run itself: the signal reached it
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    sessions = json.loads(record.read_text())["sessions"]
    assert [session["resumed"] for session in sessions] == [False, True]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--queue", "none.yaml"], "none.yaml cannot be read"),
        (["--queue", "none.yaml", "claim=psn/*"], "--queue says itself what is run"),
        (["--queue", "none.yaml", "--jobs", "0"], "--jobs must be above 0, got 0"),
        (["--jobs", "2"], "--jobs goes with --queue"),
        (["--queue", "none.yaml", "neuron=lif"], "neuron=lif would make another run"),
    ],
)
def test_words_that_do_not_fit_are_one_line(words, message, script):
    done = script("reproduce.py", *words)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert message in done.stderr
