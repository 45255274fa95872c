"""What stands around train.py: check every job before the first one starts, and end with what the records say."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snnrepro.config.compose import compose_jobs, with_sections, with_sweep
from snnrepro.config.launchers import chosen_launcher
from snnrepro.errors import UserError
from snnrepro.jobs.processes import this_task
from snnrepro.jobs.signals import StopSignals

if TYPE_CHECKING:
    from snnrepro.jobs.outcomes import Outcome


def launch(task: Callable[..., Any]) -> int:
    """Run a Hydra task on this process's command line, or on the launcher that it names; the exit code.

    0: every run completed. 1: a run failed. 2: nothing was started, the command line is wrong or no engine takes the
    jobs. 130: interrupted.
    """
    # Hydra then raises its errors to here instead of printing them over several lines.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    # argparse takes overrides on one side of an option only; `a=1 -m b=2` is as clear as `-m a=1 b=2`.
    sys.argv[1:] = sorted(sys.argv[1:], key=lambda word: word not in ("-m", "--multirun"))
    try:
        sys.argv[1:] = with_sections(with_sweep(sys.argv[1:]))
        launcher = chosen_launcher(sys.argv[1:])
        jobs = compose_jobs(sys.argv[1:])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if not jobs:
        task()
        return 0
    from snnrepro.jobs.outcomes import outcomes

    runs = outcomes(jobs)
    try:
        with StopSignals():
            if launcher is None:
                task()
            else:
                from snnrepro.jobs.sweeps import run_elsewhere

                run_elsewhere(launcher, task.__wrapped__, runs)  # type: ignore[attr-defined]
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        if launcher is not None:
            return 2
        if len(runs) > 1:
            report(runs)
        return 1
    except KeyboardInterrupt:
        if len(runs) > 1:
            report(runs, ended=launcher is None)
        return 130
    if this_task().rank:  # the first task of a job speaks for all
        return 0
    return report(runs)


def report(runs: list["Outcome"], *, ended: bool = True) -> int:
    """Print the run's table, or the sweep's; 1 where a run of this command did not complete, by its record.

    ended: no run of the command goes on elsewhere.
    """
    from snnrepro.ledger.tables import run_table, runs_table, show

    completed = sum(run.completed for run in runs)
    if len(runs) > 1:
        show(runs_table("sweep", [(run.name, run.shown(ended=ended)) for run in runs]))
        print(f"records: {Path(runs[0].job.config.paths.runs_dir)}; {completed} of {len(runs)} completed")
    elif completed and (record := runs[0].record) is not None:
        show(run_table(record, str(runs[0].folder)))
    return 0 if completed == len(runs) else 1
