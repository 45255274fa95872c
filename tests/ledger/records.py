"""Records as train.py leaves them, made up and written into a folder: some whole, some that tell little."""

import json
from pathlib import Path
from typing import Any


def record(place: str = "digits-dense/psu-12345678", seed: int = 0, **changes: Any) -> dict[str, Any]:
    """A completed run of a dense net on digits, with changes."""
    return {
        "format": 2,
        "status": "completed",
        "error": None,
        "identity": f"{place}/seed{seed}",
        "experiment": None,
        "neuron": place.rpartition("/")[2].rpartition("-")[0],
        "dataset": "digits",
        "architecture": "dense",
        "seed": seed,
        "protocol": "validated",
        "reduced": None,
        "command": f"python train.py seed={seed}",
        "config": {"seed": seed, "version": 1, "neuron": {"_target_": "PSU", "_partial_": True, "tau": 2.0}},
        "git": {"commit": "1234567890", "dirty": False},
        "device": {"type": "cpu", "name": "a CPU", "threads": 2},
        "samples": {"train": 1295, "train_available": 1295},
        "data": {},
        "parameters": 1000,
        "metrics": {
            "test/accuracy": 0.9 + seed / 100,
            "test/firing_rate": 0.2,
            "test/firing_rate/neuron1": 0.2,
            "test/energy_pj_per_sample": 7.4e5,
            "train/samples_per_second": 9000.0,
        },
        "layers": {"neuron1": {"firing_rate": 0.2, "neurons": 50, "silent": 5, "saturated": 0}},
        **changes,
    }


def leave(folder: Path, found: dict[str, Any], curves: str | None = None) -> Path:
    """Write a record, and curves.csv beside it, below a folder; the run's own folder."""
    own = folder / str(found["identity"])
    own.mkdir(parents=True)
    (own / "run.json").write_text(json.dumps(found))  # NaN as Python writes it
    if curves is not None:
        (own / "curves.csv").write_text(curves)
    return own


CURVES = "epoch,train/loss,train/accuracy,validation/accuracy\n0,2.0,0.3,0.4\n1,1.0,0.6,0.7\n"
