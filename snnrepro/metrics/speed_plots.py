"""Pictures of the speed benchmarks: how many times as fast, over time-steps and layer sizes."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from snnrepro.pictures import save_png

Row = dict[str, Any]

PANELS_A_ROW = 6


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
