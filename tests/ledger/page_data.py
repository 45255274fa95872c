"""Synthetic data for the page: as many runs as asked for, a few claims, benchmarks; the same for the same arguments."""

import random
from typing import Any

HOSTILE = "<img src=x onerror=window.hacked=1></script><script>window.hacked=1</script>"
FIXED = {"key", "better", "status", "verdict", "unit"}  # words of the page's own, and keys by which others are found

METRICS = [
    ("test/accuracy", "Test accuracy", "%", "up", 100, "Share of test samples classified correctly."),
    (
        "test/firing_rate",
        "Firing rate",
        "spikes per neuron and step",
        None,
        1,
        "All spikes over neurons, steps and samples.",
    ),
    ("test/spikes_per_sample", "Spikes", "per sample", "down", 1, "Spikes of all layers a sample."),
    ("test/energy_pj_per_sample", "Energy", "pJ", "down", 1, "Operations priced by the cost model, a sample."),
    ("train/samples_per_second", "Training speed", "samples/s", "up", 1, "Median over the steps after warming up."),
    ("peak_memory_mb", "Peak memory", "MB", "down", 1, "Greatest memory of the process."),
]
NEURONS = ("lif", "psn", "psu", "mpe_psn", "block", "sliding_psn")
SETTINGS = (
    ("digits", "dense", None),
    ("seq_cifar10", "psn_seq_cifar", "psn/seq_cifar10"),
    ("shd", "psu_shd", "psu/shd"),
)
VERDICTS = ("reproduced", "not reproduced", "reduced", "not run", "blocked")
ERROR = "RuntimeError: the loss is not finite after 3 steps: lower optimizer.lr or clip gradients"


def empty() -> dict[str, Any]:
    """What there is before the first run."""
    lists = ("metrics", "claims", "runs", "speedups", "counters", "broken")
    made = {"commit": None, "dirty": False, "command": "python scripts/report.py"}
    return {"title": "Nothing yet", "made": made, "configs": {"common": {}, "own": []}, **{key: [] for key in lists}}


def whole(runs: int = 60, *, hostile: bool = False) -> dict[str, Any]:
    """All sections filled: runs in groups of three seeds, the first of which are listed in `_run`.

    hostile: HTML that would run, and the end of a script, in every text a record could hold.
    """
    data = {
        **empty(),
        "title": "Runs and claims",
        "made": {"commit": "ef475b2a" * 5, "dirty": False, "command": "python scripts/report.py"},
        "metrics": [
            dict(zip(("key", "label", "unit", "better", "scale", "about"), row, strict=True)) for row in METRICS
        ],
        "claims": [_claim(number) for number in range(10)],
        "configs": {
            "common": {"optimizer.lr": "0.001", "dataset.epochs": "20", "readout": "mean", "loss.smoothing": "0.1"},
            "own": [_config(group) for group in range(-(-runs // 3))],
        },
        "runs": [_run(number) for number in range(runs)],
        "speedups": [_speedup(*which) for which in _shapes()],
        "counters": [_counter(net, counter) for net in ("dense-lif", "dense-psn") for counter in ("snnrepro", "other")],
        "broken": [{"file": "runs/x/run.json", "why": "not JSON: line 1"}],
    }
    return _with_html(data) if hostile else data


def _with_html(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        inside = {name: _with_html(each, name) for name, each in value.items()}
        return inside | {HOSTILE: HOSTILE} if key == "common" else inside
    if isinstance(value, list):
        return [_with_html(each, key) for each in value]
    return value + HOSTILE if isinstance(value, str) and key not in FIXED else value


def _config(group: int) -> dict[str, str]:
    own = {"neuron.name": NEURONS[group % 6], "neuron.tau": str(2 + group % 3)}
    return {**own, "loss.smoothing": ""} if group % 5 == 4 else own


def _run(number: int) -> dict[str, Any]:
    """Run `number`: seed number % 3 of group number // 3.

    Run 4 failed, 7 is running (at 5 % so far), 10 lacks a curve, 13 has an accuracy that is not finite, 16 was measured
    beside other work; of group 6 all are dirty; groups of shd are partial; of seq_cifar10 every second one is reduced.
    """
    group, seed = divmod(number, 3)
    chance = random.Random(number)
    dataset, architecture, experiment = SETTINGS[group // 6 % 3]
    neuron = NEURONS[group % 6]
    prefix = experiment or f"{dataset}-{architecture}"
    name = f"{prefix}/{neuron}-{group:08x}"
    status = {4: "failed", 7: "running"}.get(number, "completed")
    accuracy = 0.7 + 0.04 * (group % 6) + 0.01 * chance.random()
    measured = (
        accuracy,
        0.1 + 0.1 * chance.random(),
        300 * (1 + group % 7),
        4e5 * (1 + group % 9) ** 2,
        12475 / (1 + group % 4),
    )
    values: tuple[float | None, ...] = (*measured, 812.5)
    if status == "failed":
        values = (None,) * 6
    elif status == "running":
        values = (0.05, *values[1:])
    elif number == 13:
        values = (None, *values[1:])
    epochs = list(range(1, 21))
    judged: list[float | None] = [accuracy * (1 - 0.6**epoch) for epoch in epochs]
    judged[2] = None if number % 11 == 0 else judged[2]
    curve = {"epochs": epochs, "accuracy": judged, "train": [min(1.0, a + 0.03) if a else None for a in judged]}
    return {
        "id": f"{name}/seed{seed}",
        "group": name,
        "link": f"../runs/{name}/seed{seed}/run.json",
        "status": status,
        "error": ERROR if status == "failed" else None,
        "paper": experiment.split("/")[0] if experiment else "",
        "experiment": experiment,
        "dataset": dataset,
        "architecture": architecture,
        "neuron": neuron,
        "seed": seed,
        "protocol": "paper" if experiment else "validated",
        "reduced": "10,000 images, 32 channels" if dataset == "seq_cifar10" and group % 2 else None,
        "partial": dataset == "shd",
        "version": 1 if experiment else None,
        "commit": f"{group:08x}" * 5,
        "dirty": group == 6,
        "device": "A processor with a long name @ 2.10GHz",
        "threads": 2,
        "busy": 0.31 if number == 16 else 0.01,
        "command": f"python train.py neuron={neuron} dataset={dataset} seed={seed}",
        "config": group,
        "metrics": dict(zip((row[0] for row in METRICS), values, strict=True)),
        "layers": [
            {"name": f"neuron{k}", "rate": 0.3 * chance.random() / k, "silent": 0.02 * k, "saturated": None}
            for k in (1, 2, 3)
        ],
        "curve": None
        if number == 10 or status == "failed"
        else {**curve, "loss": [2.3 * 0.8**epoch for epoch in epochs]},
        "rates": None if number == 10 else {"steps": list(range(32)), "rate": [0.1 + step / 500 for step in range(32)]},
    }


def _claim(number: int) -> dict[str, Any]:
    verdict = VERDICTS[number % 5]
    paper = ("psn", "psu")[number % 2]
    ran = verdict in ("reproduced", "not reproduced", "reduced")
    return {
        "name": f"{paper}/seq_cifar10/{number}/accuracy",
        "paper": paper,
        "experiment": f"{paper}/seq_cifar10",
        "dataset": "seq_cifar10",
        "statement": f"Statement {number}: the parallel neuron reaches a higher accuracy than the step-by-step LIF.",
        "kind": "value",
        "of": [],
        "metric": "test/accuracy_last_epoch",
        "protocol": "paper",
        "source": "Table 2, arXiv 2304.12760",
        "value": f"{(8, 88.23, 100, 9.5, 1234.5)[number % 5]:,} %",
        "tolerance": "0.5",
        "ours": f"{80 + number:.2f} %" if ran else "",
        "interval": f"[{79 + number:.2f}, {81 + number:.2f}]" if ran else "",
        "seeds": 3 if ran else 0,
        "min_seeds": 3,
        "verdict": verdict,
        "why": "" if ran else "ImageNet is not here",
        "runs": [0, 1, 2] if ran else [],
        "links": ["benchmarks/neurons_cpu.csv"] if number == 0 else [],
        "command": f"python scripts/reproduce.py claim={paper}/seq_cifar10/{number}/accuracy",
    }


def _shapes() -> list[tuple[str, str, int, int]]:
    return [
        (neuron, way, T, N)
        for neuron in ("psn", "psu")
        for way in ("forward", "forward+backward")
        for T in (4, 16, 64)
        for N in (256, 4096, 65536)
    ]


def _speedup(neuron: str, way: str, T: int, N: int) -> dict[str, Any]:
    speedup = 0.4 * T**0.9 * (256 / N) ** 0.2
    return {
        "neuron": neuron,
        "kernel": "torch",
        "baseline": "lif",
        "T": T,
        "N": N,
        "dtype": "float32",
        "device": "cpu",
        "threads": 1,
        "pass": way,
        "speedup": speedup,
        "low": 0.9 * speedup,
        "high": 1.1 * speedup,
        "link": "benchmarks/neurons_cpu.csv",
    }


def _counter(net: str, counter: str) -> dict[str, Any]:
    return {
        "net": net,
        "counter": counter,
        "acs": 837021098.6,
        "macs": 295731200,
        "neuron_acs": 0,
        "neuron_macs": 67092480,
        "state_bytes": None,
        "energy_pj": 2.4e9,
        "leaves_out": "" if counter == "snnrepro" else "neurons, batch norm",
        "link": "benchmarks/counters.csv",
    }
