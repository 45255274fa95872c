"""Every mistake that a composed config shows by itself, found before torch is imported."""

import math
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from snnrepro.config.allowed import ORDERS, check_class, restrict_environment, trusted_classes
from snnrepro.config.signature import complaint, parameters
from snnrepro.errors import UserError, did_you_mean

CONFIGS = Path(__file__).resolve().parents[2] / "configs"

PROTOCOLS = ("validated", "paper")
SCALES = ("full", "reduced")

# What an experiment's file holds beside settings (snnrepro.config.sections).
SECTIONS = ("by_neuron", "reduced", "claims")

LARGEST = 2**63  # what torch and NumPy count with


restrict_environment()


def check(config: DictConfig) -> DictConfig:
    """The config with a value in place of every interpolation, so that what was checked is what is built.

    Raises UserError for the first unknown key, wrong type, value out of range or `_target_` that is not allowed.
    """
    groups = {path.name for path in CONFIGS.iterdir() if path.is_dir()} - {"experiment", "sweep", "hydra"}
    try:
        plain: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        _check_plain(plain, "", groups)
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None)
        raise UserError(f"config key {key}: {first_line_of(error)}") from None
    except RecursionError:
        raise UserError("the config is nested too deeply, or its interpolations never end") from None
    root = OmegaConf.to_container(read_yaml(CONFIGS / "train.yaml"))
    assert isinstance(root, dict)
    root.pop("defaults")
    known = sorted({*map(str, root), *groups})
    trusted = trusted_classes(plain.get("trust") or [])
    for key, value in plain.items():
        if key == "experiment":
            raise UserError("an experiment file begins with the line `# @package _global_`; this one does not")
        if key not in known:
            raise UserError(f"unknown key {key!r}{did_you_mean(str(key), sorted({*known, *SECTIONS}))}")
        if key in groups:
            _check_group(key, value, trusted)
        elif isinstance(root[key], dict) and key != "hydra":
            if not isinstance(value, dict):
                raise UserError(f"{key} is a group of keys ({', '.join(root[key])}), got {value!r}")
            for inner in value:
                if inner not in root[key]:
                    raise UserError(f"unknown key {key}.{inner}{did_you_mean(str(inner), list(root[key]))}")
    for key in ("paths", "measure", "version", "seed", "protocol", "overwrite"):
        if key not in plain:
            raise UserError(f"{key} must be set: train.yaml does")
    for group in sorted(groups - set(plain)):
        raise UserError(f"{group} must be one of its configs: {', '.join(options(group))}")
    _check_scalars(plain)
    _check_fit(plain)
    made: DictConfig = OmegaConf.create(plain)
    OmegaConf.set_struct(made, True)
    return made


def _check_fit(plain: dict[str, Any]) -> None:
    """What the data set and the architecture say of each other; both say it again when they are built."""
    dataset, architecture = plain["dataset"], plain["architecture"]
    shape, encoding = dataset.get("image_shape"), dataset.get("encoding")
    if shape is None:
        return
    if len(shape) != 3:
        raise UserError(f"dataset.image_shape is channels, height, width, got {shape}")
    channels, height, width = shape
    one_a_step = {
        "columns": ("column", width, [channels, height]),
        "rows": ("row", height, [channels, width]),
        "pixels": ("pixel", height * width, [channels]),
        "permuted_pixels": ("pixel", height * width, [channels]),
    }
    what, steps, given = one_a_step.get(encoding, ("", dataset["num_steps"], shape))
    if dataset["num_steps"] != steps:
        raise UserError(
            f"dataset.num_steps={dataset['num_steps']}, but images {height} x {width}, one {what} a step, make {steps}"
        )
    dimensions = architecture.get("dimensions")
    if dimensions is not None and dimensions != len(given) - 1:
        convolutional = {2: " or architecture=psn_seq_cifar", 3: " or architecture=psn_cifar10"}.get(len(given), "")
        raise UserError(
            f"this architecture takes {dimensions}-dimensional inputs, the data set with encoding={encoding} gives "
            f"{' x '.join(map(str, given))}: take architecture=dense{convolutional}"
        )


def _check_plain(value: Any, key: str, groups: set[str]) -> None:
    """Only what JSON holds, and what cannot be read as an order or an interpolation once more."""
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{key} must be a finite number, got {value}")
    if isinstance(value, int) and abs(value) >= LARGEST:
        raise UserError(f"{key} must be a number below 2^63, got one of {value.bit_length()} bits")
    if isinstance(value, str) and "${" in value:
        raise UserError(f"{key} cannot hold ${{, which begins an interpolation, got {value!r}")
    if isinstance(value, dict):
        for inner, item in value.items():
            if not isinstance(inner, str):
                raise UserError(f"{key or 'the config'} has the key {inner!r}: keys are texts")
            if inner in ORDERS and (key not in groups or inner not in ("_target_", "_partial_")):
                raise UserError(f"{key}.{inner} is refused: only a group itself is built from its _target_".lstrip("."))
            _check_plain(item, f"{key}.{inner}" if key else inner, groups)
    elif isinstance(value, list):
        for place, item in enumerate(value):
            _check_plain(item, f"{key}.{place}", groups)
    elif value is not None and not isinstance(value, str | int | float | bool):
        raise UserError(f"{key} must be a number, a text, true, false or null, got {value!r}")


def _check_scalars(plain: dict[str, Any]) -> None:
    for name, path in plain["paths"].items():
        if not isinstance(path, str) or not path.strip():
            raise UserError(f"paths.{name} must be a folder, got {path!r}")
    for name in ("source", "reduced"):
        if not isinstance(plain.get(name), str | None):
            raise UserError(f"{name} must be a text or null, got {plain[name]!r}")
    if isinstance(plain["version"], bool) or not isinstance(plain["version"], int):
        raise UserError(f"version must be a whole number, got {plain['version']!r}")
    if isinstance(plain["seed"], bool) or not isinstance(plain["seed"], int) or not 0 <= plain["seed"] < 2**32:
        raise UserError(f"seed must be a whole number from 0 to 2^32 - 1, got {plain['seed']!r}")
    if plain["protocol"] not in PROTOCOLS:
        raise UserError(f"protocol must be validated or paper, got {plain['protocol']!r}")
    if plain.get("scale", "full") not in SCALES:
        raise UserError(f"scale must be full or reduced, got {plain['scale']!r}")
    measured = {f"measure.{name}": value for name, value in plain["measure"].items()}
    for name, switch in {"overwrite": plain["overwrite"], **measured}.items():
        if not isinstance(switch, bool):
            raise UserError(f"{name} must be true or false, got {switch!r}")


def _check_group(group: str, node: Any, trusted: list[str]) -> None:
    if not isinstance(node, dict):
        raise UserError(f"{group} must be one of its configs: {', '.join(options(group))}")
    if "_target_" not in node:
        raise UserError(f"{group}._target_ must be set: a config of configs/{group} begins with it")
    target = node["_target_"]
    check_class(group, target, trusted)
    if node.get("_partial_") is not True:
        raise UserError(f"{group}._partial_ must be true, got {node.get('_partial_')!r}")
    known = parameters(target, trusted=target in trusted)
    for key, value in node.items():
        if key in ("_target_", "_partial_"):
            continue
        if key not in known:
            raise UserError(f"unknown key {group}.{key}{did_you_mean(key, list(known))}")
        if (wanted := complaint(known[key].annotation, value)) is not None:
            raise UserError(f"{group}.{key} must be {wanted}, got {value!r}")
        if target.startswith("torch.optim.") and isinstance(value, int | float) and value < 0:
            raise UserError(f"{group}.{key} must be 0 or above, got {value!r}")
    for key, parameter in known.items():
        if parameter.required and key not in node:
            raise UserError(f"{group}.{key} must be set")


def options(group: str) -> list[str]:
    """The configs of a group: file names without .yaml, with their folder where they lie in one."""
    folder = CONFIGS / group
    return sorted(file.relative_to(folder).with_suffix("").as_posix() for file in folder.rglob("*.yaml"))


def first_line_of(error: Exception) -> str:
    """The first line of what an error says, its name where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def read_yaml(file: Path) -> DictConfig:
    """A config file by itself. Raises UserError where it cannot be read or holds no keys."""
    try:
        loaded = OmegaConf.load(file)
    except (YAMLError, OmegaConfBaseException, OSError, ValueError, RecursionError) as error:
        raise UserError(" ".join(f"{file} cannot be read: {error}".split())) from None
    if not isinstance(loaded, DictConfig):
        raise UserError(f"{file} holds no keys")
    return loaded
