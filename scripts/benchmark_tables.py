"""What scripts/benchmark.py prints of the rows that it writes."""

from typing import Any

from peers_bars import bar_lines, gate_line

Row = dict[str, Any]

# What the table shows, where its name does not say it.
MEANING = {
    "neurons": ": times as fast as each baseline, forward and backward",
    "layers": ": Block's layers, times as fast as the loops'",
    "peers": ": times as fast as each peer; of cost and memory, ours over theirs",
}
# Columns of the table; neurons and layers make their own.
SHOWN = {
    "networks": [
        "neuron",
        "kernel",
        "pass",
        "T",
        "batch",
        "samples_per_second",
        "peak_memory_mb",
        "vs lif_loop",
        "checked",
    ],
    "data": [
        "dataset",
        "T",
        "input",
        "loader_samples_per_second",
        "loader_mb_per_second",
        "input_samples_per_second",
        "tonic_samples_per_second",
        "loader_vs_tonic",
    ],
    "frames": ["split_by", "events_per_recording", "ours_ms", "tonic_ms", "ours_vs_tonic", "smallest", "largest"],
    "memory": ["neuron", "form", "T", "N", "peak_mib", "peak_per_input", "seconds"],
    "fidelity": [
        "input",
        "v_threshold",
        "neuron",
        "target",
        "agreement",
        "rate",
        "target_rate",
        "van_rossum",
        "membrane_error",
    ],
}


def shown(benchmark: str, rows: list[Row]) -> list[Row]:
    """The rows of the table."""
    if benchmark == "fidelity":
        from benchmark_fidelity import table

        return table(rows)
    if benchmark == "neurons":
        chosen = [row for row in rows if row["auto"] and row["pass"] == "forward_backward"]
        return side_by_side(chosen, ("neuron", "kernel", "dtype", "T", "N"), "baseline")
    if benchmark == "layers":
        return side_by_side(rows, ("neuron", "baseline", "T", "N", "batch"), "pass")
    if benchmark == "peers":
        return list(bar_lines(rows))
    if benchmark == "networks":
        return [row | {"vs lif_loop": f"{ratio(row)}{spread(row)}"} for row in rows]
    return rows


def footnotes(benchmark: str, rows: list[Row]) -> list[str]:
    """Lines below the table."""
    if benchmark != "peers":
        return []
    notes = [gate_line(rows)]
    if any(row["section"] == "memory" and row["device_type"] == "cpu" for row in rows):
        notes.append("peak memory is torch's; what compiled kernels allocate inside is not in it")
    return notes


def side_by_side(rows: list[Row], keys: tuple[str, ...], across: str) -> list[Row]:
    """Speed-ups of the rows with equal `keys` on one line, a column for each value of `across`."""
    values = dict.fromkeys(row[across] for row in rows)
    lines: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        key = {name: row[name] for name in keys}
        line = lines.setdefault(tuple(key.values()), key | dict.fromkeys(values, "–"))
        line[row[across]] = ratio(row)
    return list(lines.values())


def ratio(row: Row) -> str:
    """The speed-up, or that the check failed."""
    return f"{row['speedup']:.2f}" if row["checked"] else "check failed"


def spread(row: Row) -> str:
    return f" ({row['speedup_low']:.2f} to {row['speedup_high']:.2f})" if row["checked"] else ""
