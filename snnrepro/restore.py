"""A finished run's network, built again from its record and its best weights, in fp32 on the CPU."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from snnrepro.config.check import check
from snnrepro.config.compose import compose_job
from snnrepro.data.datamodule import DataModule
from snnrepro.errors import UserError
from snnrepro.ledger.record import read_record
from snnrepro.training.checkpoints import load_weights
from snnrepro.training.session import Session


class Restored(NamedTuple):
    """A run's record, its network in eval mode with the weights of `epoch` (from 0), its readout and its data, set up.

    Those weights did best on validation, or under protocol=paper on the test set.
    """

    record: dict[str, Any]
    epoch: int
    network: nn.Module
    readout: Callable[[Tensor], Tensor]
    data: DataModule


def restored_run(folder: Path, here: DictConfig) -> Restored:
    """here: a config composed on this machine, which says where data lie, and what is no part of the network.

    Raises UserError for a folder without a completed record or readable weights, and for data that are not there.
    """
    record = read_record(folder)
    weights = folder / "checkpoints" / "best.ckpt"
    if not record or not weights.is_file():
        raise UserError(f"{folder} is no finished run: it needs run.json and checkpoints/best.ckpt")
    if record.get("status") != "completed":
        raise UserError(f"{folder} is no finished run, its record says {record.get('status')}: run its command again")
    # Where it was trained, watched and priced is not asked of this machine, nor whom to trust of the record.
    ours: dict[str, Any] = {key: here[key] for key in ("paths", "logger", "energy", "measure", "overwrite", "trust")}
    ours["trainer"] = record["config"]["trainer"] | {"accelerator": "cpu", "precision": "32-true", "devices": 1}
    config = check(OmegaConf.create(record["config"] | ours))
    with tempfile.TemporaryDirectory() as scratch, Session(config, Path(scratch), ("", "", "")) as session:
        classifier = session.classifier
        epoch = load_weights(classifier, weights)
        return Restored(record, epoch, classifier.network.eval(), classifier.readout, session.data)


def restored(folder: Path, data_dir: str | None = None) -> tuple[nn.Module, Tensor]:
    """The network of a finished run with its best weights, in eval mode, and one test batch `[T, B, *]` for it.

    data_dir: where its data lie, by default as for training. Raises UserError as `restored_run`.
    """
    here = compose_job([]).config
    if data_dir is not None:
        here.paths.data_dir = data_dir
    run = restored_run(folder, here)
    x, y = next(iter(run.data.test_dataloader()))
    return run.network, run.data.prepare(x, y, training=False)[0]
