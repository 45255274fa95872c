"""Compose the configs of a command line, one a job, and say in one line what Hydra finds wrong with it."""

import itertools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError, scan
from yaml.tokens import AliasToken

from snnrepro.config.allowed import COMMAND_LINE_ONLY, check_class, check_key, first_of, trusted_classes
from snnrepro.config.check import CONFIGS, SECTIONS, check, options, read_yaml
from snnrepro.config.sections import additions, spelled
from snnrepro.errors import UserError, did_you_mean

LAUNCHER = "hydra/launcher"
MOST_JOBS = 10_000  # of one sweep
LONGEST_FILE = 2**20  # characters


class Job(NamedTuple):
    """One run to be: its checked config without the hydra node and the sections, the chosen config of every group, its
    words without those of Hydra's own settings.

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
    for option in ("config_path", "config_name", "config_dir", "experimental_rerun"):
        if getattr(args, option):
            raise UserError(f"--{option.replace('_', '-')} is not taken: the configs are those of the folder configs")
    if args.help or args.hydra_help or args.cfg or args.info or args.shell_completion:
        return []
    if unknown:
        raise UserError(f"cannot read {unknown[0]}: write overrides as key=value, options before them; see --help")
    own = [word for word in args.overrides if not is_of_hydra(word)]
    jobs = [compose_job(overrides) for overrides in expand(own, sweep=args.multirun)]
    for job in jobs if args.multirun else ():
        if (devices := job.config.trainer.get("devices", 1)) != 1:
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
    grid: Any = OmegaConf.to_container(read_yaml(CONFIGS / "sweep" / f"{name}.yaml"))
    for key in grid:
        check_key(key, f"configs/sweep/{name}.yaml")
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
    parsed = [parse(override) for override in overrides]
    if not sweep:
        swept = [o.input_line for o in parsed if o.is_sweep_override()]
        if swept:
            raise UserError(f"{swept[0]} names several values: add -m to run them all")
        return [overrides]
    choices, jobs = [], 1
    for o in parsed:
        values = [str(o.input_line)]
        if o.is_sweep_override():
            with _readable(str(o.input_line)):
                some = itertools.islice(o.sweep_string_iterator(), MOST_JOBS + 1)
                values = [f"{o.get_key_element()}={value}" for value in some]
        choices.append(values)
        if (jobs := jobs * len(values)) > MOST_JOBS:
            raise UserError(f"{o.input_line} makes it more than {MOST_JOBS:,} jobs: sweep over less")
    return [list(job) for job in itertools.product(*choices)]


def parse(override: str) -> Override:
    """One word of a command line. Raises UserError where it cannot be read."""
    with _readable(override):
        parsed: Override = OverridesParser.create().parse_override(override)
        parsed.value()
    return parsed


@contextmanager
def _readable(override: str) -> Iterator[None]:
    """Whatever Hydra's parser raises as one line. ValueError: digits without end; RecursionError: brackets."""
    try:
        yield
    except (HydraException, ValueError, TypeError, RecursionError, OverflowError):
        raise UserError(f"cannot read {shortened(override)}; write key=value") from None


def shortened(word: str) -> str:
    """A word in quotes, its middle left out where it is long."""
    return repr(word if len(word) <= 100 else f"{word[:60]}...{word[-20:]}")


def compose_job(overrides: list[str]) -> Job:
    """A job that passed its check.

    Raises UserError where a group, a choice or a key does not exist, a value does not fit, or a file sets what only the
    command line may.
    """
    try:
        return _job(overrides)
    except OmegaConfBaseException as error:
        raise UserError(_one_line(error, overrides)) from None


def _job(overrides: list[str]) -> Job:
    parsed = [parse(override) for override in overrides]
    given = []
    for override in parsed:
        if override.is_delete():
            raise UserError(f"{override.input_line} would delete a setting: set it to another value instead")
        group = override.key_or_group
        given.append(group)
        if (section := group.partition(".")[0]) in SECTIONS:
            raise UserError(f"{section} belongs to an experiment's file, not to the command line")
        if group in _groups() and not (group == "experiment" and override.value() is None):
            _check_choice(group, override.value())
            _check_size(CONFIGS / group / f"{override.value()}.yaml")
    config, choices = _composed(overrides)
    _check_origin(config, parsed)
    _check_choices(choices)
    added, what = additions(config, str(choices["neuron"]), given)
    words = [f"{key}={spelled(value)}" for key, value in added.items()]
    if words:
        config, choices = _composed([*words, *overrides])
        _check_origin(config, [*map(parse, words), *parsed])
        _check_choices(choices)
    with open_dict(config):
        del config["hydra"]
        for section in SECTIONS:
            config.pop(section, None)
        config.reduced = what
    return Job(check(config), choices, overrides, words)


def _check_choices(choices: dict[str, str | None]) -> None:
    """Files choose by their defaults, too: the names stand in the path of the record."""
    for group in _groups():
        if group != "sweep" and not (group == "experiment" and choices.get(group) is None):
            _check_choice(group, choices.get(group))


def _check_choice(group: str, choice: object) -> None:
    if not isinstance(choice, str):
        raise UserError(f"{group} must be one of its configs: {', '.join(options(group))}")
    if choice not in options(group):
        raise UserError(f"unknown {group} {shortened(choice)}{did_you_mean(choice, options(group))}")


def _check_size(file: Path) -> None:
    """Raise UserError for a file that grows without end as it is read: aliases of aliases take all memory."""
    try:
        text = file.read_text()
        held = re.search(r"&\S", text) and re.search(r"\*\S", text)  # else it is not worth the time
        if len(text) > LONGEST_FILE or (held and any(isinstance(token, AliasToken) for token in scan(text))):
            raise UserError(f"{file} is not taken: aliases (*name) and more than a megabyte are refused")
    except (OSError, ValueError, YAMLError, RecursionError) as error:
        raise UserError(" ".join(f"{file} cannot be read: {error}".split())) from None


def _check_origin(config: DictConfig, parsed: list[Override]) -> None:
    """Raise UserError where a file set what only the command line may, or a class that starts jobs is not allowed."""
    plain: Any = OmegaConf.to_container(config)
    taken = [*plain["hydra"]["overrides"]["task"], *plain["hydra"]["overrides"]["hydra"]]
    if sorted(map(str, taken)) != sorted(str(o.input_line) for o in parsed):
        raise UserError("hydra.overrides is set in a config file: only the command line sets what is below hydra")
    own = [o for o in parsed if first_of(o.key_or_group) in COMMAND_LINE_ONLY]
    found = _command_line_only(plain)
    if found != _set_alone(own):  # which is quick and knows plain values only
        expected = _composed_alone(CONFIGS, tuple(str(o.input_line) for o in own))
        for name in COMMAND_LINE_ONLY:
            if found[name] != expected[name]:
                raise UserError(f"{name} is set in a config file: only the command line sets what is below {name}")
    check_engines(found["hydra"], trusted_classes(plain["trust"]))


def check_engines(node: Any, trusted: list[str]) -> None:
    """Raise UserError where a class that starts jobs, anywhere below a hydra node, is not allowed."""
    for place, target in _targets(node, "hydra"):
        check_class(place, target, trusted)


@lru_cache(maxsize=64)
def _composed_alone(configs: Path, words: tuple[str, ...]) -> dict[str, Any]:
    """What these words make of COMMAND_LINE_ONLY, with no file but train.yaml and its defaults below `configs`."""
    return _command_line_only(OmegaConf.to_container(_composed(list(words))[0]))


def _set_alone(own: list[Override]) -> Any:
    """What _composed_alone gives for words that set values, without composing once more for each folder of runs."""
    expected = OmegaConf.create(_composed_alone(CONFIGS, ()))
    for override in own:
        OmegaConf.update(expected, override.key_or_group, override.value())
    return OmegaConf.to_container(expected)


def _command_line_only(plain: Any) -> dict[str, Any]:
    """Those nodes as they are written, of `hydra` without what Hydra fills in for the job at hand."""
    found = {name: plain[name] for name in COMMAND_LINE_ONLY}
    found["hydra"] = {key: value for key, value in found["hydra"].items() if key not in ("overrides", "runtime")}
    if isinstance(found["hydra"]["job"], dict):
        found["hydra"]["job"] = found["hydra"]["job"] | {"override_dirname": None}
    return found


def _targets(node: Any, place: str) -> list[tuple[str, object]]:
    """Every place below a node that names a class, and the class."""
    if isinstance(node, list):
        return [found for item in node for found in _targets(item, place)]
    if not isinstance(node, dict):
        return []
    own = [(place, node["_target_"])] if "_target_" in node else []
    return own + [found for key, item in node.items() for found in _targets(item, f"{place}.{key}")]


def composed(overrides: list[str]) -> DictConfig:
    """The whole config, with its hydra node. Raises UserError where a choice or a key does not exist."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIGS), version_base="1.3", job_name="train"):
        try:
            return compose("train", overrides=overrides, return_hydra_config=True)
        except YAMLError as error:
            raise UserError(" ".join(f"a config file cannot be read: {error}".split())) from None
        except RecursionError:
            raise UserError("a config file is nested too deeply, or names itself") from None
        except Exception as error:  # a file that is no config fails in any of Hydra's lines
            raise UserError(_one_line(error, overrides)) from None


def _composed(overrides: list[str]) -> tuple[DictConfig, dict[str, str | None]]:
    config = composed(overrides)
    return config, dict(config.hydra.runtime.choices)


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
