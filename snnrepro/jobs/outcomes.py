"""What became of the runs of a command, by their records: a scheduler calls completed what only ended."""

import threading
from pathlib import Path
from types import TracebackType
from typing import Any

from snnrepro.config.compose import Job
from snnrepro.ledger.record import read_record, run_folder

SECONDS = 2.0  # between two looks at the records while jobs run elsewhere
ENDED = ("completed", "failed", "interrupted")


class Outcome:
    """One run of a command; made before it starts, so that what is in its record by then is not taken for its result.

    done: it is completed already, there is nothing to run.
    """

    def __init__(self, job: Job, name: str) -> None:
        self.job = job
        self.name = name
        self.folder: Path = run_folder(job.config, job.choices)
        self.before = read_record(self.folder)
        self.done = not job.config.overwrite and _status(self.before) == "completed"

    @property
    def record(self) -> dict[str, Any] | None:
        """What this command's run has written; None as long as that is nothing."""
        found = read_record(self.folder)
        return found if self.done or found != self.before else None

    def shown(self, *, ended: bool) -> dict[str, Any] | None:
        """The record for a table. Its status says in words what no record does: lost, or not run and an earlier kept.

        ended: no job of the command runs any more.
        """
        record = self.record
        if record is None and self.before is not None:
            return {**self.before, "status": f"not run; the earlier record, {_status(self.before)}, was kept"}
        if ended and _status(record) == "running":
            return {**(record or {}), "status": "lost: its process ended without a word; the same command goes on"}
        return record

    @property
    def completed(self) -> bool:
        return _status(self.record) == "completed"


def outcomes(jobs: list[Job]) -> list[Outcome]:
    """One for each job, called by the words that not all jobs have."""
    common = set.intersection(*(set(job.overrides) for job in jobs))
    return [Outcome(job, " ".join(word for word in job.overrides if word not in common) or "the run") for job in jobs]


def _status(record: dict[str, Any] | None) -> str | None:
    return None if record is None else str(record.get("status"))


class Progress:
    """A context manager that prints a line for each run that ends while the jobs run elsewhere."""

    def __init__(self, runs: list[Outcome]) -> None:
        self._runs = runs
        self._told: dict[Path, str | None] = {run.folder: "completed" for run in runs if run.done}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Progress":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._tell()

    def _watch(self) -> None:
        while not self._stop.wait(SECONDS):
            self._tell()

    def _tell(self) -> None:
        for run in self._runs:
            if self._told.get(run.folder) == "completed":
                continue
            record = run.record
            status = _status(record)
            if status != self._told.get(run.folder):
                self._told[run.folder] = status
                if record is not None and status in ENDED:
                    completed = sum(told == "completed" for told in self._told.values())
                    error = f": {record['error']}" if record.get("error") else ""
                    print(f"{completed} of {len(self._runs)} completed; {run.name}: {status}{error}", flush=True)
