"""What is kept while a network trains: its curves, its best weights, and where it restarts."""

import csv
import io
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from snnrepro.metrics.sparsity import SpikeCounter
from snnrepro.writing import written_whole


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

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint["curves"] = {
            "rows": self.rows,
            "lr": self._lr,
            "seconds": time.perf_counter() - self._started,
            "spikes": None if self._counter is None else self._counter.state(),
        }

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        saved = checkpoint["curves"]
        self.rows, self._lr = list(saved["rows"]), float(saved["lr"])
        self._started = time.perf_counter() - float(saved["seconds"])
        if self.spikes:
            self._counter = SpikeCounter(network_of(pl_module))
            if saved["spikes"] is not None and trainer.is_global_zero:  # what all processes had
                self._counter.load(saved["spikes"])

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._started = time.perf_counter()
        self._lr = trainer.optimizers[0].param_groups[0]["lr"]  # at the epoch's end the next one's is set already
        self._counter = SpikeCounter(network_of(pl_module)) if self.spikes else None

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        # For this batch alone, the epoch holds a validation pass too; and not for a sample that another process counts.
        if self._counter is not None and pl_module.weight_of_batch(batch_idx):
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
            self._counter.gather()
            spikes = self._counter.summary("train")
            pl_module.log_dict(spikes, sync_dist=trainer.world_size > 1)  # equal everywhere by now
            row |= spikes
        self.rows.append({"epoch": trainer.current_epoch, **row})
        if trainer.is_global_zero:
            write_csv(self.file, self.rows)
            self._print(trainer)

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
    with written_whole(file) as partial:
        partial.write_text(text.getvalue())
