"""Runs summarised over their seeds, and claims with their verdicts, as tables for people and for papers."""

from collections.abc import Sequence

from snnrepro.ledger.claims_table import number_of_seeds, ours, papers, tolerance
from snnrepro.ledger.columns import COLUMNS, Column
from snnrepro.ledger.formats import TextTable
from snnrepro.ledger.groups import Group, paper_of
from snnrepro.ledger.runs import Judged
from snnrepro.ledger.tables import BUSY, DASH, amount, energy

# After a speed that was measured beside other work.
DISTURBED = " †"
DISTURBED_MEANS = f"† measured while other work took over {BUSY:.0%} of the processor's time"
TIMES = ("train/samples_per_second", "test/samples_per_second", "speed/neuron_vs_lif_loop")

# What a table on paper has room for.
FEW = (
    "accuracy",
    "test/firing_rate",
    "test/spikes_per_sample",
    "test/energy_pj_per_sample",
    "train/samples_per_second",
    "speed/neuron_vs_lif_loop",
)


def runs_summary(groups: Sequence[Group], metrics: Sequence[str] = FEW, *, intervals: bool = True) -> TextTable:
    """A row for each config that has a completed run: what it is, seeds, mean [95 % interval] of each metric."""
    columns = [column for column in COLUMNS if column.metric in metrics]
    heads = ["runs", "neuron", "seeds", *(_head(column) for column in columns)]
    rows = []
    for group in groups:
        if group.completed:
            cells = [_cell(group, column, intervals=intervals) for column in columns]
            rows.append([runs_name(group), str(group.first["neuron"]), str(len(group.completed)), *cells])
    return TextTable(heads, rows, frozenset(range(2, len(heads))))


def runs_values(groups: Sequence[Group], metrics: Sequence[str]) -> TextTable:
    """The same in plain numbers, every metric with its bounds in columns of their own, for other programs."""
    heads = ["place", "protocol", "neuron", "scale", "device", "cost_model", "seeds"]
    heads += [f"{metric}{end}" for metric in metrics for end in ("", "_low", "_high")]
    rows = []
    for group in groups:
        if not group.completed:
            continue
        cells = [group.place, str(group.first["protocol"]), str(group.first["neuron"]), scale(group), group.device]
        cells += [group.cost_model, str(len(group.completed))]
        for metric in metrics:
            found = group.summary(metric)
            bounds = (found.mean, *(found.interval or (None, None))) if found else (None, None, None)
            cells += ["" if value is None else f"{value:.6g}" for value in bounds]
        rows.append(cells)
    return TextTable(heads, rows, frozenset(range(6, len(heads))))


def claims_summary(judged: Sequence[Judged]) -> TextTable:
    """A row for each claim: the paper's figure, ours with its interval, the verdict."""
    rows = []
    for one in judged:
        claim, verdict = one.claim, one.verdict
        paper = paper_of({"experiment": claim.experiment})
        figures = [papers(claim), tolerance(claim), ours(verdict, claim), number_of_seeds(verdict, claim)]
        rows.append([claim.name, paper, *figures, verdict.state])
    return TextTable(["claim", "paper", "claimed", "tolerance", "ours", "seeds", "verdict"], rows, frozenset({2, 4, 5}))


def _cell(group: Group, column: Column, *, intervals: bool) -> str:
    """mean [low, high] in the column's unit; the bounds from two seeds on; how many have it where not all do."""
    summary = group.summary(column.metric)
    if summary is None:
        return DASH
    few = f" ({summary.seeds} of {len(group.completed)})" if summary.seeds < len(group.completed) else ""
    ends = [_figure(bound, column) for bound in summary.interval or ()]
    mark = DISTURBED if group.disturbed and column.metric in TIMES else ""
    return _figure(summary.mean, column) + (f" [{', '.join(ends)}]" if ends and intervals else "") + few + mark


def runs_name(group: Group) -> str:
    """The experiment, or data set and architecture, and in words what makes it less than whole."""
    name = group.place.rpartition("/")[0]
    reduced = ["reduced"] if scale(group) == "reduced" and not name.endswith("-reduced") else []
    notes = [*reduced, *group.notes]
    return name + (f" ({', '.join(notes)})" if notes else "")


def scale(group: Group) -> str:
    if group.first.get("reduced"):
        return "reduced"
    return "partial data" if group.partial else "full"


def _head(column: Column) -> str:
    unit = "" if column.unit == "pJ" else column.unit
    return f"{column.label}, {unit}" if unit else column.label


def _figure(value: float, column: Column) -> str:
    if column.unit == "pJ":
        return energy(value)
    scaled = value * column.scale
    return f"{scaled:.2f}" if column.unit == "%" else amount(scaled)
