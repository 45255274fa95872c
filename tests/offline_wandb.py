"""What a Weights & Biases run wrote without network, read back."""

import json
import time
from pathlib import Path
from typing import Any, NamedTuple

PATIENCE_SECONDS = 30


class OfflineRun(NamedTuple):
    """run: wandb's own description; summary: its last metrics; rows: the keys of every step; exit_code."""

    run: Any
    summary: dict[str, Any]
    rows: list[str]
    exit_code: int | None


def offline_runs(folder: Path) -> list[OfflineRun]:
    """Every run below a folder, in the order of their files' names."""
    return [_read(file) for file in sorted(folder.rglob("*.wandb"))]


def _read(file: Path) -> OfflineRun:
    """wandb's service writes a run's end a moment after its process has gone on: wait for it."""
    end = time.monotonic() + PATIENCE_SECONDS
    while (found := _read_once(file)).exit_code is None and time.monotonic() < end:
        time.sleep(0.1)
    return found


def _read_once(file: Path) -> OfflineRun:
    from wandb.proto import wandb_internal_pb2
    from wandb.sdk.internal.datastore import DataStore

    store = DataStore()
    store.open_for_scan(str(file))
    run, summary, rows, exit_code = None, {}, [], None
    while (data := store.scan_data()) is not None:
        item = wandb_internal_pb2.Record()
        item.ParseFromString(data)
        kind = item.WhichOneof("record_type")
        if kind == "run":
            run = item.run
        elif kind == "summary":
            summary |= {u.key or u.nested_key[0]: json.loads(u.value_json) for u in item.summary.update}
        elif kind == "history":
            rows += [i.key or i.nested_key[0] for i in item.history.item]
        elif kind == "exit":
            exit_code = item.exit.exit_code
    store.close()
    return OfflineRun(run, summary, rows, exit_code)
