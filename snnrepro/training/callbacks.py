"""What is watched while a network trains: curves, throughput, and the costs of the test pass."""

import csv
import io
import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from snnrepro.metrics.energy import CostModel, our_row
from snnrepro.metrics.operations import OperationCounter
from snnrepro.metrics.other_counters import OtherCounters
from snnrepro.metrics.sparsity import LayerSpikes, SpikeCounter
from snnrepro.metrics.speed import synchronize

# Test samples on which other packages' counters run beside ours: whole batches until there are so many.
COMPARED_SAMPLES = 256


class Curves(Callback):
    """One row an epoch in curves.csv, kept in the checkpoint too, so that a resumed run continues the same rows.

    Where there is no progress bar, about twenty lines of progress are printed instead. spikes: the firing rates of the
    training batches too, which takes a pass over every layer's spikes.
    """

    def __init__(self, file: Path, stage: str, *, print_lines: bool, spikes: bool) -> None:
        self.file = file
        self.stage = stage
        self.print_lines = print_lines
        self.spikes = spikes
        self.rows: list[dict[str, float]] = []
        self._started = self._lr = 0.0
        self._counter: SpikeCounter | None = None

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = list(state_dict["rows"])

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._started = time.perf_counter()
        self._lr = trainer.optimizers[0].param_groups[0]["lr"]  # at the epoch's end the next one's is set already
        self._counter = SpikeCounter(network_of(pl_module)) if self.spikes else None

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if self._counter is not None:  # for this batch alone: the epoch holds a validation pass too
            self._counter.__enter__()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self._counter is not None:
            self._counter.__exit__(None, None, None)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        names = ["train/loss", "train/auxiliary_loss", "train/accuracy", f"{self.stage}/loss", f"{self.stage}/accuracy"]
        row = {name: float(trainer.callback_metrics[name]) for name in names if name in trainer.callback_metrics}
        row |= {
            "lr": self._lr,
            "seconds": time.perf_counter() - self._started,
        }
        if self._counter is not None:
            spikes = self._counter.summary("train")
            pl_module.log_dict(spikes)
            row |= spikes
        self.rows.append({"epoch": trainer.current_epoch, **row})
        if trainer.is_global_zero:
            self._write()
            self._print(trainer)

    def _write(self) -> None:
        write_csv(self.file, self.rows)

    def _print(self, trainer: L.Trainer) -> None:
        epoch, epochs = trainer.current_epoch + 1, trainer.max_epochs or 1
        if self.print_lines and (epoch % max(1, epochs // 20) == 0 or epoch == epochs):
            row = self.rows[-1]
            print(
                f"epoch {epoch}/{epochs}  train loss {row['train/loss']:.4f}  accuracy {row['train/accuracy']:.2%}  "
                f"{self.stage.replace('_', ' ')} accuracy {row.get(f'{self.stage}/accuracy', float('nan')):.2%}  "
                f"{row['seconds']:.1f} s",
                flush=True,
            )


class BestCheckpoint(ModelCheckpoint):
    """The epoch that did best, from `first_epoch` (from 0) on: before, a masked PSN still sees the future."""

    def __init__(self, first_epoch: int, **settings: Any) -> None:
        super().__init__(**settings)
        self.first_epoch = first_epoch

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.current_epoch >= self.first_epoch:
            super().on_train_epoch_end(trainer, pl_module)


class BestLossRestart(Callback):
    """At the milestones of a `step_with_restart` schedule: back to the best weights, with a fresh optimiser.

    Best is the lowest mean training loss of an epoch so far, that of its batches as they were trained; the weights are
    those at that epoch's end. Saved in the checkpoint, so that a resumed run restarts alike.
    """

    def __init__(self) -> None:
        self.lowest = float("inf")
        self.weights: dict[str, torch.Tensor] = {}

    def state_dict(self) -> dict[str, Any]:
        return {"lowest": self.lowest, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.lowest, self.weights = float(state_dict["lowest"]), dict(state_dict["weights"])

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.weights and trainer.current_epoch in self._restarts(trainer):
            network_of(pl_module).load_state_dict(self.weights)
            for optimizer in trainer.optimizers:
                optimizer.state.clear()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._restarts(trainer) and (loss := float(trainer.callback_metrics["train/loss"])) < self.lowest:
            self.lowest = loss
            self.weights = {name: w.detach().clone() for name, w in network_of(pl_module).state_dict().items()}

    @staticmethod
    def _restarts(trainer: L.Trainer) -> tuple[int, ...]:
        restarts: tuple[int, ...] = getattr(trainer.lr_scheduler_configs[0].scheduler, "restarts", ())
        return restarts


class Throughput(Callback):
    """Training samples per second, seconds per step, and the share of the time spent waiting for data.

    The first epoch warms up and is left out where there are more. Validation is not in the time.
    """

    def __init__(self) -> None:
        self.metrics: dict[str, float] = {}
        self._epochs: list[tuple[int, int, float, float]] = []  # samples, steps, seconds, of which waiting
        self._samples = self._steps = 0
        self._start = self._waiting = self._last_end = 0.0

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
        self.metrics: dict[str, float] = {}
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
        self.metrics = self._spikes.summary() | {
            "test/energy_pj_per_sample": energy.total,
            "test/energy_neurons_pj_per_sample": energy.neurons,
            "test/ann_energy_pj_per_sample": ann,
            "test/ann_over_energy": ann / energy.total if energy.total else 0.0,
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
            steps = max(len(layer.rate_over_time) for layer in layers.values())
            self._write_rates(layers, steps)

    def _write_rates(self, layers: dict[str, LayerSpikes], steps: int) -> None:
        rows: list[dict[str, float]] = [
            {"step": step, **{n: of.rate_over_time[step] for n, of in layers.items() if step < len(of.rate_over_time)}}
            for step in range(steps)
        ]
        write_csv(self.rates_file, rows)


def network_of(pl_module: L.LightningModule) -> torch.nn.Module:
    """The network within the trained module."""
    network = pl_module.network
    assert isinstance(network, torch.nn.Module)
    return network


def write_csv(file: Path, rows: list[dict[str, float]]) -> None:
    """Rows of numbers, in six digits, atomically; a resumed run's later rows may have other columns."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: f"{v:.6g}" for k, v in row.items()} for row in rows)
    partial = file.with_suffix(".partial")
    partial.write_text(text.getvalue())
    partial.replace(file)


def peak_memory_mb(device: torch.device) -> float:
    """Largest memory in MB: allocated on a GPU since the run began; on a CPU, resident in the process so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    import resource
    import sys

    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest / 1e6 if sys.platform == "darwin" else largest * 1024 / 1e6


def threads() -> dict[str, int]:
    """What a CPU measurement depends on."""
    return {"threads": torch.get_num_threads(), "cores": os.cpu_count() or 1}
