"""One run from its config: build everything, fit, test, and say what was measured."""

import itertools
import logging
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import lightning as L
import torch
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Callback, EarlyStopping, RichProgressBar
from omegaconf import DictConfig
from torch.nn.modules.batchnorm import _BatchNorm

from snnrepro import stopping
from snnrepro.data.datamodule import DataModule
from snnrepro.errors import UserError
from snnrepro.metrics.load import OtherWork
from snnrepro.metrics.speed import inference_samples_per_second, input_shapes, network_against_loop, timed_shape
from snnrepro.metrics.units import unit_of
from snnrepro.neurons.neuron import Neuron
from snnrepro.place import ALONE, Place
from snnrepro.training.callbacks import BestLossRestart, Curves
from snnrepro.training.checkpoints import BEST, Checkpoints, done_by, load_weights, newest
from snnrepro.training.classifier import Classifier
from snnrepro.training.costs import Costs, Throughput, peak_memory_mb, reset_peak_memory, threads
from snnrepro.training.loggers import Csv, Dashboard
from snnrepro.training.settings import TrainerSettings


class Session:
    """Everything one run needs, built from its config. A context manager: the dashboard is finished on leaving it.

    place: which of the run's processes this one is; all of them build, fit and test alike, the first one writes.
    Raises UserError for missing or damaged data, and for parts that do not fit each other, before training starts.
    """

    def __init__(self, config: DictConfig, folder: Path, identity: tuple[str, str, str], place: Place = ALONE) -> None:
        quiet_lightning()
        self.folder = folder
        self.place = place
        self.protocol: str = config.protocol
        self.seconds: dict[str, float] = {}
        self.timed_shapes: dict[str, list[int]] = {}
        self.timed_batch = 0
        self.others_cpu_share: dict[str, float | None] = {}
        self._clock = time.perf_counter()
        self._metrics: dict[str, Any] | None = None
        L.seed_everything(config.seed, workers=True, verbose=False)

        def part(name: str) -> Any:
            return instantiate(config[name], _convert_="all")

        self.settings: TrainerSettings = part("trainer")()
        reset_peak_memory(torch.device(self.settings.accelerator))
        self.data: DataModule = part("dataset")(
            data_dir=config.paths.data_dir,
            cache_dir=config.paths.cache_dir,
            protocol=config.protocol,
            seed=config.seed,
            augmentation=part("augmentation")(),
        )
        self.data.process = place
        self.data.setup()
        network = part("architecture")(
            neuron=part("neuron"),
            input_shape=self.data.input_shape,
            num_classes=self.data.num_classes,
            num_steps=self.data.num_steps,
        )
        normalised = any(isinstance(module, _BatchNorm) for module in network.modules())
        if place.world > 1 and self.settings.sync_batchnorm and normalised and self.settings.accelerator == "cpu":
            raise UserError(
                "batch norms over several processes need GPUs: take one process, a network without batch norms "
                "(architecture.batch_norm=false), or trainer.sync_batchnorm=false, by which each process normalises "
                "its part of a batch: another run"
            )
        self.classifier = Classifier(
            network,
            loss=part("loss")(),
            readout=part("readout"),
            optimizer=part("optimizer"),
            schedule=part("schedule"),
            protocol=config.protocol,
            max_epochs=self.settings.max_epochs,
            compile=self.settings.compile,
            place=place,
            weight_of_batch=self.data.weight_of_batch,
        )
        self.throughput = Throughput()
        self.costs = Costs(part("energy")(), folder)
        stage = self.classifier.stage
        self.curves = Curves(
            folder / "curves.csv",
            stage,
            print_lines=not self.settings.progress_bar,
            spikes=config.measure.training_spikes,
        )
        self.checkpoints = Checkpoints(
            folder / "checkpoints", f"{stage}/accuracy", self.classifier.settled_epoch, self.settings.save_minutes
        )
        self._checkpoint: Path | None = None
        callbacks: list[Callback] = [self.curves, self.throughput, self.costs, BestLossRestart(), self.checkpoints]
        if self.settings.progress_bar:
            callbacks.append(RichProgressBar(leave=False))
        if self.settings.early_stopping_patience is not None:
            callbacks.append(
                EarlyStopping(
                    monitor=f"{stage}/accuracy",
                    mode="max",
                    patience=self.settings.early_stopping_patience,
                    min_delta=self.settings.early_stopping_min_delta,
                )
            )
        logger = part("logger") if place.first else Csv
        self.dashboard: Dashboard = logger(folder, identity, config_of(config))
        try:
            self.trainer = self.settings.make(folder, callbacks, self.dashboard, place)
        except UserError:
            self.dashboard.finish(None)
            raise
        self._lap("setup")

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.dashboard.finish(self._metrics)

    @property
    def facts(self) -> dict[str, Any]:
        """What the record says of a run before it has a result."""
        network = self.classifier.network
        device = self.trainer.strategy.root_device
        return {
            "samples": self.data.splits | self._samples_used(),
            "data": self.data.facts,
            "parameters": sum(p.numel() for p in network.parameters()),
            "kernel": {
                name: m.kernel(self.data.num_steps, device)
                for name, m in network.named_modules()
                if isinstance(m, Neuron)
            },
            "not_fused": {
                name: reason
                for name, m in network.named_modules()
                if isinstance(m, Neuron) and (reason := m.not_fused(self.data.num_steps, device))
            },
            "device": {
                "type": device.type,
                "name": torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name(),
                **threads(),
                **({"processes": self.place.world} if self.place.world > 1 else {}),
            },
            "precision": self.settings.precision,
            "cost_model": self.costs.cost_model.name,
        }

    def _samples_used(self) -> dict[str, int]:
        """What an epoch, a validation and the test really see, where batches are limited or a last one is dropped."""
        used = {"test_available": self.data.splits["test"]}
        for split, name in (("train", "train_per_epoch"), ("validation", "validation"), ("test", "test")):
            limit = self.settings.limit_train_batches if split == "train" else self.settings.limit_eval_batches
            samples = self.data.splits[split]
            if self.data.drops_last(split):
                samples -= samples % self.data.batch_size
            used[name] = samples if limit is None else min(samples, limit * self.data.batch_size)
        return used

    def resume(self) -> tuple[int, int]:
        """Go on from the newest checkpoint that is whole; how many epochs, and batches of the next one, it holds.

        Raises UserError where it is of another network than this code builds.
        """
        found = newest(self.folder / "checkpoints", say=self.place.first)
        if found is None:
            return 0, 0
        self._checkpoint, saved = found
        ours, theirs = self.classifier.state_dict(), saved["state_dict"]
        if ours.keys() != theirs.keys() or any(ours[name].shape != theirs[name].shape for name in ours):
            raise UserError(f"{self._checkpoint} is of other code: overwrite=true starts afresh")
        epochs, self.data.first_batch = done_by(saved)
        return epochs, self.data.first_batch

    def fit(self) -> None:
        """Train, from where `resume` said. Ctrl-C arrives as KeyboardInterrupt."""
        try:
            with loader_errors(), interruptible(), self._beside_others("fit"), stopping.alone():
                self.trainer.fit(
                    self.classifier,
                    datamodule=self.data,
                    ckpt_path=None if self._checkpoint is None else str(self._checkpoint),
                    weights_only=True,
                )
        except SystemExit:  # what Lightning makes of Ctrl-C
            raise KeyboardInterrupt from None
        if self.trainer.interrupted:
            raise KeyboardInterrupt
        self._lap("fit")

    def test(self) -> dict[str, Any]:
        """One pass over the test set, then the clock. Returns what the record is to hold of it.

        Protocol validated: the weights that did best on validation. Protocol paper: the last epoch's weights, beside
        the best accuracy of all epochs on the test set. The other protocol's metrics are None.
        """
        if self.protocol == "validated" and self.checkpoints.best_epoch is not None:
            load_weights(self.classifier, self.folder / "checkpoints" / BEST)
        try:
            with loader_errors(), interruptible():
                self.trainer.test(self.classifier, datamodule=self.data, verbose=False)
        except SystemExit:
            raise KeyboardInterrupt from None
        self._lap("test")
        results = {name: float(value) for name, value in self.trainer.callback_metrics.items()}
        accuracy = results.pop("test/accuracy")
        rows = self.curves.rows
        settled = [row for row in rows if row["epoch"] >= self.classifier.settled_epoch] or rows[-1:]
        best_row = max(settled, key=lambda row: row[f"{self.classifier.stage}/accuracy"])
        paper = self.protocol == "paper"
        metrics: dict[str, Any] = {
            "test/accuracy": None if paper else accuracy,
            "test/accuracy_best_epoch": best_row["epoch_test/accuracy"] if paper else None,
            "test/accuracy_last_epoch": accuracy if paper else None,
            "validation/accuracy": None if paper else best_row["validation/accuracy"],
            **results,
            **self.costs.metrics,
            "train/samples_per_second": None,
            **self.throughput.metrics,
            **(self._speed() if self.place.first else {}),
        }
        metrics["peak_memory_mb"] = peak_memory_mb(self.classifier.device)
        self._lap("speed")
        self._metrics = metrics
        return {
            "metrics": metrics,
            "units": {name: unit for name in metrics if (unit := unit_of(name))},
            "best_epoch": int(best_row["epoch"]),
            # What neuron_vs_lif_loop was timed on, [T, B, *] of each layer in fp32; inference takes batches of B.
            "timed": {"shapes": self.timed_shapes, "dtype": "float32", "batch": self.timed_batch},
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
            "others_cpu_share": self.others_cpu_share,
            **self.costs.details,
        }

    @contextmanager
    def _beside_others(self, phase: str) -> Iterator[None]:
        """Keep how much of the machine's cores other work took in a phase: its times mean less the more it was."""
        load = OtherWork()
        try:
            with load:
                yield
        finally:
            self.others_cpu_share[phase] = None if load.share is None else round(load.share, 4)

    def _speed(self) -> dict[str, float | None]:
        network = self.classifier.network.to(self.trainer.strategy.root_device)
        network.eval()
        device = next(network.parameters()).device
        precision = self.trainer.precision_plugin
        batches = [
            precision.convert_input(self.data.prepare(x.to(device), y.to(device), training=False)[0])
            for x, y in itertools.islice(self.data.test_dataloader(), 4)
        ]
        with precision.forward_context(), self._beside_others("speed"):
            ratios = network_against_loop(network, batches[0])
            shapes = input_shapes(network, batches[0])
            inference = inference_samples_per_second(network, itertools.cycle(batches))
        self.timed_batch = batch = batches[0].shape[1]
        self.timed_shapes = {name: list(timed_shape((steps, batch, *rest))) for name, _, (steps, _, *rest) in shapes}
        return {
            "test/samples_per_second": inference,
            "speed/neuron_vs_lif_loop": None,
            "speed/neuron_vs_lif_loop_forward": None,
            **ratios,
        }

    def _lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = now - self._clock
        self._clock = now


@contextmanager
def loader_errors() -> Iterator[None]:
    """A UserError of a loader process, which arrives behind that process's traceback, as the line it is."""
    try:
        yield
    except UserError as error:
        raise type(error)(str(error).strip().splitlines()[-1].split("UserError: ")[-1]) from None


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C means after it what it meant before: Lightning, once interrupted, lets this process ignore it."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)


def config_of(config: DictConfig) -> dict[str, Any]:
    """The resolved config as plain values, without the machine's paths."""
    from omegaconf import OmegaConf

    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items() if key != "paths"}


def cpu_name() -> str:
    """The processor's model, as Linux tells it."""
    import platform

    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def quiet_lightning() -> None:
    """Keep Lightning's notices off the screen; its warnings that concern us are answered here, once."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # Batches come whole from memory: loader processes would only copy them once more.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    # Runs are short on purpose where the data are few.
    warnings.filterwarnings("ignore", message=".*number of training batches.*is smaller than the logging interval.*")
    # The data module goes on where the checkpoint was written, by itself.
    warnings.filterwarnings("ignore", message=".*your dataloader is not resumable.*")
    # How many processes a run has is ours to say (snnrepro.jobs.processes).
    warnings.filterwarnings("ignore", message=".*srun. command is available on your system but is not used.*")
    # Lightning 2.6 on a newer torch.
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
