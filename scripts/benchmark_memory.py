"""The memory benchmark of scripts/benchmark.py: long sequences through neurons with exponential kernels."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Row = dict[str, Any]

# In the forms that are compared; a T x T product stops where it fills the memory.
FORMS = [(name, "torch") for name in ("lif_no_reset", "psu", "spsn", "block")] + [("psu", "dense")]
DENSE_LONGEST = 8192


def memory(arguments: argparse.Namespace) -> Iterator[Row]:
    """One forward and backward pass over [T, 1, N] in fp32, each in a process of its own, one thread."""
    import torch
    from hydra.utils import instantiate

    from snnrepro.config.compose import compose_job
    from snnrepro.metrics.memory import forward_backward_cost

    torch.set_num_threads(1)  # before any work: the measuring processes are forked
    for name, form in FORMS:
        config = compose_job([f"neuron={name}", f"neuron.backend={form}"]).config
        factory = instantiate(config.neuron, _convert_="all")
        for steps in arguments.steps:
            if form == "dense" and steps > DENSE_LONGEST:
                continue
            neuron = factory(num_steps=steps, num_features=arguments.size)
            cost = forward_backward_cost(neuron, (steps, 1, arguments.size))
            row = {"neuron": name, "form": form, "T": steps, "N": arguments.size, "dtype": "float32"}
            inputs = steps * arguments.size * 4
            measured = {"peak_mib": cost.bytes / 2**20, "peak_per_input": cost.bytes / inputs, "seconds": cost.seconds}
            yield row | measured


def pictures(rows: list[Row], folder: Path) -> None:
    from snnrepro.metrics.plots import memory_picture

    memory_picture(rows, folder / "memory.png")
