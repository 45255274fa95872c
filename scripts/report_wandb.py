"""The recorded runs as Weights & Biases runs, with the names, groups and metrics that logger=wandb gives them."""

import argparse
import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.progress import track

from snnrepro.errors import UserError, first_line
from snnrepro.ledger.formats import TextTable
from snnrepro.ledger.runs import Recorded, number


def upload(runs: Sequence[Recorded], claims: TextTable, out: Path, arguments: argparse.Namespace) -> None:
    """One wandb run for each completed run, its curves by epoch and its metrics as summary; the claims as a table.

    A run's wandb id is a hash of its identity: uploading again continues the same run. Raises UserError where wandb
    cannot start.
    """
    import wandb

    unique = {str(run.record["identity"]): run for run in reversed(runs) if run.record["status"] == "completed"}
    completed = list(unique.values())
    folder, project = out if arguments.offline else None, arguments.project or "snnrepro"
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    settings: dict[str, Any] = {
        "project": project,
        "entity": arguments.entity,
        "mode": "offline" if arguments.offline else "online",
        "resume": None if arguments.offline else "allow",
        "dir": str(folder) if folder is not None else None,
        "settings": wandb.Settings(silent=True, init_timeout=60),
    }
    try:
        for run in track(completed, description="writing", transient=True):
            _one(run, settings)
        with wandb.init(name="claims", group="claims", id=_id(f"claims of {project}"), **settings) as one:
            one.log({"claims": wandb.Table(columns=list(claims.columns), data=[list(row) for row in claims.rows])})
    except (wandb.Error, OSError) as error:
        raise UserError(f"wandb: {first_line(error)}; run `wandb login`, or add --offline") from None
    where = f"{folder / 'wandb'}: `wandb sync --sync-all` there uploads them" if folder else project
    print(f"{len(completed)} runs and a table of {len(claims.rows)} claims written to {where}")


def _one(run: Recorded, settings: dict[str, Any]) -> None:
    import wandb

    group, neuron = run.place.rsplit("/", 1)
    named: dict[str, Any] = {
        "name": f"{neuron}-seed{run.seed}",
        "group": run.place,
        "tags": [group, neuron.rpartition("-")[0]],
    }
    identity = str(run.record["identity"])
    with wandb.init(id=_id(identity), config=run.record["config"], **named, **settings) as one:
        for row in run.curves():
            values = {name: number(value) for name, value in row.items()}
            kept = {name: value for name, value in values.items() if math.isfinite(value)}
            one.log(kept, step=int(kept["epoch"]) if "epoch" in kept else None, commit=True)
        one.summary.update({name: value for name, value in run.record["metrics"].items() if value is not None})


def _id(identity: str) -> str:
    return hashlib.sha256(identity.encode()).hexdigest()[:16]
