"""Which engine runs the jobs of a sweep: Hydra's launchers, as configs/hydra/launcher sets them."""

from typing import Any, NamedTuple

from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from snnrepro.config.check import options
from snnrepro.config.compose import LAUNCHER, check_engines, composed, is_of_hydra, parse
from snnrepro.errors import UserError, did_you_mean

# What each plugin, an optional extra of ours, says of its launcher's keys: its name in Hydra's store.
SCHEMAS = {"slurm": "submitit_slurm", "ray": "ray_schema", "joblib": "joblib_schema"}


class Launcher(NamedTuple):
    """An engine other than this process, and the words of the command line that set it."""

    name: str
    words: list[str]


def chosen_launcher(arguments: list[str]) -> Launcher | None:
    """The launcher that `train.py arguments` names; None where its jobs run in this process, or nothing runs.

    Raises UserError for one that does not exist, is not installed or is set wrongly, and where there is no sweep.
    """
    args, unknown = get_args_parser().parse_known_args(arguments)
    words = [word for word in args.overrides if is_of_hydra(word)]
    if unknown or not words or args.help or args.hydra_help or args.cfg or args.info or args.shell_completion:
        return None
    name = "basic"
    for override in map(parse, words):
        if override.is_sweep_override():
            raise UserError(f"{override.key_or_group} is set once, for all jobs of a sweep")
        if override.key_or_group == LAUNCHER:
            name = str(override.value())
            known = [*options(LAUNCHER), "basic"]
            if name not in known:
                raise UserError(f"unknown {LAUNCHER} {name!r}{did_you_mean(name, known)}")
    if name == "basic":
        _engines(composed(words))
        return None
    _check(name, words)
    if not args.multirun:
        raise UserError(f"{LAUNCHER}={name} runs the jobs of a sweep: add -m")
    return Launcher(name, words)


def _engines(config: DictConfig) -> None:
    """Not `trust=`, which is for what is built for a run: an engine runs in this process, before any job's check."""
    check_engines(OmegaConf.to_container(config.hydra), [])


def _check(name: str, words: list[str]) -> None:
    Plugins.instance()  # finds what is installed
    store = ConfigStore.instance()
    stored = store.repo["hydra"]["launcher"]
    if f"{name}.yaml" in stored:  # Hydra warns of a config that has the name of ours
        store.store(SCHEMAS[name], stored.pop(f"{name}.yaml").node, LAUNCHER)
    if f"{SCHEMAS[name]}.yaml" not in stored:
        raise UserError(f"{LAUNCHER}={name} is not installed: pip install -e '.[{name}]'")
    config = composed(words)
    _engines(config)
    node: Any = config.hydra.launcher
    schema = OmegaConf.structured(stored[f"{SCHEMAS[name]}.yaml"].node)
    try:
        OmegaConf.merge(schema, OmegaConf.to_container(node))
    except ConfigKeyError as error:
        key = str(error.full_key)
        raise UserError(f"unknown key hydra.launcher.{key}{did_you_mean(key, sorted(map(str, schema)))}") from None
    except OmegaConfBaseException as error:
        raise UserError(f"hydra.launcher.{error.full_key}: {str(error).splitlines()[0]}") from None
