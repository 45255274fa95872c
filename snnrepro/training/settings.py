"""Trainer settings as a config gives them."""

import sys
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import DDPStrategy

from snnrepro.errors import UserError
from snnrepro.place import ALONE, Place
from snnrepro.training.checkpoints import CheckpointFiles
from snnrepro.training.loggers import Dashboard
from snnrepro.types import NonNegativeFloat, PositiveFloat, PositiveInt, Precision


class TrainerSettings:
    """How long and on what to train (configs/trainer).

    precision is Lightning's (32-true, bf16-mixed, ...), or `amp`: as the papers' scripts have it, 16-mixed on a GPU and
    32-true on a CPU, where their automatic mixed precision is off. compile: torch.compile the network for training.
    early_stopping_patience: epochs without a better accuracy before stopping (null: never). limit_train_batches,
    limit_eval_batches: stop each epoch after so many batches (null: all). max_steps: stop altogether after so many
    steps (null: never); the schedule still spans max_epochs. progress_bar: auto shows it on a terminal. devices: how
    many a run is spread over on this machine, each with its part of every batch (auto: all GPUs there are).
    save_minutes: within an epoch too, save after so many minutes, so that no more is lost (null: after epochs only).
    sync_batchnorm: batch norms see the whole batch then, not each the part of its device; needs GPUs.
    """

    def __init__(
        self,
        *,
        max_epochs: PositiveInt,
        accelerator: Literal["auto", "cpu", "gpu"] = "auto",
        precision: Precision = "32-true",
        gradient_clip_val: PositiveFloat | None = None,
        early_stopping_patience: PositiveInt | None = None,
        early_stopping_min_delta: NonNegativeFloat = 0.0,
        compile: bool = False,
        max_steps: PositiveInt | None = None,
        limit_train_batches: PositiveInt | None = None,
        limit_eval_batches: PositiveInt | None = None,
        progress_bar: bool | Literal["auto"] = "auto",
        devices: PositiveInt | Literal["auto"] = 1,
        sync_batchnorm: bool = True,
        save_minutes: PositiveFloat | None = 10.0,
    ) -> None:
        if accelerator == "gpu" and not torch.cuda.is_available():
            raise UserError("trainer.accelerator=gpu, but torch finds no GPU here: take trainer=cpu or trainer=auto")
        self.max_epochs = max_epochs
        self.accelerator = {"auto": "cuda" if torch.cuda.is_available() else "cpu", "gpu": "cuda", "cpu": "cpu"}[
            accelerator
        ]
        amp: Any = "16-mixed" if self.accelerator == "cuda" else "32-true"
        self.precision = amp if precision == "amp" else precision
        self.gradient_clip_val = gradient_clip_val
        self.early_stopping_patience = early_stopping_patience
        self.early_stopping_min_delta = early_stopping_min_delta
        self.compile = compile
        self.max_steps = max_steps
        self.limit_train_batches = limit_train_batches
        self.limit_eval_batches = limit_eval_batches
        self.progress_bar = sys.stderr.isatty() if progress_bar == "auto" else progress_bar
        self.sync_batchnorm = sync_batchnorm
        self.save_minutes = save_minutes
        self.devices = self._number(devices)

    def _number(self, devices: int | Literal["auto"]) -> int:
        """How many devices on this machine. Raises UserError for more GPUs than there are."""
        gpus = torch.cuda.device_count() if self.accelerator == "cuda" else None
        if devices == "auto":
            if gpus is None:
                raise UserError("trainer.devices=auto counts GPUs, and none is used here: set trainer.devices=2, say")
            return gpus
        if gpus is not None and devices > gpus:
            raise UserError(f"trainer.devices={devices}, but torch finds {gpus} GPU{'s' * (gpus > 1)} here")
        return devices

    def make(self, folder: Path, callbacks: list[Callback], dashboard: Dashboard, place: Place = ALONE) -> L.Trainer:
        """Raises UserError for settings that do not fit each other."""
        environment = Environment(place)
        try:
            trainer = L.Trainer(
                default_root_dir=folder,
                max_epochs=self.max_epochs,
                max_steps=-1 if self.max_steps is None else self.max_steps,
                accelerator=self.accelerator,
                devices=place.beside,
                num_nodes=place.nodes,
                strategy="auto" if place.world == 1 else DDPStrategy(cluster_environment=environment),
                sync_batchnorm=place.world > 1 and self.sync_batchnorm,
                use_distributed_sampler=False,  # the data module deals out every batch itself
                precision=self.precision,
                gradient_clip_val=self.gradient_clip_val,
                limit_train_batches=self.limit_train_batches,
                limit_val_batches=self.limit_eval_batches,
                limit_test_batches=self.limit_eval_batches,
                callbacks=callbacks,
                logger=dashboard.loggers or False,
                enable_progress_bar=self.progress_bar,
                enable_model_summary=False,
                # Told, or Lightning would take a scheduler's variables for a request to run on all of its tasks.
                plugins=[CheckpointFiles(), *([environment] if place.world == 1 else [])],
                num_sanity_val_steps=0,
                inference_mode=True,
            )
        except (ValueError, RuntimeError) as error:  # MisconfigurationException is a RuntimeError
            raise UserError(f"trainer: {str(error).strip().splitlines()[0]}") from None
        # snnrepro.jobs.signals says what a signal means; Lightning's own handlers would end a run before it is saved.
        trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
        return trainer


class Environment(ClusterEnvironment):
    """What Lightning asks about the processes of a run. They are started, and their group is joined, elsewhere
    (snnrepro.jobs.processes).
    """

    creates_processes_externally = True
    main_address = "127.0.0.1"
    main_port = 0

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place

    @staticmethod
    def detect() -> bool:
        return False

    def world_size(self) -> int:
        return self.place.world

    def set_world_size(self, size: int) -> None:
        pass

    def global_rank(self) -> int:
        return self.place.rank

    def set_global_rank(self, rank: int) -> None:
        pass

    def local_rank(self) -> int:
        return self.place.local

    def node_rank(self) -> int:
        return self.place.node
