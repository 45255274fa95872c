"""Compose the configs of a command line, one a job, and say in one line what Hydra finds wrong with it."""

import itertools
import re
from typing import Any, NamedTuple

from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from snnrepro.config.check import CONFIGS, SECTIONS, check, options
from snnrepro.config.sections import additions, spelled
from snnrepro.errors import UserError, did_you_mean

LAUNCHER = "hydra/launcher"


class Job(NamedTuple):
    """One run to be: its config without the hydra node and the sections, the chosen config of every group, its words
    without those of Hydra's own settings.

    added: the overrides that the experiment's sections put before the user's.
    """

    config: DictConfig
    choices: dict[str, str | None]
    overrides: list[str]
    added: list[str]


def compose_jobs(arguments: list[str]) -> list[Job]:
    """The jobs that `train.py arguments` will run, checked; none where Hydra only prints (--help, --cfg).

    Raises UserError for anything that does not compose or pass its check.
    """
    args, unknown = get_args_parser().parse_known_args(arguments)
    if args.cfg and args.multirun:
        raise UserError("--cfg prints the config of one run: leave sweep= and -m away")
    if args.help or args.hydra_help or args.cfg or args.info or args.shell_completion:
        return []
    if unknown:
        raise UserError(f"cannot read {unknown[0]}: write overrides as key=value, options before them; see --help")
    jobs = []
    for overrides in expand([word for word in args.overrides if not is_of_hydra(word)], sweep=args.multirun):
        jobs.append(compose_job(overrides))
        check(jobs[-1].config)
        devices = jobs[-1].config.trainer.get("devices", 1)
        if args.multirun and devices != 1:
            raise UserError(f"trainer.devices={devices}, but a job of a sweep takes one device: run it without -m")
    return jobs


def is_of_hydra(word: str) -> bool:
    """Whether a word of the command line says how Hydra runs the jobs, not what they are."""
    return word.lstrip("+~").startswith(("hydra.", "hydra/"))


def with_sweep(arguments: list[str]) -> list[str]:
    """The arguments with `sweep=NAME` replaced by the choices that configs/sweep/NAME.yaml lists, and -m.

    A key that the user gives too is the user's. Raises UserError for an unknown sweep or several.
    """
    named = [word for word in arguments if word.lstrip("+").startswith("sweep=")]
    if not named:
        return arguments
    name = named[0].partition("=")[2]
    if len(named) > 1 or name not in options("sweep"):
        raise UserError(
            f"unknown sweep {name!r}{did_you_mean(name, options('sweep'))}"
            if len(named) == 1
            else f"one sweep at a time, got {' '.join(named)}"
        )
    rest = [word for word in arguments if word not in named]
    given = {word.lstrip("+").partition("=")[0] for word in rest}
    grid: Any = OmegaConf.to_container(OmegaConf.load(CONFIGS / "sweep" / f"{name}.yaml"))
    assert isinstance(grid, dict)
    added = [f"{key}={choices}" for key, choices in grid.items() if key not in given]
    return [*(["-m"] if not {"-m", "--multirun"} & set(rest) else []), *rest, *added]


def with_sections(arguments: list[str]) -> list[str]:
    """The words of a single run with what its experiment adds to them, for Hydra to print (--cfg)."""
    args, unknown = get_args_parser().parse_known_args(arguments)
    if not args.cfg or args.multirun or unknown:
        return arguments
    added = compose_job(args.overrides).added
    if not added:
        return arguments
    last = arguments.index(args.overrides[-1]) + 1  # argparse wants all overrides in one place
    return [*arguments[:last], *added, *arguments[last:]]


def expand(overrides: list[str], *, sweep: bool) -> list[list[str]]:
    """The overrides of every job: one job, or the product of all choices of a sweep."""
    try:
        parsed = OverridesParser.create().parse_overrides(overrides)
    except (OverrideParseException, HydraException) as error:
        raise UserError(f"cannot read {overrides_at_fault(overrides, error)}; write key=value") from None
    if not sweep:
        swept = [o.input_line for o in parsed if o.is_sweep_override()]
        if swept:
            raise UserError(f"{swept[0]} names several values: add -m to run them all")
        return [overrides]
    choices = [
        [f"{o.get_key_element()}={value}" for value in o.sweep_string_iterator()]
        if o.is_sweep_override()
        else [o.input_line]
        for o in parsed
    ]
    return [[str(word) for word in job] for job in itertools.product(*choices)]


def overrides_at_fault(overrides: list[str], error: Exception) -> str:
    """The override that the parser stumbled over, found by parsing each alone."""
    for override in overrides:
        try:
            OverridesParser.create().parse_overrides([override])
        except HydraException:
            return repr(override)
    return str(error).splitlines()[0]


def compose_job(overrides: list[str]) -> Job:
    """Raises UserError where a group, a choice or a key does not exist, or a value does not fit."""
    given = []
    for override in OverridesParser.create().parse_overrides(overrides):
        if override.is_delete():
            raise UserError(f"{override.input_line} would delete a setting: set it to another value instead")
        group = override.key_or_group
        given.append(group)
        if (section := group.partition(".")[0]) in SECTIONS:
            raise UserError(f"{section} belongs to an experiment's file, not to the command line")
        if group in _groups() and group != "experiment" and not isinstance(override.value(), str):
            raise UserError(f"{group} must be one of its configs: {', '.join(options(group))}")
    config, choices = _composed(overrides)
    added, what = additions(config, str(choices["neuron"]), given)
    words = [f"{key}={spelled(value)}" for key, value in added.items()]
    if words:
        config, choices = _composed([*words, *overrides])
    with open_dict(config):
        for section in SECTIONS:
            config.pop(section, None)
        config.reduced = what
    return Job(config, choices, overrides, words)


def composed(overrides: list[str]) -> DictConfig:
    """The whole config, with its hydra node. Raises UserError where a choice or a key does not exist."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIGS), version_base="1.3", job_name="train"):
        try:
            return compose("train", overrides=overrides, return_hydra_config=True)
        except YAMLError as error:
            raise UserError(" ".join(f"a config file cannot be read: {error}".split())) from None
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            raise UserError(_one_line(error, overrides)) from None


def _composed(overrides: list[str]) -> tuple[DictConfig, dict[str, str | None]]:
    config = composed(overrides)
    choices = dict(config.hydra.runtime.choices)
    with open_dict(config):
        del config["hydra"]
    return config, choices


def _one_line(error: Exception, overrides: list[str]) -> str:
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.partition("/")
        if error.options is not None and group in _groups():
            return f"unknown {group} {name!r}{did_you_mean(name, options(group))}"
    message = str(error)
    if match := re.search(r"Could not override '([^']+)'", message):
        key = str(getattr(error.__cause__, "full_key", None) or match[1].split("@")[0])
        return f"unknown key {key!r}{_near_key(key, overrides)}"
    if message.startswith("Error merging override "):
        return f"{message.removeprefix('Error merging override ')}: {str(error.__cause__).splitlines()[0]}"
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    key = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("full_key:")), "")
    return f"config{' key ' + key if key else ''}: {lines[0] if lines else type(error).__name__}"


def _groups() -> list[str]:
    return sorted(path.name for path in CONFIGS.iterdir() if path.is_dir() and path.name != "hydra")


def _near_key(key: str, overrides: list[str]) -> str:
    """Near matches among the keys of the config that the chosen groups make, on the level of the unknown key."""
    chosen = [word for word in overrides if word.partition("=")[0] in (*_groups(), LAUNCHER)]
    config: Any = composed(chosen if key not in _groups() else [])
    if not is_of_hydra(key):
        with open_dict(config):
            del config["hydra"]
    *parents, last = key.split(".")
    node = OmegaConf.select(config, ".".join(parents)) if parents else config
    if not isinstance(node, DictConfig):
        last, node = parents[0], config
    return did_you_mean(
        last, [*(str(k) for k in node if not str(k).startswith("_")), *(["experiment"] if node is config else [])]
    )
