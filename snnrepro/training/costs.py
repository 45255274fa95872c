"""What a run costs: throughput, memory, and the spikes, operations and energy of its test pass."""

import os
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from snnrepro.metrics.energy import CostModel, our_row
from snnrepro.metrics.hooks import summed_over_processes
from snnrepro.metrics.memory import memory_of_process
from snnrepro.metrics.operations import OperationCounter
from snnrepro.metrics.other_counters import OtherCounters
from snnrepro.metrics.sparsity import SpikeCounter
from snnrepro.metrics.speed import synchronize
from snnrepro.training.callbacks import network_of, write_csv

# Test samples on which other packages' counters run beside ours: whole batches until there are so many.
COMPARED_SAMPLES = 256


class Throughput(Callback):
    """Training samples per second, seconds per step, and the share of the time spent waiting for data.

    The first epoch warms up and is left out where there are more. Validation is not in the time.
    """

    def __init__(self) -> None:
        self.metrics: dict[str, float] = {}
        self._epochs: list[tuple[int, int, float, float]] = []  # samples, steps, seconds, of which waiting
        self._samples = self._steps = 0
        self._start = self._waiting = self._last_end = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.on_train_epoch_start(trainer, pl_module)  # of a run that goes on within an epoch, the rest of it

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        synchronize(pl_module.device)
        self._start = self._last_end = time.perf_counter()
        self._samples = self._steps = 0
        self._waiting = 0.0

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self._waiting += time.perf_counter() - self._last_end
        self._samples += batch[1].shape[0]
        self._steps += 1

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx + 1 >= trainer.num_training_batches:
            synchronize(pl_module.device)
            elapsed = time.perf_counter() - self._start
            self._epochs.append((self._samples, self._steps, elapsed, self._waiting))
        self._last_end = time.perf_counter()

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        counted = self._epochs[1:] or self._epochs
        if counted:
            samples, steps, seconds, waiting = (sum(column) for column in zip(*counted, strict=True))
            samples = int(summed_over_processes(torch.tensor(samples, dtype=torch.float64), pl_module.device))
            self.metrics = {
                "train/samples_per_second": samples / seconds,
                "train/seconds_per_step": seconds / steps,
                "train/seconds_per_epoch": seconds / len(counted),
                "train/data_wait_share": waiting / seconds,
            }


class Costs(Callback):
    """Counts spikes and operations of the test pass, all samples alike.

    Once it has ended: `metrics`, per sample; `details` for the record, `layers`, `operations` and what other packages'
    rules give (`counters`); and rates.csv, every layer's firing rate over time.
    """

    def __init__(self, cost_model: CostModel, folder: Path) -> None:
        self.cost_model = cost_model
        self.rates_file = folder / "rates.csv"
        self.metrics: dict[str, float | None] = {}
        self.details: dict[str, Any] = {}

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        network = network_of(pl_module)
        self._counting = ExitStack()
        self._spikes = self._counting.enter_context(SpikeCounter(network))
        self._operations = self._counting.enter_context(OperationCounter(network))
        self._others = OtherCounters(network)
        self._comparing = ExitStack()
        self._comparing.enter_context(self._others)
        self._compared = False

    def on_test_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if not self._compared and self._others.samples >= COMPARED_SAMPLES:
            self._compare()

    def _compare(self) -> None:
        """Close the other packages' counters, and put ours, of the same batches, beside them."""
        self._comparing.close()
        self._compared = True
        rows = [our_row(self._operations.counts, self.cost_model), *self._others.rows()]
        self.details["counters"] = {"samples": self._others.samples, "rows": [row._asdict() for row in rows]}

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not self._compared:
            self._compare()
        self._counting.close()
        self._spikes.gather()
        self._operations.gather()
        counts, layers = self._operations.counts, self._spikes.layers
        energy, ann = self.cost_model.energy(counts), self.cost_model.ann_energy_pj(counts)
        self.metrics = {
            **self._spikes.summary(),
            "test/energy_pj_per_sample": energy.total,
            "test/energy_neurons_pj_per_sample": energy.neurons,
            "test/ann_energy_pj_per_sample": ann,
            "test/ann_over_energy": ann / energy.total if energy.total else None,
            "test/synaptic_acs_per_sample": counts.synaptic_acs,
            "test/synaptic_macs_per_sample": counts.synaptic_macs,
            "test/dense_macs_per_sample": counts.dense_macs,
            "test/neuron_acs_per_sample": counts.neuron_acs,
            "test/neuron_macs_per_sample": counts.neuron_macs,
            "test/state_bytes": counts.state_bytes,
            "test/parameter_bytes": counts.parameter_bytes,
        }
        described: dict[str, dict[str, Any]] = {}
        for name, layer in self._operations.layers.items():
            described[name] = {key: value for key, value in layer._asdict().items() if value is not None}
            if name in layers:
                of = layers[name]
                described[name] |= {
                    "neurons": of.neurons,
                    "firing_rate": of.rate,
                    "spikes_per_sample": of.spikes_per_sample,
                    "silent": of.silent,
                    "saturated": of.saturated,
                }
        self.details |= {"layers": described, "operations": counts._asdict()}
        if trainer.is_global_zero and layers:
            self._write_rates({name: layer.rate_over_time for name, layer in layers.items()})

    def _write_rates(self, rates: dict[str, tuple[float, ...]]) -> None:
        rows: list[dict[str, float]] = [
            {"step": step, **{name: rate[step] for name, rate in rates.items() if step < len(rate)}}
            for step in range(max(map(len, rates.values())))
        ]
        write_csv(self.rates_file, rows)


def reset_peak_memory(device: torch.device) -> None:
    """Let `peak_memory_mb` begin anew: a sweep runs many runs in one process. Off Linux a CPU's cannot be reset."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mb(device: torch.device) -> float:
    """Largest memory in MB since `reset_peak_memory`: allocated on a GPU; on a CPU, resident in the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    if (largest := memory_of_process("VmHWM")) is not None:
        return largest / 1e6
    import resource
    import sys

    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest / 1e6 if sys.platform == "darwin" else largest * 1024 / 1e6


def threads() -> dict[str, int]:
    """What a CPU measurement depends on."""
    return {"threads": torch.get_num_threads(), "cores": os.cpu_count() or 1}
