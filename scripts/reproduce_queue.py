"""The queue of scripts/reproduce.py: its table, and its sweeps one after the other."""

import sys
from pathlib import Path

from snnrepro import reproduce
from snnrepro.errors import UserError
from snnrepro.jobs.queue import Queue, read_queue
from snnrepro.ledger.tables import show


def listing(queue: Queue, jobs: int) -> None:
    """A table of what is done and left, and below it the hours."""
    from rich.table import Table

    table = Table(title="queue", title_justify="left")
    for column in ("item", "asks"):
        table.add_column(column, overflow="fold")
    for column in ("runs", "completed", "taken", "left, about"):
        table.add_column(column, justify="right")
    for item in queue.items:
        table.add_row(
            item.name,
            item.asks,
            f"{len(item.runs)}",
            f"{len(item.runs) - item.left}",
            f"{item.spent / 60:.1f} min",
            f"{item.left * item.seconds / 60:.1f} min",
        )
    show(table)
    runs = sum(len(item.runs) for item in queue.items)
    left = sum(item.left for item in queue.items)
    spent = sum(item.spent for item in queue.items) / 3600
    wanted = sum(item.left * item.seconds for item in queue.items) / 3600
    print(
        f"{runs - left} of {runs} completed; their runs took {spent:.2f} h, those left take about {wanted:.2f} h: "
        f"{wanted / jobs:.2f} h of this machine, {jobs} at a time"
    )
    if wanted and (whole := (spent + wanted) / jobs) > queue.hours:
        print(f"that makes {whole:.2f} h, more than the {queue.hours:g} h it may take", file=sys.stderr)


def _read(file: Path, extra: list[str]) -> Queue:
    """To compose every run takes a while: something moves meanwhile."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        progress.add_task("reading the queue", total=None)
        return read_queue(file, extra)


def run_queue(file: Path, extra: list[str], jobs: int, *, only_list: bool) -> int:
    """Run what is left of a queue; the exit code, 1 where a run did not complete.

    Raises UserError for a queue that is wrong, KeyboardInterrupt where it was interrupted.
    """
    queue = _read(file, extra)
    listing(queue, jobs)
    if only_list:
        return 0
    # Bars of several runs at once would be a tangle: a line for each epoch instead, and one as a run ends.
    together = ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={jobs}", "trainer.progress_bar=false"]
    launcher = together if jobs > 1 else []
    for item in queue.items:
        for sweep in item.sweeps:
            left = sum(not run.completed for run in sweep.runs)
            if not left:
                continue
            print(f"\n{item.name}: python train.py -m {' '.join(sweep.words)}", flush=True)
            code = reproduce.start(["-m", *launcher, *sweep.words])
            if code == 130 or code < 0:
                raise KeyboardInterrupt
            if code == 2:  # nothing was started, and it was said why
                raise UserError(f"{item.name} was not started")
    print()
    listing(queue, jobs)
    return 1 if any(item.left for item in queue.items) else 0
