"""All that was measured: every run.json and every row of a benchmark below some folders.

A file that cannot be read is named with what is wrong in it, and passed over.
"""

import csv
import json
import math
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from snnrepro.errors import printable
from snnrepro.ledger.claims import Claim
from snnrepro.ledger.record import each_text, finite
from snnrepro.ledger.verdicts import Verdict

Record = dict[str, Any]


class Recorded(NamedTuple):
    """A run's record and where it lies."""

    folder: Path
    record: Record

    @property
    def place(self) -> str:
        """<group>/<neuron>-<hash8>: runs that differ in nothing but their seed, machine and commit."""
        return str(self.record["identity"]).rpartition("/seed")[0]

    @property
    def seed(self) -> int:
        return int(str(self.record["identity"]).rpartition("/seed")[2])

    def curves(self) -> list[dict[str, str]]:
        """The rows of curves.csv; none where there is no such file or it cannot be read."""
        return _rows(self.folder / "curves.csv")

    def rates(self) -> list[dict[str, str]]:
        """The rows of rates.csv, alike."""
        return _rows(self.folder / "rates.csv")


class Row(NamedTuple):
    """A row of a benchmark: its file and its columns, numbers where they are numbers."""

    file: Path
    values: dict[str, Any]


class Broken(NamedTuple):
    """A file that cannot be read, and why."""

    file: Path
    why: str


class Judged(NamedTuple):
    """A claim, its verdict, and what that was made of."""

    claim: Claim
    verdict: Verdict
    runs: tuple[Recorded, ...]
    rows: tuple[Row, ...]


class Records:
    """What lies below some folders, read once.

    runs: every run, by folder. by_place: those of each identity, seeds apart, completed ones first, then those from a
    clean commit, then that of the folder named first. rows: those of each benchmark, by its name. broken: files that
    could not be read.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        self.runs: list[Recorded] = []
        self.by_place: dict[str, dict[int, list[Recorded]]] = defaultdict(lambda: defaultdict(list))
        self.rows: dict[str, list[Row]] = defaultdict(list)
        self.experiments: set[str] = set()
        self.broken: list[Broken] = []
        seen: set[Path] = set()  # one folder may lie in another
        for folder in folders:
            for file in [*sorted(folder.rglob("run.json")), *sorted(folder.glob("benchmarks/**/*.csv"))]:
                if file.resolve() not in seen:
                    seen.add(file.resolve())
                    (self._add if file.name == "run.json" else self._add_rows)(file)

    def _add(self, file: Path) -> None:
        record = read(file)
        if isinstance(record, str):
            self.broken.append(Broken(file, _line(record)))
            return
        run = Recorded(file.parent, record)
        self.runs.append(run)
        alike = self.by_place[run.place][run.seed]
        alike.append(run)
        alike.sort(key=lambda one: worth(one.record), reverse=True)
        if record.get("experiment"):
            self.experiments.add(record["experiment"])

    def _add_rows(self, file: Path) -> None:
        rows = _rows(file)
        if not rows:
            self.broken.append(Broken(file, "no rows"))
        for row in rows:
            name = row.get("benchmark") or file.stem.rpartition("_")[0]
            self.rows[name].append(Row(file, {key: _number(value) for key, value in row.items() if key is not None}))


def worth(record: Record) -> tuple[bool, bool]:
    """What counts first among runs of one identity: completed ones, then those from a clean commit."""
    return record["status"] == "completed", not (record.get("git") or {}).get("dirty")


def read(file: Path) -> Record | str:
    """A record with all that is judged in the shape that `train.py` writes; for any other file what is wrong with it.

    NaN and infinity become None.
    """
    try:
        record = json.loads(file.read_text(), parse_constant=lambda _: None)
    except OSError as error:
        return str(error.strerror)
    except (ValueError, RecursionError):
        return "no JSON"
    if not isinstance(record, dict):
        return "no record of a run"
    identity = record.get("identity")
    place, _, seed = identity.rpartition("/seed") if isinstance(identity, str) else ("", "", "")
    if place.count("/") < 1 or not seed.isdecimal():
        return "no identity"
    if not isinstance(record.get("status"), str):
        return "no status"
    for key in ("neuron", "protocol"):
        if not isinstance(record.get(key), str):
            return f"no {key}"
    for key in ("experiment", "dataset", "architecture", "command", "error", "reduced", "cost_model"):
        if not isinstance(record.get(key), str | None):
            return f"{key} is no text"
    for key in ("metrics", "config"):
        if not isinstance(record.get(key), dict):
            return f"no {key}"
    for key in ("device", "data", "git", "samples", "layers", "operations", "counters", "others_cpu_share"):
        if not isinstance(record.get(key), dict | None):
            return f"{key} is no mapping"
    numbers = dict(record["metrics"])
    for name, layer in (record.get("layers") or {}).items():
        if not isinstance(layer, dict):
            return f"layers: {name} is no mapping"
        numbers |= {f"layers: {name}.{key}": value for key, value in layer.items()}
    for name in ("operations", "others_cpu_share"):
        numbers |= {f"{name}: {key}": value for key, value in (record.get(name) or {}).items()}
    rows = (record.get("counters") or {}).get("rows") or []
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        return "counters: rows is no list of mappings"
    wrong = [name for name, value in numbers.items() if not isinstance(value, int | float | None)]
    if wrong:
        return f"{wrong[0]} is no number"
    try:
        json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return "a text in it is no Unicode"
    return dict(each_text(finite(record), _line))


def _line(text: str) -> str:
    return printable(text).replace("\n", " ")


def _rows(file: Path) -> list[dict[str, str]]:
    try:
        rows = list(csv.DictReader(file.read_text().splitlines()))
    except (OSError, ValueError, csv.Error):
        return []
    return [dict(each_text(row, _line)) for row in rows]


def number(text: str | None) -> float:
    """A cell as a number, NaN where it is none."""
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def _number(text: str | None) -> Any:
    """A cell as a number or None where it is one, else as it is."""
    if text in (None, ""):
        return None
    try:
        value = float(str(text))
    except ValueError:
        return {"True": True, "False": False}.get(str(text), text)
    return value if math.isfinite(value) else None
