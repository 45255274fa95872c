"""How a scheduler ends a run: SIGTERM stops it, SIGUSR1 and SIGUSR2 stop it and put its Slurm job into the queue again.

Both end as KeyboardInterrupt, in training after the batch at hand has been saved, so that the run is recorded as
interrupted and goes on from there.
"""

import os
import signal
import subprocess
import sys
import threading
from types import FrameType, TracebackType
from typing import Any

from snnrepro import stopping

REQUEUE = (signal.SIGUSR2, signal.SIGUSR1)


class StopSignals:
    """A context manager that answers these signals while a run is inside; elsewhere than in the main thread, nothing.

    Submitit's own handlers would pass over SIGTERM and, on SIGUSR2, end the process before the record is written:
    inside, they are replaced; on leaving after SIGUSR1 or SIGUSR2, submitit's is called, which saves and requeues.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._earlier: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, *REQUEUE):
                self._earlier[number] = signal.signal(number, self._stop)
        return self

    def _stop(self, number: int, frame: FrameType | None) -> None:
        # Slurm signals srun and its processes, srun passes it on: the second must not cut the record's writing short.
        if self.received is None:
            self.received = number
            stopping.stop()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        stopped = isinstance(error, KeyboardInterrupt)
        try:
            if stopped and self.received in REQUEUE:
                self._requeue(self.received)
        finally:
            for number, handler in self._earlier.items():
                if handler is not None:  # None: not Python's
                    signal.signal(number, handler)

    def _requeue(self, number: int) -> None:
        for handler in map(self._earlier.get, REQUEUE):
            if callable(handler):
                handler(number, None)
                return
        job = os.environ.get("SLURM_JOB_ID")
        if job is None or os.environ.get("SLURM_PROCID", "0") != "0":  # of a job's tasks the first speaks for all
            return
        try:
            done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, check=False)
            complaint = done.stderr.strip() if done.returncode else ""
        except OSError as problem:
            complaint = str(problem)
        words = f"not requeued: {complaint}" if complaint else "requeued: it goes on from its last epoch"
        print(f"Slurm job {job} {words}", file=sys.stderr, flush=True)
