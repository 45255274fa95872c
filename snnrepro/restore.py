"""A finished run's network, built again from its record and its best weights."""

import tempfile
from pathlib import Path

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from snnrepro.config.check import check
from snnrepro.config.compose import compose_job
from snnrepro.errors import UserError
from snnrepro.ledger.record import read_record
from snnrepro.training.session import Session


def restored(folder: Path, data_dir: str | None = None) -> tuple[nn.Module, Tensor]:
    """The network of a finished run with its best weights, in eval mode, and one test batch `[T, B, *]` for it.

    data_dir: where its data lie, by default as for training. Raises UserError for a folder without record or weights.
    """
    record = read_record(folder)
    weights = folder / "checkpoints" / "best.ckpt"
    if not record or not weights.is_file():
        raise UserError(f"{folder} is no finished run: it needs run.json and checkpoints/best.ckpt")
    paths = compose_job([]).config.paths
    config = OmegaConf.create(record["config"] | {"paths": paths, "overwrite": False})
    config.merge_with({"logger": {"_target_": "snnrepro.training.loggers.Csv", "_partial_": True}})
    if data_dir is not None:
        config.paths.data_dir = data_dir
    check(config)
    with tempfile.TemporaryDirectory() as scratch, Session(config, Path(scratch), ("", "", "")) as session:
        saved = torch.load(weights, map_location="cpu", weights_only=True)
        session.classifier.load_state_dict(saved["state_dict"])
        network = session.classifier.network.eval()
        x, y = next(iter(session.data.test_dataloader()))
        return network, session.data.prepare(x, y, training=False)[0]
