"""What config files may name and set: files come from other people, the command line is the user's own.

The classes are listed one by one, since a module or package that is harmless as a whole does not exist (torch.utils can
run a shell). A file in configs adds nothing to them: a class stands here, or is named on the command line (trust=).
"""

import os
import re
from typing import Any

from omegaconf import OmegaConf

from snnrepro.errors import UserError

# What alone decides where is written, what is imported and how jobs are started: no file sets it but train.yaml.
COMMAND_LINE_ONLY = ("hydra", "paths", "trust")

# Variables that a config may read. Others hold secrets, and what a config holds stands in the record.
READABLE = ("SNNREPRO_DATA", "SNNREPRO_CACHE")

# What hydra.utils.instantiate obeys, beside settings.
ORDERS = ("_target_", "_partial_", "_args_", "_convert_", "_recursive_")


def _of(module: str, names: str) -> frozenset[str]:
    return frozenset(f"{module}.{name}" for name in names.split())


CLASSES: dict[str, frozenset[str]] = {
    "architecture": _of(
        "snnrepro.architectures",
        "block.BlockConvNet block.BlockDense convnet.PSNConvNet dense.Dense resnet.ResNet19 resnet.SEWResNet vgg.VGG",
    ),
    "augmentation": _of("snnrepro.data", "augment.Augmentation event_augment.EventAugmentation"),
    "dataset": _of("snnrepro.data", "events.EventDataModule images.ImageDataModule speech.SpeechDataModule"),
    "energy": _of("snnrepro.metrics.energy", "CostModel"),
    "logger": _of("snnrepro.training.loggers", "Csv Wandb"),
    "loss": _of("snnrepro.training.loss", "CrossEntropy MeanSquaredError TET"),
    "neuron": _of(
        "snnrepro.neurons",
        "adaptive.ALIF adaptive.SEAdLIF block.Block block.LIFMultiSpike block.LIFSingleSpike glif.GLIF lif.IF lif.KLIF "
        "lif.LIF lif.LIFNoReset lif.PLIF mpe_psn.MPEPSN psn.MaskedPSN psn.PSN psn.SlidingPSN psu.IPSU psu.PSU psu.RPSU "
        "spsn.SPSN",
    ),
    "optimizer": _of("torch.optim", "adam.Adam adamw.AdamW sgd.SGD"),
    "readout": _of("snnrepro.training.readout", "maximum mean total"),
    "schedule": _of("snnrepro.training.schedule", "constant cosine step step_with_restart"),
    "trainer": _of("snnrepro.training.settings", "TrainerSettings"),
    # What starts the jobs of a sweep, by its place in the config.
    "hydra.sweeper": _of("hydra._internal.core_plugins.basic_sweeper", "BasicSweeper"),
    "hydra.launcher": _of("hydra._internal.core_plugins.basic_launcher", "BasicLauncher")
    | _of(
        "hydra_plugins",
        "hydra_joblib_launcher.joblib_launcher.JoblibLauncher hydra_ray_launcher.ray_launcher.RayLauncher",
    )
    | _of("hydra_plugins.hydra_submitit_launcher.submitit_launcher", "LocalLauncher SlurmLauncher"),
}


def trusted_classes(value: object) -> list[str]:
    """The classes of `trust=`. Raises UserError where it is no list of dotted names."""
    names = []
    for name in value if isinstance(value, list) else [value]:
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", name, re.ASCII):
            raise UserError(
                f"trust lists classes by their full names, trust=[my_package.neurons.MyNeuron], got {name!r}"
            )
        names.append(name)
    return names


def check_class(place: str, target: object, trusted: list[str]) -> None:
    """Raise UserError unless this place of a config may name the class."""
    if not isinstance(target, str):
        raise UserError(f"{place}._target_ must be the name of a class, got {target!r}")
    if target in CLASSES.get(place, frozenset()) or target in trusted:
        return
    known = CLASSES.get(place)
    if known is None:
        raise UserError(f"{place}._target_={target} is refused: nothing is built there")
    if first_of(place) == "hydra":
        raise UserError(f"{place}._target_={target} is refused: take hydra/launcher=slurm, ray or joblib")
    raise UserError(
        f"{place}._target_={target} is not a class of snnrepro/config/allowed.py; trust=[{target}] on the command line "
        "runs its code: only where you know it"
    )


def check_key(key: object, where: str) -> None:
    """Raise UserError unless a file may set this key of the command line."""
    if not isinstance(key, str) or not re.fullmatch(r"[A-Za-z]\w*([./]\w+)*", key, re.ASCII):
        raise UserError(f"{where} holds settings by their keys, such as optimizer.lr, got {key!r}")
    if first_of(key) in COMMAND_LINE_ONLY:
        raise UserError(f"{where} cannot set {key}: only the command line can")


def first_of(key: str) -> str:
    """The first part of a key or group: hydra of hydra/launcher, paths of paths.data_dir."""
    return re.split(r"[./@]", key, maxsplit=1)[0]


def read_variable(name: str, *default: Any) -> Any:
    """`oc.env` for the variables that configs may read; any other is an error, whatever its default."""
    if name not in READABLE:
        raise ValueError(f"a config cannot read the environment's {name}, only {' and '.join(READABLE)}")
    return os.environ.get(name, *default)


def restrict_environment() -> None:
    """Let configs read READABLE only."""
    OmegaConf.register_new_resolver("oc.env", read_variable, replace=True)
