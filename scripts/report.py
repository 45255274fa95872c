"""Compare the runs that have been recorded: a table, and the learning curves of each experiment.

    python scripts/report.py                     every record under runs/ and results/
    python scripts/report.py runs/digits-dense   those under a folder

Prints the table and writes REPORT.md and a picture of the learning curves of each experiment (--out: where to).
"""

import argparse
import csv
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from snnrepro.errors import UserError
from snnrepro.ledger.record import read_record
from snnrepro.ledger.tables import accuracy_of, amount, energy, percent, runs_table, show

Found = tuple[Path, dict[str, Any]]


def collect(folders: list[Path]) -> tuple[list[Found], list[Path]]:
    """All records below the folders, and the run.json files that cannot be read."""
    files = sorted({file for folder in folders for file in folder.rglob("run.json")})
    read = [(file.parent, read_record(file.parent)) for file in files]
    return [(where, record) for where, record in read if record], [where / "run.json" for where, r in read if not r]


def curves(found: list[Found], title: str, file: Path) -> None:
    """Accuracy over epochs of one experiment's runs: solid on validation or test, dotted on the training batches.

    One colour and marker for each neuron and config, shared by its seeds.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    figure, axes = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
    by_config: dict[str, list[Found]] = defaultdict(list)
    for where, record in found:
        by_config[record["identity"].split("/")[-2]].append((where, record))
    neurons = [name.rsplit("-", 1)[0] for name in by_config]
    stages = set()
    for number, (name, runs) in enumerate(sorted(by_config.items())):
        neuron = name.rsplit("-", 1)[0]
        label = neuron if neurons.count(neuron) == 1 else name
        style: dict[str, Any] = {"color": f"C{number % 10}", "marker": "osD^vPX*<>"[number % 10], "markersize": 4}
        for where, record in runs:
            rows = list(csv.DictReader((where / "curves.csv").read_text().splitlines()))
            stage = "validation" if record["protocol"] == "validated" else "epoch_test"
            stages.add({"validation": "validation", "epoch_test": "test set"}[stage])
            epochs = [int(row["epoch"]) + 1 for row in rows]
            shown = f"{label}, {len(runs)} seed{'s' if len(runs) > 1 else ''}" if record is runs[0][1] else None
            every = max(1, len(epochs) // 12)
            axes.plot(epochs, [float(r[f"{stage}/accuracy"]) for r in rows], label=shown, markevery=every, **style)
            train = [float(row["train/accuracy"]) for row in rows]
            axes.plot(epochs, train, color=style["color"], linestyle=":", linewidth=1)
    axes.set(xlabel="epoch", ylabel="accuracy", title=title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.grid(alpha=0.3)
    axes.legend(title=f"solid: {' / '.join(sorted(stages))}, dotted: train", fontsize=8, title_fontsize=8)
    figure.savefig(file, dpi=130)
    pyplot.close(figure)


def markdown(found: list[Found], broken: list[Path]) -> str:
    """The table for people who read files: one row a run, grouped as recorded."""
    lines = ["# Runs", "", "Written by `python scripts/report.py`; every row is a run.json.", ""]
    columns = [
        "run",
        "status",
        "protocol",
        "train samples",
        "epochs",
        "test accuracy",
        "firing rate",
        "energy",
        "train samples/s",
        "vs LIF loop",
    ]
    lines += ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for where, record in found:
        get = record.get("metrics", {}).get
        samples = record.get("samples") or {}
        partial = samples.get("train", 0) < samples.get("train_available", 0)
        cells = [
            where.as_posix(),
            record["status"] + (f": {record['error']}" if record.get("error") else ""),
            record["protocol"],
            f"{samples.get('train', 0):,}" + (f" of {samples['train_available']:,}" if partial else ""),
            record["config"]["trainer"]["max_epochs"],
            percent(accuracy_of(record)),
            amount(get("test/firing_rate")),
            energy(get("test/energy_pj_per_sample")),
            amount(get("train/samples_per_second")),
            amount(get("speed/neuron_vs_lif_loop"), "x"),
        ]
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
    if broken:
        lines += ["", f"Records that cannot be read ({len(broken)}): " + ", ".join(f"`{file}`" for file in broken)]
    return "\n".join(lines) + "\n"


def report(folders: list[Path], out: Path) -> None:
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder} is no folder: name one that has run.json files below it")
    found, broken = collect(folders)
    if not found:
        raise UserError(f"no run.json below {', '.join(map(str, folders))}; `make train` writes the first")
    out.mkdir(parents=True, exist_ok=True)
    show(runs_table("runs", [(where.as_posix(), record) for where, record in found]))
    (out / "REPORT.md").write_text(markdown(found, broken))
    by_experiment: dict[Path, list[Found]] = defaultdict(list)
    for where, record in found:
        if (where / "curves.csv").is_file():
            by_experiment[where.parents[1]].append((where, record))
    for place, runs in by_experiment.items():
        title = runs[0][1]["identity"].rsplit("/", 2)[0]
        curves(runs, title, out / f"curves-{'-'.join(part for part in place.parts[-2:] if part != '/')}.png")
    for file in broken:
        print(f"cannot read {file}", file=sys.stderr)
    plots = f"{len(by_experiment)} plot{'' if len(by_experiment) == 1 else 's'} of learning curves"
    print(f"written: {out / 'REPORT.md'} and {plots}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, help="default: runs and results")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/report"), help="folder to write to (default: runs/report)"
    )
    arguments = parser.parse_args()
    try:
        folders = arguments.folders or [folder for folder in (Path("runs"), Path("results")) if folder.is_dir()]
        report(folders or [Path("runs")], arguments.out)
    except (UserError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
