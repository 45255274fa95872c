"""The LightningModule: one network, one loss, and the accuracy that decides.

Shapes: x `[T, B, *]` float (after the data module's `prepare`), y `[B]` or `[B, K]`; outputs `[T, B, K]`.
"""

from collections.abc import Callable, Iterator
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import MeanMetric

from snnrepro.errors import NonFiniteLossError, UserError
from snnrepro.metrics.hooks import summed_over_processes
from snnrepro.neurons.neuron import Neuron
from snnrepro.neurons.noise import hold_draws
from snnrepro.place import ALONE, Place
from snnrepro.training.checkpoints import done_by
from snnrepro.training.loss import Loss

# The host looks for a non-finite loss this often, so that a GPU is not stopped at every step.
CHECK_EVERY = 50


class Classifier(L.LightningModule):
    """Trains `network` by `loss` on the `readout` of its outputs.

    Logs train/loss, train/accuracy and, once an epoch, <stage>/loss and <stage>/accuracy, where stage is `validation`
    (protocol validated) or `epoch_test` (protocol paper: the test set after every epoch); then test/loss and
    test/accuracy, all over the samples of all processes. weight_of_batch: of this process's part of a training batch in
    the mean over processes (snnrepro.data.datamodule.DataModule).
    Raises NonFiniteLossError for a NaN or infinite training loss.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        loss: Loss,
        readout: Callable[[Tensor], Tensor],
        optimizer: Callable[[Iterator[nn.Parameter]], Optimizer],
        schedule: Callable[[Optimizer, int], LRScheduler],
        protocol: str,
        max_epochs: int,
        compile: bool = False,
        place: Place = ALONE,
        weight_of_batch: Callable[[int], float] = lambda batch_idx: 1.0,
    ) -> None:
        super().__init__()
        self.network = network
        self.loss = loss
        self.readout = readout
        self.make_optimizer = optimizer
        self.make_schedule = schedule
        self.max_epochs = max_epochs
        self.place = place
        self.weight_of_batch = weight_of_batch
        self.stage = "validation" if protocol == "validated" else "epoch_test"
        self._forward: Callable[[Tensor], Tensor] = torch.compile(network.forward) if compile else network
        # Names as Lightning logs them; module names may not hold a slash.
        stages = ("train_", "each_epoch", "test_")
        self.auxiliary = MeanMetric(nan_strategy="disable")
        # "disable": torchmetrics' own check for NaN would stop the host at every step.
        self.losses = nn.ModuleDict({stage: MeanMetric(nan_strategy="disable") for stage in stages})
        self.accuracies = nn.ModuleDict({stage: MeanMetric(nan_strategy="disable") for stage in stages})
        self._nonfinite: Tensor | None = None
        self.neurons = [module for module in network.modules() if isinstance(module, Neuron)]

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.network(x)
        return outputs

    def configure_optimizers(self) -> Any:
        try:
            optimizer = self.make_optimizer(self.network.parameters())
        except (TypeError, ValueError, IndexError) as error:
            raise UserError(f"optimizer: {error}") from None
        return {
            "optimizer": optimizer,
            "lr_scheduler": {
                "scheduler": self.make_schedule(optimizer, self.max_epochs),
                "interval": "epoch",
            },
        }

    @property
    def settled_epoch(self) -> int:
        """The first epoch, from 0, whose network is the one meant; no earlier one counts as the best."""
        return max((neuron.settled_epoch(self.max_epochs) for neuron in self.neurons), default=0)

    def on_train_epoch_start(self) -> None:
        for neuron in self.neurons:
            neuron.on_epoch_start(self.current_epoch, self.max_epochs)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        self._hold_draws(2 * self.global_step)
        outputs = self._forward(self.trainer.precision_plugin.convert_input(x))
        task = self.loss(outputs, y, self.readout)
        weight = self.weight_of_batch(batch_idx)  # 0: another process's sample, to take part in the step
        loss = self._with_auxiliary(task, y.shape[0] if weight else 0)
        finite = torch.isfinite(loss.detach())
        self._nonfinite = ~finite if self._nonfinite is None else self._nonfinite | ~finite
        if batch_idx % CHECK_EVERY == 0 or loss.device.type == "cpu":
            self._check_finite(batch_idx)
        if weight:
            self._log_metrics("train_", "train", outputs, y, task)
        return loss if weight == 1 else loss * weight

    def _hold_draws(self, number: int) -> None:
        """Noise by a step's number, not by calls: a resumed run draws what an unbroken one does. Even ones train."""
        hold_draws(self.network, number * self.place.world + self.place.rank)

    def _with_auxiliary(self, task: Tensor, samples: int) -> Tensor:
        """samples: how many of this process the auxiliary loss counts for in the curves."""
        losses = [loss for neuron in self.neurons if (loss := neuron.auxiliary_loss()) is not None]
        if not losses:
            return task
        auxiliary = torch.stack(losses).sum()
        if samples:
            self.auxiliary.update(auxiliary.detach().expand(samples))
        self.log("train/auxiliary_loss", self.auxiliary, on_step=False, on_epoch=True, batch_size=samples)
        return self.loss.with_auxiliary(task, auxiliary, self.current_epoch)

    def on_train_epoch_end(self) -> None:
        self._check_finite(None)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        x, y = batch
        self._hold_draws(2 * batch_idx + 1)
        outputs = self._forward(self.trainer.precision_plugin.convert_input(x))
        self._log_metrics("each_epoch", self.stage, outputs, y, self.loss(outputs, y, self.readout))

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        x, y = batch
        self._hold_draws(2 * batch_idx + 1)
        outputs = self(self.trainer.precision_plugin.convert_input(x))
        self._log_metrics("test_", "test", outputs, y, self.loss(outputs, y, self.readout))

    def _log_metrics(self, key: str, stage: str, outputs: Tensor, y: Tensor, loss: Tensor) -> None:
        """Exact over partial batches: sums and counts, not means of means. Mixed labels count as their largest."""
        samples = y.shape[0]
        labels = y.argmax(1) if y.ndim == 2 else y
        # Once for every sample: without its check for NaN torchmetrics (1.9) forgets a weight given beside the value.
        self.losses[key].update(loss.detach().expand(samples))  # type: ignore[operator]
        correct = self.readout(outputs.detach()).argmax(1) == labels
        self.accuracies[key].update(correct.float())  # type: ignore[operator]
        # Test metrics reach the dashboard with the record's names and nulls, not from here.
        settings: Any = {
            "on_step": False,
            "on_epoch": True,
            "batch_size": samples,
            "logger": stage != "test" and bool(self.loggers),
        }
        for name, metrics in (("loss", self.losses), ("accuracy", self.accuracies)):
            self.log(f"{stage}/{name}", metrics[key], prog_bar=name == "accuracy", **settings)  # type: ignore[arg-type]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what an epoch at hand has summed up so far, of all processes."""
        checkpoint["sums"] = {
            name: {part: summed_over_processes(value, self.device) for part, value in metric.metric_state.items()}
            for name, metric in self._training_metrics().items()
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Within an epoch, go on summing up; of several processes the first has what all had."""
        within = done_by(checkpoint)[1] > 0
        for name, metric in self._training_metrics().items() if within and self.place.first else ():
            for part, value in checkpoint["sums"][name].items():
                setattr(metric, part, value.to(self.device))

    def _training_metrics(self) -> dict[str, Any]:
        return {"loss": self.losses["train_"], "accuracy": self.accuracies["train_"], "auxiliary": self.auxiliary}

    def _check_finite(self, batch_idx: int | None) -> None:
        if self._nonfinite is not None and bool(self._nonfinite):
            where = f"epoch {self.current_epoch + 1}" + ("" if batch_idx is None else f", step {batch_idx}")
            raise NonFiniteLossError(
                f"the training loss became NaN or infinite ({where}): "
                "lower optimizer.lr or set trainer.gradient_clip_val"
            )
