"""A list of sweeps that are run one after the other, stopped at any moment and gone on with on another day.

A queue is a YAML file:

    hours: 5               of this machine, what the whole list may take
    items:
      - name: digits       one word; names it in the table
        asks: a sentence
        seconds: 20        about, of one run beside jobs - 1 others
        sweeps:            each the words of a `train.py -m`, in one text
          - neuron=lif,psn seed=0,1,2 paths.runs_dir=results/digits

What is done is read from the records: nothing else is kept.
"""

import shlex
from pathlib import Path
from typing import Any, NamedTuple

from snnrepro.config.compose import compose_jobs
from snnrepro.errors import UserError, did_you_mean
from snnrepro.jobs.outcomes import Outcome, outcomes

KEYS = ("name", "asks", "seconds", "sweeps")


class Sweep(NamedTuple):
    """The words of one `train.py -m`, and its runs."""

    words: tuple[str, ...]
    runs: tuple[Outcome, ...]


class Item(NamedTuple):
    """One entry of a queue. seconds: about, of one run."""

    name: str
    asks: str
    seconds: float
    sweeps: tuple[Sweep, ...]

    @property
    def runs(self) -> list[Outcome]:
        return [run for sweep in self.sweeps for run in sweep.runs]

    @property
    def left(self) -> int:
        return sum(not run.completed for run in self.runs)

    @property
    def spent(self) -> float:
        """Seconds of its runs so far, of all their sessions, by their records."""
        return sum(
            float(session.get("seconds") or 0)
            for run in self.runs
            for session in (run.record or run.before or {}).get("sessions", [])
        )


class Queue(NamedTuple):
    """hours: what the whole list may take, of the machine."""

    hours: float
    items: tuple[Item, ...]


def read_queue(file: Path, extra: list[str]) -> Queue:
    """A queue, every run composed and checked. extra: words added to every sweep.

    Raises UserError, naming file and item, for what cannot be read, is not as above, or does not compose; and where
    two sweeps name the same run.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        content: Any = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    except (YAMLError, OmegaConfBaseException, OSError, ValueError) as error:
        raise UserError(" ".join(f"{file} cannot be read: {error}".split())) from None
    if not isinstance(content, dict) or set(content) != {"hours", "items"} or not isinstance(content["items"], list):
        raise UserError(f"{file}: a queue has `hours` and a list of `items`")
    if not _positive(content["hours"]):
        raise UserError(f"{file}: hours must be a number above 0, got {content['hours']!r}")
    queue = Queue(content["hours"], tuple(_item(file, n, entry, extra) for n, entry in enumerate(content["items"], 1)))
    seen: dict[Path, str] = {}
    for item in queue.items:
        for run in item.runs:
            if run.folder in seen:
                raise UserError(f"{file}: {item.name} and {seen[run.folder]} hold the same run, {run.folder}")
            seen[run.folder] = item.name
    return queue


def _item(file: Path, number: int, entry: Any, extra: list[str]) -> Item:
    where = f"{file}, item {number}"
    if not isinstance(entry, dict):
        raise UserError(f"{where}: an item is a mapping of {', '.join(KEYS)}, got {entry!r}")
    for key in entry:
        if key not in KEYS:
            raise UserError(f"{where}: unknown key {key!r}{did_you_mean(str(key), list(KEYS))}")
    for key in KEYS:
        if key not in entry:
            raise UserError(f"{where}: {key} is missing")
    for key in ("name", "asks"):
        if not isinstance(entry[key], str) or not entry[key].strip():
            raise UserError(f"{where}: {key} must be a text, got {entry[key]!r}")
    if not _positive(entry["seconds"]):
        raise UserError(f"{where}: seconds must be a number above 0, got {entry['seconds']!r}")
    sweeps = entry["sweeps"]
    if not isinstance(sweeps, list) or not sweeps or not all(isinstance(one, str) and one.strip() for one in sweeps):
        raise UserError(f"{where}: sweeps is a list of words for `train.py -m`, each a text")
    return Item(
        entry["name"],
        entry["asks"],
        float(entry["seconds"]),
        tuple(_sweep(f"{where} ({entry['name']})", one, extra) for one in sweeps),
    )


def _sweep(where: str, line: str, extra: list[str]) -> Sweep:
    try:
        words = [*shlex.split(line), *extra]
    except ValueError as error:
        raise UserError(f"{where}: {line!r} cannot be split into words: {error}") from None
    if wrong := [word for word in words if word.startswith("-") or word.lstrip("+~").startswith(("hydra", "sweep="))]:
        raise UserError(f"{where}: {wrong[0]} has no place in a sweep of a queue: write key=value")
    try:
        return Sweep(tuple(words), tuple(outcomes(compose_jobs(["-m", *words]))))
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def _positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")
