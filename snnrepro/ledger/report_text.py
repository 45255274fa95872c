"""REPORT.md: the verdicts, the runs over their seeds, and other packages' counters, each with its records."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from snnrepro.ledger.claims_table import number_of_seeds, ours, papers, tolerance
from snnrepro.ledger.formats import TextTable, markdown
from snnrepro.ledger.groups import groups, paper_of
from snnrepro.ledger.page_data import counters, link
from snnrepro.ledger.runs import Judged, Recorded, Records
from snnrepro.ledger.summaries import DISTURBED_MEANS, runs_summary
from snnrepro.ledger.tables import DASH, amount, energy
from snnrepro.ledger.verdicts import CARRIED, STATES, UNDECIDED

# Readable without colour: a sign and the word.
SIGNS = {
    "reproduced": "✔",
    "not reproduced": "✘",
    "holds": "✓",
    "does not hold": "✗",
    "undecided": "~",
    "reduced": "△",
    "not run": "○",
    "blocked": "■",
}

HEAD = """# What holds of the papers' claims

Written by `make report`; [report.html](report.html) shows the same with filters, comparisons and plots. Every figure
comes from a record that it links to.

A claim is **reproduced** or **not reproduced** by completed full runs only: of at least as many seeds as it asks for,
under its own protocol, with its experiment's version, config, T and data, from code without uncommitted changes, and
where the metric is a time on the kind of device that the paper had. It is reproduced where the mean over seeds, the
difference or the ratio lies within the tolerance of the paper's figure, far better not counting as reproduced either;
a ranking where each run leads the next. What was measured in a smaller way is **reduced**, which decides nothing.
Brackets hold 95 % bootstrap intervals over seeds, which do not decide; over three seeds they are about the smallest and
the largest, and too narrow. `python scripts/reproduce.py claim=NAME` runs what a claim lacks and prints its verdict.

The claims under `small/` are the papers' carried over to experiments that two cores run in minutes; each names those
that it stands for. They **hold** or **do not hold** there, which says nothing of a paper's own figure; a lead of one
neuron over another is **undecided** where the 95 % interval of the difference (Welch's t over seeds) contains 0.
[docs/findings.md](../docs/findings.md) says in words what all of it comes to.
"""


class Price(NamedTuple):
    """Picojoules per sample of a run and of an ANN of its shape, by cost model."""

    run: Recorded
    energies: dict[str, float]
    anns: dict[str, float]


def report_text(records: Records, judged: Sequence[Judged], prices: Sequence[Price], out: Path) -> str:
    """The whole file; links are relative to the folder `out`."""
    lines = [HEAD]
    for carried, what in ((False, "in all"), (True, "carried over")):
        some = [one for one in judged if bool(one.claim.of) is carried]
        if some or not carried:
            lines.append(f"{counted(some, carried=carried)}; {len(some)} {what}.")
    for paper in dict.fromkeys(_paper(one) for one in judged):
        lines += ["", f"## {markdown(paper)}", "", "| claim | claimed | ours | seeds | verdict | records |"]
        lines += ["|---|---|---|---:|---|---|"]
        lines += [_claim(one, out) for one in judged if _paper(one) == paper]
    lines += ["", "## Runs", "", f"The mean of each metric over the seeds of a config. {DISTURBED_MEANS}.", ""]
    lines += [runs_summary(groups(records.runs)).markdown()]
    if prices:
        lines += ["## Energy under each cost model", "", PRICES, "", _prices(prices)]
    rows = counters(records.runs, out)
    if rows:
        lines += ["## One network, several counters", "", COUNTERS, "", _counters(rows)]
    if records.broken:
        lines += [f"## Passed over ({len(records.broken)})", ""]
        lines += [f"- `{link(file, out)}`: {markdown(why)}" for file, why in records.broken]
    return "\n".join(lines).rstrip() + "\n"


COUNTERS = """\
The first 256 test samples, or as many batches as hold them, through the same network, an account a row, per sample over
all its time-steps, in accumulates (AC) and multiply-accumulates (MAC). What each leaves out and its prices
stand below the table."""


PRICES = """\
Of one seed of each config, per sample; in brackets how many times as much an ANN of the same shape takes: one pass
over an image that is repeated over time, T passes over a sequence. configs/energy holds the prices with their
sources: `horowitz_45nm` arithmetic in fp32, `_fp16` and `_int8` the same operations at those rows' prices, `papers`
synapses only, `with_memory` every weight and state access at 24.96 pJ a byte and batch norms not folded."""


def _prices(prices: Sequence[Price]) -> str:
    models = list(prices[0].energies)
    rows = [
        [
            price.run.place,
            *(f"{energy(price.energies[m])} ({_ratio(price.anns[m], price.energies[m])})" for m in models),
        ]
        for price in prices
    ]
    return TextTable(["network", *models], rows, frozenset(range(1, len(models) + 1))).markdown()


def _ratio(above: float, below: float) -> str:
    return f"{above / below:.3g} x" if below else DASH


def counted(judged: Sequence[Judged], *, carried: bool) -> str:
    """How many claims of each state; those that such claims never have are left away."""
    found = Counter(one.verdict.state for one in judged)
    never = tuple(CARRIED) if carried else (*CARRIED.values(), UNDECIDED)
    return ", ".join(f"{SIGNS[state]} {found[state]} {state}" for state in STATES if state not in never or found[state])


def _paper(one: Judged) -> str:
    return paper_of({"experiment": one.claim.experiment})


def _claim(one: Judged, out: Path) -> str:
    claim, verdict = one.claim, one.verdict
    state = f"{SIGNS[verdict.state]} {verdict.state}" + (f": {verdict.why}" if verdict.why else "")
    links = [f"[{markdown(run.record['neuron'])} {run.seed}]({link(run.folder / 'run.json', out)})" for run in one.runs]
    links += [f"[{markdown(file.name)}]({link(file, out)})" for file in dict.fromkeys(row.file for row in one.rows)]
    claimed, found = f"{papers(claim)}, {tolerance(claim)}", ours(verdict, claim)
    texts = map(markdown, (claimed, found, number_of_seeds(verdict, claim), state))
    anchor = f'<a id="{claim.name}"></a>'
    return f"| {anchor}`{claim.name}` | {' | '.join(texts)} | {', '.join(links) or DASH} |"


def _counters(rows: Sequence[dict[str, Any]]) -> str:
    heads = [
        "network",
        "counter",
        "synapses, AC",
        "synapses, MAC",
        "neurons, AC",
        "neurons, MAC",
        "state moved",
        "energy",
    ]
    cells = [
        [
            row["net"],
            row["counter"],
            *(amount(row[key]) for key in ("acs", "macs", "neuron_acs", "neuron_macs")),
            amount(row["state_bytes"], "B"),
            energy(row["energy_pj"]),
        ]
        for row in rows
    ]
    table = TextTable(heads, cells, frozenset(range(2, 8))).markdown()
    said: dict[str, list[str]] = {}
    for row in rows:
        if row["leaves_out"] not in said.setdefault(row["counter"], []):
            said[row["counter"]].append(row["leaves_out"])
    notes = [
        f"- *{markdown(counter)}* leaves out: {markdown(text)}"
        for counter, texts in said.items()
        for text in texts
        if text
    ]
    return "\n".join([table, *notes, ""])
