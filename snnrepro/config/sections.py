"""What an experiment's file holds beside its settings.

`by_neuron`: what it changes for some neurons. `reduced`: what `scale=reduced` changes, and `what` that is in words.
`claims`: what the paper claims (snnrepro.ledger.claims). The first two are settings by their keys as on a command line;
they win over the experiment's own and lose to the user's words.
"""

import json
import re
from typing import Any

from omegaconf import DictConfig, OmegaConf

from snnrepro.config.allowed import check_key
from snnrepro.config.check import SECTIONS, options
from snnrepro.errors import UserError, did_you_mean

# Experiments that are small already: no smaller version is written for them.
SMALL = "small/"
# What decides which sections count cannot stand in one.
NOT_IN_A_SECTION = ("neuron", "experiment", "scale", "sweep", *SECTIONS)


def additions(config: DictConfig, neuron: str, given: list[str]) -> tuple[dict[str, Any], str | None]:
    """The settings that an experiment adds for this neuron, then for config.scale, and what the latter reduces.

    given: the user's keys and groups, which are left out; where they replace a part of `reduced` the words say so.
    Raises UserError for a section that is not as above.
    """
    added: dict[str, Any] = {}
    for neurons, values in _settings(config, "by_neuron").items():
        names = [word.strip() for word in str(neurons).split(",")]
        for name in names:
            if name not in options("neuron"):
                raise UserError(f"by_neuron names an unknown neuron {name!r}{did_you_mean(name, options('neuron'))}")
        if neuron in names:
            added |= _checked(str(neurons), values)
    what = None
    if config.get("scale") == "reduced":
        reduced = _settings(config, "reduced")
        what = reduced.pop("what", None)
        if not isinstance(what, str):
            raise UserError(
                "scale=reduced needs an experiment with a section `reduced` that says `what` it reduces: "
                f"{', '.join(name for name in options('experiment') if not name.startswith(SMALL))}"
            )
        added |= _checked("reduced", reduced)
        if replaced := [key for key in reduced if _is_the_users(key, given)]:
            what += f"; but {', '.join(replaced)} as set on the command line"
    return {key: value for key, value in added.items() if not _is_the_users(key, given)}, what


def _settings(config: DictConfig, section: str) -> dict[str, Any]:
    node = config.get(section)
    if node is None:
        return {}
    if not isinstance(node, DictConfig):
        raise UserError(f"the section {section} of an experiment's file holds keys and their values, got {node!r}")
    plain: Any = OmegaConf.to_container(node)
    return dict(plain)


def _checked(section: str, values: Any) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise UserError(f"the section {section} of an experiment's file holds settings, key: value, got {values!r}")
    for key in values:
        check_key(key, f"the section {section} of an experiment's file")
        if key in NOT_IN_A_SECTION:
            raise UserError(f"the section {section} of an experiment's file cannot set {key}")
    return values


def _is_the_users(key: str, given: list[str]) -> bool:
    """Whether the user set this key, or chose another config of its group. The neuron's keys are for that neuron."""
    group = key.partition(".")[0]
    return key in given or (group != "neuron" and group in given)


def spelled(value: Any) -> str:
    """A value as the command line spells it. Raises UserError for one that it cannot spell."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{spelled(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(spelled, value)) + "]"
    if value is not None and not isinstance(value, str | int | float | bool):
        raise UserError(f"a config holds numbers, texts, true, false and null, got {value!r}")
    plain = isinstance(value, str) and re.fullmatch(r"[\w./-]+", value)
    return str(value) if plain else json.dumps(value, ensure_ascii=False)
