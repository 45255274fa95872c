"""What the page shows (snnrepro.ledger.page), gathered from runs, verdicts and rows of benchmarks."""

import math
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from snnrepro.ledger.claims_table import interval, measured, papers, tolerance
from snnrepro.ledger.columns import COLUMNS
from snnrepro.ledger.groups import Group, groups, metric_value, paper_of
from snnrepro.ledger.runs import Judged, Record, Recorded, Records, Row, number
from snnrepro.ledger.tables import busy
from snnrepro.ledger.verdicts import STATES

# Points of a learning curve on the page, at most: more than a screen's column of pixels for each says nothing.
CURVE_POINTS = 100
DIGITS = 4
COUNT_DIGITS = 7  # of operations, so that a reader finds the very numbers of the record


def page_data(records: Records, judged: Sequence[Judged], out: Path, made: dict[str, Any]) -> dict[str, Any]:
    """The `data` of `snnrepro.ledger.page.page`; links are relative to the folder `out`."""
    # Runs as the tables have them: of one identity one, and what is not to be mixed in a group of its own.
    known = [(run, _group(group)) for group in groups(records.runs) for run in group.runs]
    indices = {run.record["identity"]: index for index, (run, _) in enumerate(known)}
    common, own, of_run = _configs([run.record["config"] for run, _ in known])
    return {
        "title": "snnrepro: what holds of the papers' claims",
        "made": made,
        "metrics": [
            {
                "key": column.metric,
                "label": column.label,
                "unit": column.unit,
                "better": column.better,
                "scale": column.scale,
                "about": column.about,
            }
            for column in COLUMNS
        ],
        "claims": [
            _claim(one, indices, out) for one in sorted(judged, key=lambda one: STATES.index(one.verdict.state))
        ],
        "configs": {"common": common, "own": own},
        "runs": [_run(run, group, config, out) for (run, group), config in zip(known, of_run, strict=True)],
        "speedups": [_speedup(row, out) for row in records.rows.get("neurons", []) if _is_speedup(row)],
        "counters": counters(records.runs, out),
        "broken": [{"file": link(file, out), "why": why} for file, why in records.broken],
    }


def link(file: Path, out: Path) -> str:
    """A file's place seen from the folder `out`, as a URL."""
    return quote(Path(os.path.relpath(file, out)).as_posix())


def _group(group: Group) -> str:
    return group.place + (f" ({', '.join(group.notes)})" if group.notes else "")


def _claim(one: Judged, indices: dict[str, int], out: Path) -> dict[str, Any]:
    claim, verdict = one.claim, one.verdict
    return {
        "name": claim.name,
        "paper": paper_of({"experiment": claim.experiment}),
        "experiment": claim.experiment,
        "dataset": claim.experiment.rpartition("/")[2],
        "statement": claim.statement,
        "kind": claim.kind,
        "of": list(claim.of),
        "metric": claim.metric,
        "protocol": claim.protocol,
        "source": claim.source,
        "value": papers(claim),
        "tolerance": tolerance(claim),
        "ours": measured(verdict, claim) if verdict.ours else "",
        "interval": interval(verdict, claim),
        "seeds": verdict.seeds,
        "min_seeds": claim.min_seeds,
        "verdict": verdict.state,
        "why": verdict.why,
        "runs": [indices[run.record["identity"]] for run in one.runs],
        "links": sorted({link(row.file, out) for row in one.rows}),
        "command": f"python scripts/reproduce.py claim={claim.name}",
    }


def _run(run: Recorded, group: str, config: int, out: Path) -> dict[str, Any]:
    record = run.record
    git, device, data = (record.get(key) or {} for key in ("git", "device", "data"))
    return {
        "id": record["identity"],
        "group": group,
        "link": link(run.folder / "run.json", out),
        "status": record["status"],
        "error": record.get("error"),
        "paper": paper_of(record),
        "experiment": record.get("experiment"),
        **{key: str(record.get(key) or "") for key in ("dataset", "architecture", "neuron", "protocol", "command")},
        "seed": run.seed,
        "reduced": record.get("reduced"),
        "partial": bool(data.get("partial")),
        "version": record["config"].get("version"),
        "commit": git.get("commit"),
        "dirty": git.get("dirty"),
        "device": str(device.get("name") or ""),
        "threads": device.get("threads"),
        "busy": busy(record),
        "config": config,
        "metrics": {column.metric: _short(metric_value(record, column.metric)) for column in COLUMNS},
        "layers": [
            {
                "name": name,
                "rate": _short(layer.get("firing_rate")),
                "silent": _share(layer, "silent"),
                "saturated": _share(layer, "saturated"),
            }
            for name, layer in _firing(record).items()
        ],
        "curve": _curve(run),
        "rates": _over_time(run),
    }


def _firing(record: Record) -> dict[str, dict[str, Any]]:
    """The layers of neurons with their rates, of records without `layers` by their metrics."""
    layers = {name: layer for name, layer in (record.get("layers") or {}).items() if "firing_rate" in layer}
    if layers:
        return layers
    prefix = "test/firing_rate/"
    return {
        name.removeprefix(prefix): {"firing_rate": value}
        for name, value in record["metrics"].items()
        if name.startswith(prefix)
    }


def _share(layer: dict[str, Any], what: str) -> float | None:
    neurons = layer.get("neurons")
    return _short(layer[what] / neurons) if neurons and what in layer else None


def _curve(run: Recorded) -> dict[str, Any] | None:
    """Epochs from 1, with the accuracy of the split that is judged after each."""
    rows = run.curves()
    if not rows:
        return None
    stage = "validation" if run.record.get("protocol") == "validated" else "epoch_test"
    chosen = [rows[point] for point in _points(len(rows))]

    def column(name: str) -> list[float | None]:
        return [_short(number(row.get(name))) for row in chosen]

    epochs = [number(row.get("epoch")) for row in chosen]
    if not all(map(math.isfinite, epochs)):
        return None
    return {
        "epochs": [int(epoch) + 1 for epoch in epochs],
        "accuracy": column(f"{stage}/accuracy"),
        "train": column("train/accuracy"),
        "loss": column("train/loss"),
    }


def _over_time(run: Recorded) -> dict[str, Any] | None:
    """The firing rate of all layers together at each time-step: that of each, weighted by its neurons."""
    rows = run.rates()
    neurons = {name: float(layer.get("neurons") or 0) for name, layer in _firing(run.record).items()}
    total = sum(neurons.values())
    if not rows or not all(neurons.values()) or not total:
        return None
    chosen = [rows[point] for point in _points(len(rows))]
    rates = [sum(count * number(row.get(name)) for name, count in neurons.items()) / total for row in chosen]
    steps = [number(row.get("step")) for row in chosen]
    if not all(map(math.isfinite, steps)):
        return None
    return {"steps": [int(step) for step in steps], "rate": [_short(rate) for rate in rates]}


def _points(length: int) -> list[int]:
    """At most CURVE_POINTS of so many rows, the first and the last among them."""
    return sorted({round(k * (length - 1) / (CURVE_POINTS - 1)) for k in range(CURVE_POINTS)})


def _short(value: Any, digits: int = DIGITS) -> float | None:
    """In as many digits as anyone reads; NaN and infinity as None."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(f"{value:.{digits}g}")


def _configs(configs: Sequence[dict[str, Any]]) -> tuple[dict[str, str], list[dict[str, str]], list[int]]:
    """What most configs have; what each one has instead, `` for a key that it lacks; which of these each run has."""
    flat = [_flat(config) for config in configs]
    keys = sorted({key for one in flat for key in one})
    common = {key: Counter(one.get(key, "") for one in flat).most_common(1)[0][0] for key in keys}
    known: dict[tuple[tuple[str, str], ...], int] = {}
    of_run = []
    for one in flat:
        own = tuple((key, one.get(key, "")) for key in keys if one.get(key, "") != common[key])
        of_run.append(known.setdefault(own, len(known)))
    return common, [dict(own) for own in known], of_run


def _flat(node: Any, key: str = "") -> dict[str, str]:
    """A config as dotted keys and texts, without what says where it ran, and without the seed."""
    if isinstance(node, dict) and node:
        found: dict[str, str] = {}
        for inner, value in node.items():
            name = f"{key}.{inner}" if key else str(inner)
            if not name.endswith("_partial_") and name not in ("logger", "seed", "measure"):
                found |= _flat(value, name)
        return found
    return {key: "null" if node is None else str(node)}


def _is_speedup(row: Row) -> bool:
    """Of the form that the neuron takes by itself; the others stand in the file of rows."""
    get = row.values.get
    return get("auto") is not False and bool(get("neuron")) and all(isinstance(get(key), float) for key in ("T", "N"))


def _speedup(row: Row, out: Path) -> dict[str, Any]:
    get = row.values.get
    texts = {key: str(get(key) or "") for key in ("neuron", "kernel", "baseline", "dtype", "device", "pass")}
    return texts | {
        "T": int(get("T") or 0),
        "N": int(get("N") or 0),
        "threads": int(threads) if isinstance(threads := get("threads"), float) else None,
        "speedup": _short(get("speedup")),
        "low": _short(get("speedup_low")),
        "high": _short(get("speedup_high")),
        "link": link(row.file, out),
    }


def counters(runs: Sequence[Recorded], out: Path) -> list[dict[str, Any]]:
    """Our account and other packages', of the first run of each place that has them."""
    rows: list[dict[str, Any]] = []
    seen: set[str] = set()
    for run in runs:
        found = (run.record.get("counters") or {}).get("rows") or []
        if run.place in seen or not found:
            continue
        seen.add(run.place)
        for row in found:
            numbers = ("acs", "macs", "neuron_acs", "neuron_macs", "state_bytes", "energy_pj")
            rows.append(
                {
                    "net": run.place,
                    "counter": str(row.get("counter")),
                    **{key: _short(row.get(key), COUNT_DIGITS) for key in numbers},
                    "leaves_out": " ".join(
                        part
                        for part in (
                            str(row.get("leaves_out") or ""),
                            f"Also counts: {row['also_counts']}" if row.get("also_counts") else "",
                            f"Prices: {row['prices']}." if row.get("prices") else "",
                        )
                        if part
                    ),
                    "link": link(run.folder / "run.json", out),
                }
            )
    return rows
