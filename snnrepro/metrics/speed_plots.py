"""Pictures of the speed benchmarks: how many times as fast, over time-steps and layer sizes."""

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from snnrepro.pictures import save_png

Row = dict[str, Any]

PANELS_A_ROW = 6
PEERS_A_ROW = 5


def neuron_maps(rows: Iterable[Row], file: Path) -> None:
    """A map for each neuron, in the form that it takes by itself: forward and backward against the step-by-step LIF.

    rows: those of `scripts/benchmark.py neurons`, of one dtype.
    """
    chosen = [row for row in rows if row["auto"] and row["baseline"] == "loop" and row["pass"] == "forward_backward"]
    panels: dict[str, list[Row]] = {}
    for row in chosen:
        panels.setdefault(row["neuron"], []).append(row)
    speed_maps(panels, file, f"Forward and backward against the step-by-step LIF\n{conditions(chosen[0])}")


def layer_maps(rows: Iterable[Row], file: Path) -> None:
    """A map for each pair of Block and loop and each half of a training pass; rows: those of one batch size."""
    panels: dict[str, list[Row]] = {}
    for row in rows:
        panels.setdefault(f"{row['neuron']} / {row['baseline']}, {row['pass']}", []).append(row)
    first = next(iter(panels.values()))[0]
    what = f"N neurons with {first['inputs']:,} inputs against the loops, batch {first['batch']}"
    speed_maps(panels, file, f"{what}\n{conditions(first)}", panels_a_row=3, narrowest=2.8)


def peer_curves(rows: Iterable[Row], levels: Callable[[list[Row]], Mapping[float, bool]], file: Path) -> None:
    """Times as fast as the peer over N, a line for each T; a column for each comparison, a panel for each pass.

    rows: those of `scripts/benchmark.py peers` that have a speed-up, a comparison being `own`, `peer` and batch.
    levels: the bars that rows are under, by their values: whether it is each cell's (dotted) or the mean's (dashed).
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.lines import Line2D

    def place_of(row: Row) -> tuple[Any, ...]:
        return row["peer"], row["batch"], row["neuron"], row["order"] or 0

    chosen = sorted((row for row in rows if row["speedup"]), key=place_of)
    columns: dict[str, list[Row]] = {}
    for row in chosen:
        batch = f"\nbatch {row['batch']}" if row["batch"] != 1 else ""
        columns.setdefault(f"{row['own']}\n/ {row['peer']}{batch}", []).append(row)
    kinds = list(dict.fromkeys(row["pass"] for row in chosen))
    steps, sizes = (sorted({row[axis] for row in chosen}) for axis in "TN")
    across = min(PEERS_A_ROW, len(columns))
    bands = math.ceil(len(columns) / across)
    lines = bands * len(kinds)
    size = (1.4 + 2.1 * across, 1.3 + 2.0 * lines)
    figure, grid = pyplot.subplots(lines, across, figsize=size, squeeze=False, sharex=True, layout="constrained")
    colours = pyplot.get_cmap("viridis")
    for panel in grid.flat:
        panel.axis("off")
    for number, (name, of_column) in enumerate(columns.items()):
        for below, kind in enumerate(kinds):
            panel = grid[number // across * len(kinds) + below][number % across]
            panel.axis("on")
            for level, every in levels(of_column).items():
                panel.axhline(level, color="C3", linestyle=":" if every else "--", linewidth=1.2)
            panel.axhline(1, color="0.6", linewidth=0.8)
            for place, step in enumerate(steps):
                points = sorted(
                    (row["N"], row["speedup"]) for row in of_column if (row["T"], row["pass"]) == (step, kind)
                )
                if points:
                    colour = colours(0.88 * place / max(1, len(steps) - 1))
                    panel.plot(*zip(*points, strict=True), color=colour, marker="os^vDPX"[place % 7], ms=4, lw=1.2)
            panel.set_xscale("log", base=2)
            panel.set_yscale("log")
            panel.set_xticks(sizes, [power_of_two(size) for size in sizes], fontsize=7)
            low, high = panel.get_ylim()
            ticks = [tick for tick in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if low <= tick <= high]
            panel.set_yticks(ticks, [f"{tick:g}" for tick in ticks], fontsize=7)
            panel.minorticks_off()
            panel.grid(alpha=0.25)
            if below == 0:
                panel.set_title(name, fontsize=9)
            if number % across == 0:
                panel.set_ylabel(f"{kind.replace('_', ' + ')}\ntimes as fast", fontsize=8)
            if below == len(kinds) - 1:
                panel.tick_params(labelbottom=True)
                panel.set_xlabel("N", fontsize=8)
    handles = [
        Line2D([], [], color=colours(0.88 * i / max(1, len(steps) - 1)), marker="os^vDPX"[i % 7], ms=4, lw=1.2)
        for i in range(len(steps))
    ]
    figure.legend(handles, [f"T = {step:,}" for step in steps], loc="outside lower center", ncols=7, fontsize=8)
    bars = "red: what is wanted, of the mean (dashed) and of each cell (dotted)"
    figure.suptitle(f"Times as fast as the peer, {conditions(chosen[0])}\n{bars}", fontsize=10)
    save_png(figure, file)


def conditions(row: Row) -> str:
    return f"{row['dtype']}, {row['device']}, {row['threads']} thread{'s' * (row['threads'] != 1)}"


def speed_maps(
    panels: Mapping[str, list[Row]], file: Path, title: str, panels_a_row: int = PANELS_A_ROW, narrowest: float = 0.0
) -> None:
    """One T x N panel for each title, the speed-up of each row in its cell; a dash where there is none.

    All panels share one logarithmic scale with 1 in its middle; its lightness rises with the ratio, so that it reads
    in grey. Above 1 is faster than the baseline. narrowest: of a panel, in inches, so that its title fits.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.colors import LogNorm

    every = [row for rows in panels.values() for row in rows]
    steps, sizes = (sorted({row[axis] for row in every}) for axis in "TN")
    farthest = max((abs(math.log(row["speedup"])) for row in every if row["speedup"]), default=0.0)
    most = math.exp(max(farthest, math.log(2)))
    norm = LogNorm(1 / most, most)
    colours = pyplot.get_cmap("cividis")
    columns = min(panels_a_row, len(panels))
    lines = math.ceil(len(panels) / columns)
    wide, high = 0.8 + 0.52 * len(sizes), 0.8 + 0.36 * len(steps)
    size = (max(6.0, columns * max(wide, narrowest) + 1.2), lines * high + 1.2)
    figure, grid = pyplot.subplots(lines, columns, figsize=size, squeeze=False, layout="constrained")
    image: Any = None
    for panel, name in zip(grid.flat, [*panels, *[""] * (lines * columns - len(panels))], strict=True):
        if not name:
            panel.axis("off")
            continue
        values = [[math.nan] * len(sizes) for _ in steps]
        for row in panels[name]:
            values[steps.index(row["T"])][sizes.index(row["N"])] = row["speedup"] or math.nan
        image = panel.imshow(values, norm=norm, cmap=colours, origin="lower", aspect="auto")
        for line, of_step in enumerate(values):
            for column, ratio in enumerate(of_step):
                dark = not math.isnan(ratio) and norm(ratio) < 0.5
                text = "–" if math.isnan(ratio) else short(ratio)
                panel.text(column, line, text, ha="center", va="center", fontsize=8, color="w" if dark else "k")
        panel.set_xticks(range(len(sizes)), [power_of_two(size) for size in sizes], fontsize=7)
        panel.set_yticks(range(len(steps)), [f"{step:,}" for step in steps], fontsize=7)
        panel.set_title(name, fontsize=9)
    for panel in grid[:, 0]:
        panel.set_ylabel("T", fontsize=8)
    for panel in grid[-1]:
        panel.set_xlabel("N", fontsize=8)
    bar = figure.colorbar(image, ax=grid, shrink=0.8)
    ticks = [tick for tick in (1 / 64, 1 / 16, 1 / 4, 1 / 2, 1, 2, 4, 16, 64) if 1 / most <= tick <= most]
    bar.set_ticks(ticks, labels=[f"{tick:g}" if tick >= 1 else f"1/{1 / tick:g}" for tick in ticks])
    bar.minorticks_off()
    bar.set_label("times as fast", fontsize=8)
    figure.suptitle(title, fontsize=10)
    save_png(figure, file)


def short(ratio: float) -> str:
    """Two digits: 0.086, 0.86, 1.0, 8.6, 86, and no more places than these: 864."""
    digits = 1 - math.floor(math.log10(ratio))
    return f"{ratio:.{min(max(digits, 0), 3)}f}"


def power_of_two(size: int) -> str:
    return f"$2^{{{size.bit_length() - 1}}}$" if size >= 16 and size.bit_count() == 1 else f"{size:,}"
