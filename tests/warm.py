"""A process that has imported what train.py needs and forks one for each run, so that a run starts in no time.

Reads a JSON object a line: `words` of the command line, `output` (a file), and where the run is to be killed: `after`
seconds, or `at` a point of its own ("checkpoint", "between", "best", "record") for the `number`th time, or told to stop
by a `signal` in the `number`th training step. Answers with the signal that ended the run, or its exit code.
"""

import io
import json
import os
import runpy
import signal
import sys
import time
from pathlib import Path

import torch

import snnrepro.restore  # noqa: F401  with all that trains
from snnrepro.ledger import record
from snnrepro.training import checkpoints
from snnrepro.training.classifier import Classifier

ROOT = Path(__file__).resolve().parents[1]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def half_written(save, stream_of, at):
    """`save`, which writes half of what it should and dies, for the `at`th time that it is called."""
    calls = iter(range(1, 10**6))

    def wrapped(value, stream, *rest, **settings):
        if next(calls) == at:
            whole = stream_of()
            save(value, whole, *rest, **settings)
            half = whole.getvalue()[: len(whole.getvalue()) // 2]
            stream.write(half)
            stream.flush()
            die()
        save(value, stream, *rest, **settings)

    return wrapped


def arm(at: str, number: int) -> None:
    """Let this process be killed at a point of its own."""
    if at == "record":
        record.json.dump = half_written(json.dump, io.StringIO, number)
    elif at == "between":  # the last checkpoint has become the previous one, the new one has no name yet
        replace, calls = Path.replace, iter(range(1, 10**6))

        def wrapped(self, target):
            if Path(target).name == "last.ckpt" and next(calls) == number:
                die()
            return replace(self, target)

        Path.replace = wrapped
    else:
        write, calls = checkpoints.write, iter(range(1, 10**6))

        def counted(saved, file, keep=None):
            if (keep is None) == (at == "best") and next(calls) == number:
                torch.save = half_written(torch.save, io.BytesIO, 1)
            write(saved, file, keep)

        checkpoints.write = counted


def tell(number: int, step: int) -> None:
    """Let this process get a signal in the middle of a training step."""
    training_step, calls = Classifier.training_step, iter(range(1, 10**6))

    def wrapped(self, batch, batch_idx):
        if next(calls) == step:
            os.kill(os.getpid(), number)
        return training_step(self, batch, batch_idx)

    Classifier.training_step = wrapped


def run(task: dict) -> None:
    """In the forked process: train.py with these words, its output in a file."""
    output = os.open(task["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    if "at" in task:
        arm(task["at"], task["number"])
    if "signal" in task:
        tell(task["signal"], task["number"])
    sys.argv = ["train.py", *task["words"]]
    try:
        runpy.run_path(str(ROOT / "train.py"), run_name="__main__")
    except SystemExit as stopped:
        sys.stdout.flush()
        os._exit(int(stopped.code or 0))
    os._exit(99)


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        task = json.loads(line)
        child = os.fork()
        if not child:
            run(task)
        if "after" in task:
            time.sleep(task["after"])
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        print(json.dumps(os.waitstatus_to_exitcode(status)), flush=True)
