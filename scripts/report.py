"""Compare the runs that have been recorded: a table, and the learning curves of each experiment.

    python scripts/report.py                     every record under runs/ and results/
    python scripts/report.py runs/digits-dense   those under a folder

Prints the table and writes REPORT.md and one curves-<experiment>.png for each experiment (--out: where to).
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


def curves(found: list[Found], file: Path) -> None:
    """Accuracy over epochs of one experiment's runs: solid on validation or test, dotted on the training batches."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    figure, axes = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
    markers = "osD^vPX*"
    names = sorted({record["neuron"] for _, record in found})
    stages = set()
    for where, record in found:
        rows = list(csv.DictReader((where / "curves.csv").open()))
        stage = "validation" if record["protocol"] == "validated" else "epoch_test"
        stages.add({"validation": "validation", "epoch_test": "test set"}[stage])
        number = names.index(record["neuron"])
        epochs = [int(row["epoch"]) + 1 for row in rows]
        style: dict[str, Any] = {"color": f"C{number}", "marker": markers[number % len(markers)], "markersize": 4}
        style["markevery"] = max(1, len(epochs) // 12)
        label = f"{record['neuron']} (seed {record['seed']})"
        axes.plot(epochs, [float(row[f"{stage}/accuracy"]) for row in rows], label=label, **style)
        axes.plot(
            epochs, [float(row["train/accuracy"]) for row in rows], color=f"C{number}", linestyle=":", linewidth=1
        )
    axes.set(xlabel="epoch", ylabel="accuracy", title=found[0][1]["identity"].rsplit("/", 2)[0])
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
    for _, record in found:
        get = record.get("metrics", {}).get
        samples = record.get("samples") or {}
        partial = samples.get("train", 0) < samples.get("train_available", 0)
        cells = [
            record["identity"],
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
        lines += ["", f"{len(broken)} records could not be read: " + ", ".join(f"`{file}`" for file in broken)]
    return "\n".join(lines) + "\n"


def report(folders: list[Path], out: Path) -> None:
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"there is no folder {folder}")
    found, broken = collect(folders)
    if not found:
        raise UserError(f"no run.json below {', '.join(map(str, folders))}; `make train` writes the first")
    out.mkdir(parents=True, exist_ok=True)
    show(runs_table("runs", [(record["identity"], record) for _, record in found]))
    (out / "REPORT.md").write_text(markdown(found, broken))
    by_experiment: dict[str, list[Found]] = defaultdict(list)
    for where, record in found:
        if (where / "curves.csv").is_file():
            by_experiment[record["identity"].rsplit("/", 2)[0]].append((where, record))
    for name, runs in by_experiment.items():
        curves(runs, out / f"curves-{name.replace('/', '-')}.png")
    for file in broken:
        print(f"cannot read {file}", file=sys.stderr)
    print(f"written: {out / 'REPORT.md'} and {len(by_experiment)} plots of learning curves")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, help="default: runs and results")
    parser.add_argument("--out", type=Path, default=Path("runs/report"))
    arguments = parser.parse_args()
    try:
        folders = arguments.folders or [folder for folder in (Path("runs"), Path("results")) if folder.is_dir()]
        report(folders or [Path("runs")], arguments.out)
    except (UserError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
