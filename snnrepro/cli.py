"""What stands around train.py: check every job before the first one starts, and end with what the records say."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from snnrepro.config.compose import Job, compose_jobs, with_sections, with_sweep
from snnrepro.errors import UserError
from snnrepro.processes import this_task


def launch(task: Callable[[], object]) -> int:
    """Run a Hydra task on this process's command line; the exit code.

    0: every run completed. 1: a run failed. 2: nothing was started, the command line is wrong. 130: interrupted.
    """
    # Hydra then raises its errors to here instead of printing them over several lines.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    # argparse takes overrides on one side of an option only; `a=1 -m b=2` is as clear as `-m a=1 b=2`.
    sys.argv[1:] = sorted(sys.argv[1:], key=lambda word: word not in ("-m", "--multirun"))
    try:
        sys.argv[1:] = with_sections(with_sweep(sys.argv[1:]))
        jobs = compose_jobs(sys.argv[1:])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    # A scheduler's SIGTERM ends a run as Ctrl-C does: recorded as interrupted, to be resumed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        task()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        if len(jobs) > 1:
            report(jobs)
        return 1
    except KeyboardInterrupt:
        if len(jobs) > 1:
            report(jobs)
        return 130
    if this_task().rank:  # the first task of a job speaks for all
        return 0
    return report(jobs) if jobs else 0


def report(jobs: list[Job]) -> int:
    """Print the run's table, or the sweep's; 1 where a run of this command did not complete, by its record or here."""
    from snnrepro.ledger.record import Run, read_record, run_folder
    from snnrepro.ledger.tables import run_table, runs_table, show

    folders = [run_folder(job.config, job.choices) for job in jobs]
    records = [read_record(folder) for folder in folders]
    completed = [record is not None and record.get("status") == "completed" for record in records]
    if len(jobs) > 1:
        common = set.intersection(*(set(job.overrides) for job in jobs))
        names = [" ".join(word for word in job.overrides if word not in common) for job in jobs]
        show(runs_table("sweep", list(zip(names, records, strict=True))))
        print(f"records: {Path(jobs[0].config.paths.runs_dir)}; {sum(completed)} of {len(jobs)} completed")
    elif completed[0] and records[0] is not None and not Run.unfinished:
        show(run_table(records[0], str(folders[0])))
    return 0 if all(completed) and not Run.unfinished else 1
