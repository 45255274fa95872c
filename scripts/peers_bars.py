"""The bars of scripts/benchmark.py peers, as data, and what rows say of them."""

import math
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

Row = dict[str, Any]

SECTIONS = ("neurons", "snntorch", "cost", "block", "memory", "network", "floor")
HOLDS: Mapping[str, Callable[[float, float], bool]] = {">=": operator.ge, ">": operator.gt, "<=": operator.le}


class Bar(NamedTuple):
    """What is wanted of the `value` of the rows of a section that have all of `of`.

    every: of each cell, else of the geometric mean over them.
    """

    name: str
    section: str
    holds: str  # value, this, wanted
    wanted: float
    every: bool
    of: Mapping[str, Any] = {}

    def chosen(self, rows: Iterable[Row]) -> list[Row]:
        return [
            row
            for row in rows
            if row["section"] == self.section and all(row[name] == value for name, value in self.of.items())
        ]

    def passes(self, value: float) -> bool:
        return HOLDS[self.holds](value, self.wanted)


# value: times as fast as the peer in neurons, snntorch, block, network and "T x T" of cost; else ours over theirs.
BARS = (
    Bar("any neuron / spikingjelly", "neurons", ">=", 0.95, every=True),
    Bar("psn / spikingjelly", "neurons", ">=", 1.6, every=False, of={"neuron": "psn"}),
    Bar("masked_psn / spikingjelly", "neurons", ">=", 1.6, every=False, of={"neuron": "masked_psn"}),
    Bar("sliding_psn / spikingjelly", "neurons", ">=", 4.0, every=False, of={"neuron": "sliding_psn"}),
    Bar("lif / spikingjelly", "neurons", ">=", 5.0, every=False, of={"neuron": "lif"}),
    Bar("plif / spikingjelly", "neurons", ">=", 5.0, every=False, of={"neuron": "plif"}),
    Bar("lif / snntorch", "snntorch", ">=", 10.0, every=False, of={"neuron": "lif"}),
    Bar("plif / snntorch", "snntorch", ">=", 10.0, every=False, of={"neuron": "plif"}),
    Bar("cost of a step at long T / at short T", "cost", "<=", 1.3, every=True, of={"peer": "itself, short"}),
    Bar("psu / its T x T form", "cost", ">=", 25.0, every=True, of={"peer": "T x T product"}),
    Bar("block / convolution", "block", ">", 1.0, every=True, of={"peer": "convolution"}),
    Bar("block / loop", "block", ">", 1.0, every=True, of={"peer": "loop"}),
    Bar("copy / neuron, on a GPU", "floor", ">=", 0.8, every=True, of={"device_type": "cuda", "peer": "copy"}),
    Bar("peak memory / spikingjelly", "memory", "<=", 1.0, every=True),
    Bar("training, lif / spikingjelly", "network", ">=", 1.3, every=True, of={"neuron": "lif"}),
    Bar("training, psn / spikingjelly", "network", ">=", 1.1, every=True, of={"neuron": "psn"}),
)


class Verdict(NamedTuple):
    """A bar beside its rows. met: None where there are none; never True where a row has no value."""

    bar: Bar
    mean: float | None  # geometric, of the rows that have a value
    worst: Row | None
    short: int  # rows that miss the bar's value, those without a value among them
    cells: int
    met: bool | None


def verdict(bar: Bar, rows: Iterable[Row]) -> Verdict:
    chosen = bar.chosen(rows)
    measured = [row for row in chosen if row["value"] is not None]
    if not chosen:
        return Verdict(bar, None, None, 0, 0, None)
    missed = sum(not bar.passes(row["value"]) for row in measured) + len(chosen) - len(measured)
    if not measured:
        return Verdict(bar, None, None, missed, len(chosen), False)
    mean = math.exp(sum(math.log(row["value"]) for row in measured) / len(measured))
    worst = (max if bar.holds == "<=" else min)(measured, key=lambda row: row["value"])
    met = len(measured) == len(chosen) and (missed == 0 if bar.every else bar.passes(mean))
    return Verdict(bar, mean, worst, missed, len(chosen), met)


def bar_lines(rows: list[Row]) -> list[dict[str, str]]:
    """A line of the table for each bar of the sections that have rows."""
    sections = {row["section"] for row in rows}
    found = [verdict(bar, rows) for bar in BARS if bar.section in sections]
    return [
        {
            "bar": one.bar.name,
            "wanted": f"{'each' if one.bar.every else 'mean'} {one.bar.holds} {one.bar.wanted:g}",
            "geometric mean": "–" if one.mean is None else f"{one.mean:.3g}",
            "worst cell": "–" if one.worst is None else f"{one.worst['value']:.3g}: {cell(one.worst)}",
            "cells short": f"{one.short} of {one.cells}",
            "met": {True: "yes", False: "no", None: "not measured"}[one.met],
        }
        for one in found
    ]


def cell(row: Row) -> str:
    """Which one it is, in a few words."""
    kind = {"forward": "fwd", "forward_backward": "fwd+bwd"}.get(row["pass"], row["pass"])
    batch = f" B={row['batch']}" if row["batch"] != 1 else ""
    precision = "" if row["dtype"] in ("float32", "32-true") else f" {row['dtype']}"
    return f"{row['own']} {kind} T={row['T']} N={row['N']}{batch}{precision}"


def gate_line(rows: Iterable[Row]) -> str:
    """How many comparisons passed the check; a comparison is a pair in a cell, whatever is measured of it."""
    checks: dict[tuple[Any, ...], bool] = {}
    for row in rows:
        key = tuple(row[name] for name in ("own", "peer", "T", "N", "batch", "dtype"))
        checks[key] = checks.get(key, True) and row["checked"]
    failed = [key for key, passed in checks.items() if not passed]
    line = f"equality check: {len(checks) - len(failed):,} of {len(checks):,} comparisons passed"
    if not failed:
        return line
    first = "; ".join(f"{own} / {peer} at T={t}, N={n}" for own, peer, t, n, *_ in failed[:3])
    return f"{line}; without times, and so not met: {first}{'; ...' if len(failed) > 3 else ''}"


def levels(rows: Iterable[Row]) -> dict[float, bool]:
    """The bars that some of the rows are under: their values, and whether that is each cell's (else the mean's)."""
    rows = list(rows)
    return {bar.wanted: bar.every for bar in BARS if bar.chosen(rows)}
