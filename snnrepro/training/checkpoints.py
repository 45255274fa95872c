"""What a run saves to go on from: written whole or not at all, and read without running any code that it may hold.

checkpoints/last.ckpt: everything, after every epoch, in long ones every few minutes too, and when a scheduler stops the
run. previous.ckpt: the one before. best.ckpt: the weights of the epoch that did best. What was cut off is trained
again, with the same draws.
"""

import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.io import CheckpointIO
from lightning.pytorch.callbacks import Checkpoint

from snnrepro import stopping
from snnrepro.errors import UserError, first_line
from snnrepro.writing import written_whole

LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"
CHECK_EVERY = 50  # batches
GO_ON = ("epoch", "global_step", "loops", "callbacks", "optimizer_states", "lr_schedulers", "sums", "curves")


class DamagedCheckpointError(Exception):
    """A checkpoint that is not what was written; its message says how."""


def write(saved: dict[str, Any], file: Path, keep: Path | None = None) -> None:
    """Write a checkpoint of tensors and plain values, read it back, and only then give it its name.

    keep: where the file that has the name now goes. A stop and Ctrl-C wait until it is written. Raises OSError where it
    cannot be written; nothing changed then.
    """
    with stopping.held(), written_whole(file, keep) as partial:
        with partial.open("wb") as stream:
            torch.save(saved, stream)
        if (damage := _damage(partial)) is not None:
            raise OSError(f"{file.name} was just written and is damaged ({damage}): check the disk")


def read(file: Path) -> dict[str, Any]:
    """A checkpoint, on the CPU; pickled code in it is refused. Raises DamagedCheckpointError."""
    if (damage := _damage(file)) is not None:
        raise DamagedCheckpointError(damage)
    try:
        saved = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a pickle that was changed fails in many ways
        raise DamagedCheckpointError(first_line(error).split(". ")[0]) from None
    if not isinstance(saved, dict) or not isinstance(saved.get("state_dict"), dict):
        raise DamagedCheckpointError("it holds no weights")
    return saved


def _damage(file: Path) -> str | None:
    """What is wrong with a file's bytes, by the checksum of every part of it."""
    try:
        with zipfile.ZipFile(file) as archive:
            part = archive.testzip()
        return None if part is None else f"{part} was changed"
    except Exception as error:  # what zipfile raises on damage is not documented
        return first_line(error)


def newest(folder: Path, say: bool = True) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint in `folder` from which a run ends as if it had never stopped, and what it holds.

    None where there is none: the run starts at its first epoch. say: which ones are damaged, on the error stream.
    """
    names = [name for name in (LAST, PREVIOUS) if (folder / name).is_file()]
    for name in names:
        try:
            saved = read(folder / name)
            _check_whole(folder, saved)
        except DamagedCheckpointError as damage:
            instead = "starting again at the first epoch" if name == names[-1] else f"trying {PREVIOUS}, the one before"
            if say:
                print(f"warning: the checkpoint {folder / name} is damaged ({damage}): {instead}", file=sys.stderr)
            continue
        return folder / name, saved
    return None


def _check_whole(folder: Path, saved: dict[str, Any]) -> None:
    """Raise DamagedCheckpointError where something to go on with is missing, or the best epoch so far is not to be had
    and will not be trained again.
    """
    if lacking := [name for name in GO_ON if name not in saved]:
        raise DamagedCheckpointError(f"it lacks {lacking[0]}")
    try:
        (epochs, _), best = done_by(saved), saved["callbacks"][Checkpoints.__qualname__]["best_epoch"]
        if best is None:
            return
        try:
            held = int(read(folder / BEST)["epoch"])
        except DamagedCheckpointError as damage:
            raise DamagedCheckpointError(f"{BEST} beside it: {damage}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedCheckpointError(f"it lacks {first_line(error)}") from None
    if held != best and held < epochs:
        raise DamagedCheckpointError(f"{BEST} beside it is of epoch {held + 1}, not {best + 1}")


class Checkpoints(Checkpoint):
    """Saves after every epoch, and the weights whenever `monitor` is higher than ever from `first_epoch` (from 0) on.

    Before that epoch a masked PSN still sees the future. minutes: after so many since the last save, within an epoch
    too. best_epoch: from 0, None so far. batches: of the epoch at hand that a checkpoint holds, 0 after its end.
    Raises KeyboardInterrupt, once saved, where a stop is asked for, and UserError where the run's folder is gone.
    """

    def __init__(self, folder: Path, monitor: str, first_epoch: int, minutes: float | None) -> None:
        self.folder = folder
        self.monitor = monitor
        self.first_epoch = first_epoch
        self.minutes = minutes
        self.best_epoch: int | None = None
        self.best_value = -1.0  # of an accuracy
        self.batches = 0
        self._run = _number(folder.parent)
        self._saved = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        return {"best_epoch": self.best_epoch, "best_value": self.best_value, "batches": self.batches}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_epoch, self.best_value = state_dict["best_epoch"], float(state_dict["best_value"])

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        # Several processes cannot each stop where they are: theirs are ended as one (snnrepro.jobs.processes).
        stopping.wait(trainer.world_size == 1)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx + 1 >= trainer.num_training_batches:  # the epoch's end saves
            stopping.wait(False)
        elif stopping.asked() or self._is_due(trainer, batch_idx):
            self._save(trainer, batch_idx + 1)
            if stopping.asked():
                raise KeyboardInterrupt

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        stopping.wait(False)

    def _is_due(self, trainer: L.Trainer, batch_idx: int) -> bool:
        if self.minutes is None:
            return False
        due = time.monotonic() - self._saved > 60 * self.minutes
        if trainer.world_size == 1:
            return due
        # All processes save together: the first one's clock decides, asked now and then.
        return batch_idx % CHECK_EVERY == CHECK_EVERY - 1 and bool(trainer.strategy.broadcast(due))

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        value = trainer.callback_metrics.get(self.monitor)
        if value is not None and trainer.current_epoch >= self.first_epoch and float(value) > self.best_value:
            self.best_epoch, self.best_value = trainer.current_epoch, float(value)
            if trainer.is_global_zero:
                self._check_there()
                write({"epoch": trainer.current_epoch, "state_dict": pl_module.state_dict()}, self.folder / BEST)
        # Last: what it says of the best epoch is on the disk by now.
        self._save(trainer, 0)
        stopping.wait(False)

    def _save(self, trainer: L.Trainer, batches: int) -> None:
        self._check_there()
        self.batches = batches
        trainer.save_checkpoint(self.folder / LAST)
        self._saved = time.monotonic()

    def _check_there(self) -> None:
        if _number(self.folder.parent) != self._run:
            raise UserError(f"the run folder {self.folder.parent} was removed while the run went on: start it again")
        self.folder.mkdir(exist_ok=True)


def done_by(saved: dict[str, Any]) -> tuple[int, int]:
    """How many epochs a checkpoint holds, and how many batches of the next one."""
    batches = int(saved["callbacks"][Checkpoints.__qualname__]["batches"])
    return int(saved["epoch"]) + (batches == 0), batches


def _number(folder: Path) -> int | None:
    """By which a folder is known from another of its name made later; None where there is none."""
    try:
        return folder.stat().st_ino
    except FileNotFoundError:
        return None


class CheckpointFiles(CheckpointIO):
    """How the trainer writes and reads: `write`, keeping the previous one, and `read`."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        file = Path(path)
        write(checkpoint, file, keep=file.with_name(PREVIOUS))

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        return read(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


def load_weights(classifier: L.LightningModule, file: Path) -> int:
    """Put the weights of a checkpoint into the module; the epoch, from 0, that they are of.

    Raises UserError where they are damaged or not of this network.
    """
    try:
        saved = read(file)
        classifier.load_state_dict(saved["state_dict"])
        return int(saved["epoch"])
    except (DamagedCheckpointError, RuntimeError, KeyError, TypeError, ValueError):
        raise UserError(f"{file} is damaged or of other code: train again with overwrite=true") from None
