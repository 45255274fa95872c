"""The benchmark of whole networks of scripts/benchmark.py: training steps and inference on random input.

A network, its loss and its optimiser are those that train.py would build from the same overrides; its input is random,
of the data set's shape `[T, B, *]`, so that no data are needed.
"""

import argparse
from collections.abc import Iterator
from typing import Any

from benchmark_speed import Cells, Row, device_of, known_neurons

from snnrepro.errors import UserError

# The step-by-step LIF, beside which `lif` is the same fused.
BASELINE = "lif_loop"
WARM_UP_BATCH = 2


class Network:
    """What train.py builds from `words`, on a device, with one random batch of `batch_size` samples (None: its own)."""

    def __init__(self, words: list[str], device_type: str, batch_size: int | None = None) -> None:
        import torch
        from hydra.utils import instantiate
        from lightning.fabric import Fabric

        from snnrepro.build import data_module
        from snnrepro.config.compose import compose_job
        from snnrepro.neurons import Neuron
        from snnrepro.training.session import quiet_lightning

        quiet_lightning()
        words = [*words, f"trainer.accelerator={'gpu' if device_type == 'cuda' else 'cpu'}"]
        self.data, self.dataset = data_module(words)
        job = compose_job(words)
        config = job.config
        self.architecture = job.choices["architecture"]
        if "weights" in config.architecture:
            config.architecture.weights = None  # a file, and no time depends on it

        def part(name: str) -> Any:
            return instantiate(config[name], _convert_="all")

        torch.manual_seed(config.seed)
        self.settings = part("trainer")()
        self.fabric = Fabric(accelerator=self.settings.accelerator, devices=1, precision=self.settings.precision)
        self.network = part("architecture")(
            neuron=part("neuron"),
            input_shape=self.data.input_shape,
            num_classes=self.data.num_classes,
            num_steps=self.data.num_steps,
        ).to(self.fabric.device)
        self.neurons = [module for module in self.network.modules() if isinstance(module, Neuron)]
        self.kernels = sorted({neuron.kernel(self.data.num_steps, self.fabric.device) for neuron in self.neurons})
        self.loss, self.readout = part("loss")(), part("readout")
        if self.settings.compile:
            self.network.compile()
        self.model, self.optimizer = self.fabric.setup(self.network, part("optimizer")(self.network.parameters()))
        self.batch = batch_size or self.data.batch_size
        self.x = torch.rand(self.data.num_steps, self.batch, *self.data.input_shape, device=self.fabric.device)
        self.y = torch.randint(self.data.num_classes, (self.batch,), device=self.fabric.device)
        self.steps = 0

    def train(self) -> None:
        """One training step: forward, loss, backward, optimiser."""
        import torch

        from snnrepro.neurons import hold_draws

        hold_draws(self.network, 2 * self.steps)
        self.steps += 1
        self.optimizer.zero_grad()
        loss = self.loss(self.model(self.x), self.y, self.readout)
        auxiliary = [found for neuron in self.neurons if (found := neuron.auxiliary_loss()) is not None]
        if auxiliary:
            loss = self.loss.with_auxiliary(loss, torch.stack(auxiliary).sum(), 0)
        self.fabric.backward(loss)
        if self.settings.gradient_clip_val is not None:
            self.fabric.clip_gradients(self.model, self.optimizer, max_norm=self.settings.gradient_clip_val)
        self.optimizer.step()

    def infer(self) -> None:
        import torch

        with torch.no_grad():
            self.model(self.x)

    def checked(self) -> bool:
        """Whether the form of every layer of neurons equals its reference, in fp32."""
        from snnrepro.metrics.speed import passes_check

        return all(passes_check(neuron, self.data.num_steps, self.fabric.device) for neuron in self.neurons)


def networks(arguments: argparse.Namespace) -> Cells:
    """Every neuron in the network that the overrides choose, interleaved, against the step-by-step LIF in one run."""
    from snnrepro.config.compose import expand

    device_of(arguments)
    expand(arguments.overrides, sweep=False)
    if any(word.lstrip("+").startswith("neuron=") for word in arguments.overrides):
        raise UserError("networks takes its neurons by --neurons, one network each: leave neuron= away")
    words = {BASELINE: [*arguments.overrides, "neuron=lif", "neuron.backend=reference"]}
    words |= {name: [*arguments.overrides, f"neuron={name}"] for name in known_neurons(arguments.neurons)}
    built = {name: Network(of_it, arguments.device) for name, of_it in words.items()}
    return 2, f"training and inference of {len(built)} networks", network_cells(built, words, arguments)


def network_cells(
    built: dict[str, Network], words: dict[str, list[str]], arguments: argparse.Namespace
) -> Iterator[list[Row]]:
    from snnrepro.metrics.load import OtherWork
    from snnrepro.metrics.speed import compared, interleaved

    checked = {name: network.checked() for name, network in built.items()}
    device = built[BASELINE].fabric.device
    peaks = {name: peak_of(of_it, arguments.device) for name, of_it in words.items()}
    for kind in ("training", "inference"):
        runs = {}
        for name, network in built.items():
            network.model.train(kind == "training")
            if checked[name]:
                runs[name] = network.train if kind == "training" else network.infer
        with OtherWork() as work:
            seconds = interleaved(runs, device, arguments.repeats)
        rows = []
        for name, network in built.items():
            times = compared(seconds.get(name, []), seconds.get(BASELINE, []))
            rows.append(
                {
                    "benchmark": "networks",
                    "neuron": name,
                    "kernel": " ".join(network.kernels),
                    "dataset": network.dataset,
                    "architecture": network.architecture,
                    "overrides": " ".join(arguments.overrides),
                    "parameters": sum(p.numel() for p in network.network.parameters()),
                    "baseline": BASELINE,
                    "pass": kind,
                    "T": network.data.num_steps,
                    "input": "x".join(map(str, network.data.input_shape)),
                    "batch": network.batch,
                    "precision": network.settings.precision,
                    "device_type": device.type,
                    "samples_per_second": network.batch / times["seconds"] if times["seconds"] else None,
                    **times,
                    "peak_memory_mb": peaks[name][kind],
                    "checked": checked[name] and checked[BASELINE],
                    "others_cpu_share": work.share,
                    "repeats": arguments.repeats,
                }
            )
        yield rows


def peak_of(words: list[str], device_type: str) -> dict[str, float | None]:
    """Peak memory in MB of inference and training of one network, input included, in a process of its own.

    On a GPU what torch allocated; on a CPU what the process held above its start, None where there is no /proc.
    """
    from snnrepro.metrics.memory import in_own_process

    try:
        found: dict[str, float | None] = in_own_process(measured_peak, words, device_type, how="spawn")
    except RuntimeError as error:
        raise UserError(f"memory of {words[-1]}: {error}") from None
    return found


def measured_peak(words: list[str], device_type: str) -> dict[str, float | None]:
    import torch

    from snnrepro.metrics.memory import memory_of_process, return_freed_memory

    return_freed_memory()
    # What is loaded by a first step is not what a step needs.
    warm = Network(words, device_type, WARM_UP_BATCH)
    for run in (warm.train, warm.infer):
        run()
    del warm, run
    gpu = torch.device(device_type) if device_type == "cuda" else None
    found: dict[str, float | None] = {}
    start = torch.cuda.memory_allocated(gpu) if gpu else memory_of_process("VmRSS")
    network = Network(words, device_type)
    # Inference first: the larger peak comes later. The second step finds the optimiser's state in place.
    for kind, runs in {"inference": [network.infer], "training": [network.train, network.train]}.items():
        network.model.train(kind == "training")
        if gpu:
            torch.cuda.reset_peak_memory_stats(gpu)
        for run in runs:
            run()
        peak = torch.cuda.max_memory_allocated(gpu) if gpu else memory_of_process("VmHWM")
        found[kind] = (peak - start) / 1e6 if peak is not None and start is not None else None
    return found
