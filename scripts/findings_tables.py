"""The tables of docs/findings.md and README.md, each from committed records."""

import statistics
from collections.abc import Callable
from typing import Any

from findings_data import (
    ACCOUNTED,
    BLOCK_NEURONS,
    CIFAR,
    FAITHFUL,
    ORDER_NEURONS,
    ORDERS,
    PAPERS_OWN,
    SEQ,
    SEQ_NEURONS,
    SPEECH,
    SPEECH_NEURONS,
    Found,
    test_curve,
)

from snnrepro.config.check import options
from snnrepro.ledger.claims_table import ours, papers, tolerance
from snnrepro.ledger.formats import markdown
from snnrepro.ledger.groups import Group
from snnrepro.ledger.report_text import SIGNS
from snnrepro.ledger.runs import Judged
from snnrepro.ledger.tables import DASH, amount, energy
from snnrepro.reproduce import Experiment, experiments

CIFAR_NEURONS = ["psn", "sliding_psn", "psu", "lif"]
EPOCHS = [1, 2, 5, 10, 15, 20, 30]

# What README.md shows of the ledger.
FRONT = [
    *(
        f"small/seq_fashion_mnist/{name}"
        for name in (
            "psn_over_lif",
            "sliding_psn_over_lif",
            "lif_over_lif_no_reset",
            "psu_over_its_lif",
            "psu_sparser_than_its_lif",
            "psu_sparser_than_the_lif_it_estimates",
            "mpe_psn_over_lif",
        )
    ),
    *(f"small/spoken_digits/{name}" for name in ("psu_over_its_lif", "rpsu_over_its_lif")),
    *(f"small/fashion_mnist/T100/{name}" for name in ("multi_spike_over_block", "accuracy_lost", "spikes_saved")),
    *(f"block/yin_yang/{name}" for name in ("block/accuracy", "block/spikes", "spikes_saved")),
    "mpe_psn/cifar10_dvs/speed/T64/N2e16",
]


def row(one: Judged, results: str = "../results") -> str:
    """A claim's verdict, linked to its row of the ledger."""
    return f"[{SIGNS[one.verdict.state]} {one.verdict.state}]({results}/REPORT.md#{one.claim.name})"


def _tried_on(one: Judged) -> str:
    names = {"seq_fashion_mnist": "sequential Fashion-MNIST", "fashion_mnist": "Fashion-MNIST"}
    small = one.claim.experiment.partition("/")[2]
    if one.claim.of:
        return f"small {names.get(small, small.replace('_', ' '))}"
    return "its own T and N, on a CPU" if one.claim.benchmark else "the paper's own run, in full"


def front(found: Found) -> str:
    """README.md's table: some claims of every paper, and what became of them."""
    rows = []
    for one in map(found.claims.__getitem__, FRONT):
        texts = (one.claim.statement, _tried_on(one), ours(one.verdict, one.claim))
        rows.append([*map(markdown, texts), row(one, "results")])
    return _markdown(["a paper claims", "tried on", "here [95 %]", "verdict"], rows)


def percent(value: float | None) -> str:
    return DASH if value is None else f"{100 * value:.2f} %"


def times(value: float | None) -> str:
    return DASH if value is None else f"{value:.2f} x"


def mean(group: Group | None, metric: str) -> float | None:
    values = group.values(metric) if group else []
    return statistics.fmean(values) if values else None


def spread(group: Group | None, metric: str, scale: float = 100.0) -> str:
    """The mean over seeds, and the smallest and largest."""
    values = [scale * value for value in group.values(metric)] if group else []
    if not values:
        return DASH
    ends = f" ({min(values):.2f} to {max(values):.2f})" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.2f}{ends}"


def carried(experiment: str) -> Callable[[Found], str]:
    """The claims of a small experiment: what is claimed, what was found, the verdict."""

    def table(found: Found) -> str:
        rows = []
        for one in found.claims.values():
            if one.claim.experiment == experiment:
                within = "" if one.claim.value is None else f" ({tolerance(one.claim)})"
                texts = (one.claim.statement + within, ours(one.verdict, one.claim))
                rows.append([*map(markdown, texts), row(one)])
        return _markdown(["the claim", "here [95 %]", "verdict"], rows)

    return table


def decided(found: Found) -> str:
    """The papers' own claims that full runs have decided."""
    rows = [
        [
            markdown(one.claim.statement),
            markdown(papers(one.claim)),
            markdown(ours(one.verdict, one.claim)),
            str(one.verdict.seeds),
            row(one),
        ]
        for one in found.claims.values()
        if one.verdict.state in ("reproduced", "not reproduced")
    ]
    return _markdown(["the claim", "claimed", "here [95 %]", "seeds", "verdict"], rows, 3)


def zoo(found: Found) -> str:
    """Every neuron on the digits and on N-MNIST."""
    rows = []
    for neuron in options("neuron"):
        digits, nmnist = (found.group(place, neuron) for place in ("digits-dense", "nmnist-dense"))
        rows.append(
            [
                f"`{neuron}`",
                spread(digits, "test/accuracy"),
                spread(nmnist, "test/accuracy"),
                *(f"{100 * (mean(group, 'test/firing_rate') or 0):.1f}" for group in (digits, nmnist)),
                *(energy(mean(group, "test/energy_pj_per_sample")) for group in (digits, nmnist)),
                amount(mean(digits, "train/samples_per_second")),
                times(found.layer_speed(neuron, "loop")),
            ]
        )
    rows.sort(key=lambda cells: cells[1], reverse=True)
    heads = ["neuron", "digits, %", "N-MNIST, %", "rate, digits, %", "rate, N-MNIST, %"]
    heads += ["energy, digits", "energy, N-MNIST", "digits, samples/s", "alone, of the LIF loop"]
    return _markdown(heads, rows, *range(1, 9))


def ranked(place: str, neurons: list[tuple[str, str, dict[str, Any]]]) -> Callable[[Found], str]:
    """The neurons of a small experiment, the most accurate first."""

    def table(found: Found) -> str:
        groups = [(label, group) for label, neuron, own in neurons if (group := found.group(place, neuron, **own))]
        groups.sort(key=lambda pair: mean(pair[1], "test/accuracy") or 0, reverse=True)
        heads = ["neuron", "accuracy, %", "rate, %", "spikes a sample", "energy a sample"]
        return _markdown(heads, [_net(*pair) for pair in groups], 1, 2, 3, 4)

    return table


def _net(label: str, group: Group) -> list[str]:
    return [
        label,
        spread(group, "test/accuracy"),
        f"{100 * (mean(group, 'test/firing_rate') or 0):.1f}",
        amount(mean(group, "test/spikes_per_sample")),
        energy(mean(group, "test/energy_pj_per_sample")),
    ]


def speed(found: Found) -> str:
    """What is left of each speed-up against the same LIF fused."""
    fused = found.network_speed("seq_fashion_mnist", "lif")
    rows = []
    for label, neuron, _ in PAPERS_OWN:
        whole = found.network_speed("seq_fashion_mnist", neuron)
        rows.append(
            [
                label,
                times(found.layer_speed(neuron, "loop")),
                times(found.layer_speed(neuron, "fused_loop")),
                times(whole),
                times(whole / fused if whole and fused else None),
            ]
        )
    return _markdown(
        ["neuron", "alone / LIF loop", "alone / LIF fused", "net / LIF loop", "net / LIF fused"], rows, 1, 2, 3, 4
    )


def block_speed(found: Found) -> str:
    """Whole training steps of 784-200-10 with Block and its loops, T = 25 and 100."""
    rows = []
    for neuron, (label, *_) in BLOCK_NEURONS.items():
        cells = [label]
        for steps in (25, 100):
            whole = found.network_speed(f"fashion_mnist_T{steps}", neuron)
            fused = found.network_speed(f"fashion_mnist_T{steps}", "lif_multi_spike")
            cells += [times(whole), times(whole / fused if whole and fused else None)]
        rows.append(cells)
    heads = ["neuron", "T = 25 / loop", "T = 25 / multi-spike fused", "T = 100 / loop", "T = 100 / multi-spike fused"]
    return _markdown(heads, rows, 1, 2, 3, 4)


def accounts(found: Found) -> str:
    """Of the sequential nets, spikes and energy by each way to count, as times LIF's; LIF's own in the last column."""
    lif = found.group(SEQ, "lif", v_threshold=1.0)
    nets = [(label, group) for label, neuron, own in ACCOUNTED if (group := found.group(SEQ, neuron, **own))]
    if lif is None:
        return DASH
    base, measured = found.measures(lif), [found.measures(group) for _, group in nets]
    rows = []
    for name, value in base.items():
        cells = [times(one[name] / value) if name in one and value else DASH for one in measured]
        rows.append([name, *cells, energy(value) if name.startswith("energy") else amount(value)])
    return _markdown(["count", *(label for label, _ in nets), "LIF's own"], rows, *range(1, len(nets) + 2))


def orders(found: Found) -> str:
    rows = []
    for neuron, (label, *_) in ORDER_NEURONS.items():
        groups = [found.group(SEQ, neuron, order=k) for k in [*ORDERS, None]]
        rows.append([label, *(percent(group.values("test/accuracy")[0] if group else None) for group in groups)])
    return _markdown(["seed 0", *(f"k = {k}" for k in ORDERS), "all 28"], rows, *range(1, 7))


def faithful(found: Found) -> str:
    """How far trained neurons agree with their LIF, and what their nets reach."""
    rows = []
    for label, neuron, own in FAITHFUL:
        agreement = found.fidelity(neuron)
        cell = DASH if agreement is None else f"{agreement:.2f}"
        rows.append([label, cell, spread(found.group(SEQ, neuron, **own), "test/accuracy")])
    rows.sort(key=lambda cells: cells[1], reverse=True)
    return _markdown(["neuron", "agreement with its LIF", "accuracy, %"], rows, 1, 2)


def cifar(found: Found) -> str:
    """Accuracy on the test set over epochs, sequential CIFAR-10, reduced."""
    rows = []
    for neuron in CIFAR_NEURONS:
        group = found.group(CIFAR, neuron)
        if group:
            curve = test_curve(group.runs[0])
            rows.append([f"`{neuron}`", *(f"{100 * curve[e - 1]:.1f}" if e <= len(curve) else DASH for e in EPOCHS)])
    return _markdown(["accuracy, %, after epoch", *map(str, EPOCHS)], rows, *range(1, len(EPOCHS) + 1))


def training_macs(cost: Experiment) -> float:
    """Of one full run, backward passes counted as two."""
    return 3 * cost.macs_per_sample * cost.train_samples * cost.epochs


def untested(found: Found) -> str:
    """Of each of the papers' experiments, the claims that nothing has decided, and what a full run trains."""
    known = experiments()
    rows = []
    for name in options("experiment"):
        of_it = [one for one in found.claims.values() if one.claim.experiment == name and not one.claim.of]
        left = [one for one in of_it if one.verdict.state in ("reduced", "not run", "blocked")]
        if left and name in known:
            cost = known[name]
            gpu = sum(one.claim.device == "cuda" for one in left)
            blocked = sum(one.verdict.state == "blocked" for one in left)
            rows.append(
                [
                    f"`{name}`",
                    f"{len(left)} of {len(of_it)}",
                    str(gpu or ""),
                    str(blocked or ""),
                    cost.dataset,
                    f"{training_macs(cost):.1e}",
                ]
            )
    return _markdown(
        ["experiment", "open", "of them times on a GPU", "blocked", "data", "MACs of one run"], rows, 1, 2, 3, 5
    )


def _markdown(heads: list[str], rows: list[list[str]], *numbers: int) -> str:
    """A Markdown table; the cells are Markdown already."""
    aligned = ["---:" if place in numbers else "---" for place in range(len(heads))]
    lines = [" | ".join(cells) for cells in (heads, aligned, *rows)]
    return "\n".join(f"| {line} |" for line in lines)


TABLES: dict[str, Callable[[Found], str]] = {
    "decided": decided,
    "fashion_mnist": carried("small/fashion_mnist"),
    "seq_fashion_mnist": carried("small/seq_fashion_mnist"),
    "spoken_digits": carried("small/spoken_digits"),
    "zoo": zoo,
    "sequential": ranked(SEQ, SEQ_NEURONS),
    "speech": ranked(SPEECH, SPEECH_NEURONS),
    "speed": speed,
    "block_speed": block_speed,
    "accounts": accounts,
    "order": orders,
    "fidelity": faithful,
    "cifar": cifar,
    "untested": untested,
}
