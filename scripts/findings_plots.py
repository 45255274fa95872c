"""The pictures of docs/findings.md: a dot for each seed, everything from committed records."""

import statistics
from pathlib import Path
from typing import Any

from findings_data import (
    ACCOUNTED,
    BLOCK,
    BLOCK_NEURONS,
    FAITHFUL,
    ORDER_NEURONS,
    ORDERS,
    PAPERS_OWN,
    SEQ,
    SEQ_NEURONS,
    SPEECH,
    SPEECH_NEURONS,
    Found,
)

from snnrepro.pictures import save_png


def pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as found

    return found


def _dots(panel: Any, height: float, values: list[float], color: str) -> None:
    panel.plot(values, [height] * len(values), "o", color=color, markersize=5, alpha=0.6)
    if values:
        panel.plot(statistics.mean(values), height, "|", color="black", markersize=14)


def ranking(found: Found, file: Path) -> None:
    """Accuracy on sequential Fashion-MNIST, beside the paper's on sequential CIFAR-10, and on speech."""
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    figure, panels = pyplot().subplots(
        1, 3, figsize=(12, 4.4), layout="constrained", gridspec_kw={"width_ratios": [1, 1, 1]}
    )
    labels = [label for label, *_ in SEQ_NEURONS][::-1]
    for height, entry in enumerate(SEQ_NEURONS[::-1]):
        _, neuron, settings = entry
        group = found.group(SEQ, neuron, **settings)
        _dots(panels[0], height, group.values("test/accuracy") if group else [], "C0")
        claim = found.claims.get(f"psn/seq_cifar10/{neuron}/accuracy")
        if claim and entry in PAPERS_OWN:
            panels[1].plot(claim.claim.value, height, "D", color="C3", markersize=6)
    for panel, title in zip(panels, ("here: sequential Fashion-MNIST", "PSN paper: sequential CIFAR-10"), strict=False):
        panel.set_yticks(range(len(labels)), labels if panel is panels[0] else [])
        panel.set_ylim(-0.6, len(labels) - 0.4)
        panel.set_title(title, fontsize=10)
    for height, (_, neuron, settings) in enumerate(SPEECH_NEURONS[::-1]):
        group = found.group(SPEECH, neuron, **settings)
        _dots(panels[2], height, group.values("test/accuracy") if group else [], "C2")
    panels[2].set_yticks(range(len(SPEECH_NEURONS)), [label for label, *_ in SPEECH_NEURONS][::-1])
    panels[2].set_title("here: spoken digits", fontsize=10)
    for panel in panels:
        panel.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        panel.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        panel.grid(alpha=0.3)
    figure.supxlabel("test accuracy", fontsize=10)
    save_png(figure, file)


def block(found: Found, file: Path) -> None:
    """Accuracy over spikes a sample on Fashion-MNIST at T = 25 and 100, and as the Block paper tabulates it."""
    from matplotlib.ticker import PercentFormatter

    figure, panels = pyplot().subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    for panel, steps in zip(panels, (25, 100), strict=False):
        for neuron, (label, color, marker) in BLOCK_NEURONS.items():
            group = found.group(BLOCK, neuron, num_steps=steps)
            if group:
                spikes, accuracy = group.values("test/spikes_per_sample"), group.values("test/accuracy")
                panel.plot(spikes, accuracy, marker, color=color, markersize=6, alpha=0.7, label=label)
        panel.set_title(f"here: 784-200-10, T = {steps}", fontsize=10)
    for neuron, (_, color, marker) in BLOCK_NEURONS.items():
        values = [
            found.claims[name].claim.value
            for kind in ("spikes", "accuracy")
            if (name := f"block/fashion_mnist/{neuron}/{kind}") in found.claims
        ]
        if len(values) == 2:
            panels[2].plot(*values, marker, color=color, markersize=8)
    panels[2].set_title("paper: 784-1000-10, T = 100, 140 epochs", fontsize=10)
    panels[0].set_ylabel("test accuracy")
    for panel in panels:
        panel.set_xlim(left=0)
        panel.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=1))
        panel.set_xlabel("spikes a sample")
        panel.grid(alpha=0.3)
    panels[0].legend(fontsize=8)
    save_png(figure, file)


def order(found: Found, file: Path) -> None:
    """Accuracy over how many steps masked and sliding PSN look back, here and in the PSN paper."""
    from matplotlib.ticker import PercentFormatter

    figure, panels = pyplot().subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for neuron, (label, color, marker) in ORDER_NEURONS.items():
        points = []
        for k in [*ORDERS, None]:
            group = found.group(SEQ, neuron, order=k)
            if group:
                points.append((k or 28, group.values("test/accuracy")[0]))
        if points:
            panels[0].plot(*zip(*points, strict=True), color=color, marker=marker, label=label)
        theirs = [(k, f"psn/seq_cifar100/{neuron}/order{k}/accuracy") for k in (1, 2, 3, 4, 8, 16)]
        theirs += [(32, f"psn/seq_cifar100/{neuron}/accuracy")]
        values = [(k, found.claims[name].claim.value) for k, name in theirs]
        panels[1].plot(*zip(*values, strict=True), color=color, marker=marker, label=label)
    panels[0].set_title("here: sequential Fashion-MNIST, seed 0", fontsize=10)
    panels[1].set_title("PSN paper: sequential CIFAR-100", fontsize=10)
    for panel in panels:
        panel.set_xscale("log", base=2)
        panel.set_xticks([1, 2, 4, 8, 16, 32], ["1", "2", "4", "8", "16", "32"])
        panel.set_xlabel("order k, steps that the neuron sees")
        panel.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("test accuracy")
    panels[0].legend(fontsize=9)
    save_png(figure, file)


def speed(found: Found, file: Path) -> None:
    """How many times as fast as the looped LIF, and as the same LIF fused: neurons alone, and whole networks."""
    shown = [*PAPERS_OWN, ("Block", "block", {})]
    figure, panels = pyplot().subplots(1, 2, figsize=(11, 4.2), sharey=True, layout="constrained")
    labels = [label for label, *_ in shown][::-1]
    fused = {"seq_fashion_mnist": "lif", "fashion_mnist_T100": "lif_multi_spike"}
    for height, (_, neuron, _) in enumerate(shown[::-1]):
        alone = [found.layer_speed(neuron, baseline) for baseline in ("loop", "fused_loop")]
        net = "fashion_mnist_T100" if neuron == "block" else "seq_fashion_mnist"
        whole, same = found.network_speed(net, neuron), found.network_speed(net, fused[net])
        pairs = (alone, [whole, whole / same if whole and same else None])
        for panel, (over_loop, over_fused) in zip(panels, pairs, strict=True):
            for value, color, marker in ((over_loop, "C3", "o"), (over_fused, "C0", "s")):
                if value:
                    panel.plot([1, value], [height, height], color=color, alpha=0.35, linewidth=1.5)
                    panel.plot(value, height, marker, color=color)
    titles = ("neurons alone, forward and backward", "a training step of the whole network")
    for panel, title in zip(panels, titles, strict=True):
        panel.set_xscale("log", base=2)
        panel.axvline(1, color="black", linewidth=1)
        ticks = [0.5, 1, 2, 4]
        panel.set_xticks(ticks, [f"{tick:g} x" for tick in ticks])
        panel.set_title(title, fontsize=10)
        panel.grid(alpha=0.3)
    panels[0].set_yticks(range(len(labels)), labels)
    for color, marker, label in (("C3", "o", "as the looped LIF"), ("C0", "s", "as the same LIF, fused")):
        panels[0].plot([], [], marker, color=color, label=label)
    figure.legend(loc="outside lower center", ncols=2, fontsize=9)
    figure.suptitle("times as fast, two CPU cores", fontsize=10)
    save_png(figure, file)


def accounts(found: Found, file: Path) -> None:
    """Of the sequential nets: each counter's energy, and three counts of spikes, as times those of LIF."""
    baseline = found.group(SEQ, "lif", v_threshold=1.0)
    if baseline is None:
        return
    measures = list(found.measures(baseline))
    figure, panel = pyplot().subplots(figsize=(9, 4), layout="constrained")
    for place, (label, neuron, settings) in enumerate(ACCOUNTED):
        group = found.group(SEQ, neuron, **settings)
        if group is None:
            continue
        ours, theirs = found.measures(group), found.measures(baseline)
        xs = [ours[name] / theirs[name] if theirs[name] and ours.get(name) else None for name in measures]
        points = [(x, y) for y, x in enumerate(xs) if x]
        panel.plot(*zip(*points, strict=True), "osD^vP*"[place], color=f"C{place}", label=label, markersize=6)
    panel.set_yticks(range(len(measures)), measures)
    panel.invert_yaxis()
    panel.set_xscale("log", base=2)
    panel.set_xticks([1, 2, 4], ["1 x", "2 x", "4 x"])
    panel.set_xlim(0.65, 4.5)
    panel.axvline(1, color="black", linewidth=1)
    panel.set_xlabel("times the LIF's")
    panel.grid(alpha=0.3)
    panel.legend(fontsize=9)
    save_png(figure, file)


def fidelity(found: Found, file: Path) -> None:
    """Accuracy over how far a trained neuron agrees with the LIF that it stands for, on its own currents."""
    from matplotlib.ticker import PercentFormatter

    figure, panel = pyplot().subplots(figsize=(6.5, 4), layout="constrained")
    for place, (label, neuron, settings) in enumerate(FAITHFUL):
        group, agreement = found.group(SEQ, neuron, **settings), found.fidelity(neuron)
        if group is None or agreement is None:
            continue
        values = group.values("test/accuracy")
        panel.plot([agreement] * len(values), values, "osD^vP"[place], color=f"C{place}", label=label)
    for label, settings, style in (
        ("LIF", {"v_threshold": 1.0}, "-"),
        ("LIF of PSU's paper", {"v_threshold": 0.5, "reset": "hard"}, ":"),
        ("LIF that PSU estimates", {"v_threshold": 0.5, "reset": "soft"}, "--"),
    ):
        group = found.group(SEQ, "lif", **settings)
        if group:
            panel.axhline(statistics.fmean(group.values("test/accuracy")), color="black", ls=style, lw=1, label=label)
    panel.set_xlabel("spike agreement with its LIF, trained, mean over layers and seeds")
    panel.set_ylabel("test accuracy")
    panel.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    panel.grid(alpha=0.3)
    panel.legend(fontsize=8)
    save_png(figure, file)


PICTURES = {
    "ranking": ranking,
    "block": block,
    "order": order,
    "speed": speed,
    "accounts": accounts,
    "fidelity": fidelity,
}
