"""Whatever words and files a config is made of: a checked job, or one line; and what is checked can be built.

The examples are drawn alike every time.
"""

import copy
import json
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from snnrepro.config.check import check
from snnrepro.config.compose import compose_job, compose_jobs, expand, with_sections, with_sweep
from snnrepro.errors import UserError

DRAWN = settings(
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
VALID = [
    *("neuron=psu", "neuron=lif", "dataset=seq_mnist", "dataset=shd", "experiment=psn/seq_cifar10", "seed=3"),
    *("neuron.tau=2.5", "neuron.surrogate.alpha=3", "neuron.surrogate={name: atan, alpha: 2.0}", "trust=[a.B]"),
    *("optimizer.lr=0.1", "optimizer.betas=[0.9,0.99]", "architecture.hidden=[32,16]", "dataset.num_steps=4"),
    *("trainer=smoke", "trainer.max_epochs=3", "paths.runs_dir=runs", "hydra.run.dir=.", "hydra/launcher=basic"),
    *("scale=reduced", "protocol=paper", "logger=wandb", "logger.tags=[a,b]", "sweep=seeds", "-m", "--cfg", "job"),
    *("+measure.training_spikes=true", "++neuron.tau=3", "~seed", "seed=1,2,3", "seed=range(0,3)", "neuron=glob(*)"),
    *(
        "loss.smoothing=${seed}",
        "dataset.damaged=skip",
        "source='a, b'",
        'source="\\"x\\""',
        "experiment=null",
        "--help",
    ),
]
WORDS = st.one_of(
    st.text(max_size=20),
    st.text(alphabet="a.=+~-_@/\\'\"[]{}(),:$ 0123456789\n\x00é", max_size=20),
    st.builds(
        lambda key, value: f"{key}={value}", st.sampled_from(["seed", "neuron", "hydra", "trust"]), st.text(max_size=9)
    ),
)


@st.composite
def words(draw) -> list[str]:
    """Words of a command line, some valid, some with letters put in, taken away or doubled, some of any letters."""
    made = []
    for _ in range(draw(st.integers(0, 4))):
        word = draw(st.one_of(st.sampled_from(VALID), WORDS))
        for _ in range(draw(st.integers(0, 2))):
            place = draw(st.integers(0, len(word)))
            piece = draw(st.one_of(st.sampled_from(PIECES), st.text(max_size=2)))
            word = word[:place] + piece + word[place + draw(st.integers(0, 3)) :]
        made.append(word)
    return made


PIECES = [
    "",
    "=",
    "${seed}",
    "${oc.env:HOME}",
    "${hydra:run.dir}",
    "[",
    "]",
    "{",
    "null",
    "9" * 400,
    "1e999",
    "../",
    "_target_",
]


def outcome(call) -> Any:
    """What a call gives, None for a mistake that it told in one line."""
    try:
        return call()
    except UserError as error:
        message = str(error)
    assert len(message.splitlines()) == 1, message
    assert message.strip()
    return None


@settings(DRAWN, max_examples=250)
@given(words())
@example(["neuron=" + "[" * 3000])
@example(["seed=" + "9" * 5000])
@example(["-m", "seed=range(0,1000000000)"])
@example(["-m", *(f"seed=range(0,{n})" for n in (100, 100, 100))])
@example(["seed=1e400"])
@example([""])
@example(["="])
@example(["=1"])
@example(["hydra="])
@example(["hydra/launcher="])
@example(["+hydra.x"])
@example(["seed=${seed}"])
@example(["sweep="])
@example(["sweep"])
@example(["paths.runs_dir=${paths.runs_dir}"])
def test_any_command_line_makes_jobs_or_is_one_line(line):
    outcome(lambda: compose_jobs(with_sections(with_sweep(line))))


@settings(DRAWN, max_examples=100)
@given(st.lists(st.one_of(st.sampled_from(VALID), WORDS), max_size=3), st.booleans())
def test_any_sweep_is_expanded_or_is_one_line(line, sweep):
    jobs = outcome(lambda: expand(line, sweep=sweep))
    assert jobs is None or all(len(job) == len(line) for job in jobs)


VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.sampled_from([0, 1, -1, 2**31, 2**63, 10**30, 0.5, -0.0, 1e300, float("nan"), float("inf")]),
        st.sampled_from(
            ["", "a", "auto", "null", "${seed}", "${a.b}", "${", "???", "../x", "os.system", "1", "é\n", "x" * 300]
        ),
        st.text(max_size=5),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(st.sampled_from(["_target_", "name", "alpha", "a"]), st.text(max_size=4)), inner, max_size=3
        ),
    ),
    max_leaves=5,
)
CHOICES = st.sampled_from(
    [
        {"neuron": "psu"},
        {"neuron": "spsn", "dataset": "shd", "loss": "block"},
        {"neuron": "block", "dataset": "gsc", "optimizer": "sgd", "schedule": "step_with_restart"},
        {"neuron": "glif", "dataset": "dvs_gesture", "trainer": "smoke", "logger": "wandb"},
        {"neuron": "sliding_psn", "experiment": "psn/seq_cifar10"},
        {"neuron": "mpe_psn", "dataset": "imagenet"},
    ]
)


def mutated(plain: Any, draw) -> Any:
    """The config with one to three nodes replaced, added or taken away, at any depth."""
    made = copy.deepcopy(plain)
    for _ in range(draw(st.integers(1, 3))):
        node, chance = made, random.Random(draw(st.integers(0, 2**32)))
        while True:
            inner: list[Any] = list(node) if isinstance(node, dict) else list(range(len(node)))
            deeper = [key for key in inner if isinstance(node[key], dict | list) and node[key]]
            if not deeper or chance.random() < 0.3:
                break
            node = node[chance.choice(deeper)]
        match draw(st.sampled_from(["replace", "add", "delete"])):
            case "replace" if inner:
                node[chance.choice(inner)] = draw(VALUES)
            case "delete" if inner:
                del node[chance.choice(inner)]
            case _ if isinstance(node, dict):
                node[draw(st.one_of(st.sampled_from(["_target_", "hydra", "taau"]), st.text(max_size=5)))] = draw(
                    VALUES
                )
            case _:
                node.append(draw(VALUES))
    return made


@pytest.fixture(scope="module")
def composed():
    """Give the plain config of some choices; each is composed once."""
    known: dict[str, Any] = {}

    def get(choices: dict[str, str]) -> Any:
        key = json.dumps(choices)
        if key not in known:
            job = outcome(lambda: compose_job([f"{group}={name}" for group, name in choices.items()]))
            known[key] = None if job is None else OmegaConf.to_container(job.config)
        return known[key]

    return get


@settings(DRAWN, max_examples=150)
@given(CHOICES, st.data())
def test_any_change_of_a_config_is_checked_or_is_one_line(composed, choices, data):
    plain = composed(choices)
    if plain is None:
        return
    changed = mutated(plain, data.draw)
    try:
        config = OmegaConf.create(changed)
    except Exception:  # no text that could be written is such a config
        return
    checked = outcome(lambda: check(config))
    if checked is not None:
        json.dumps(OmegaConf.to_container(checked), allow_nan=False, sort_keys=True)
        assert OmegaConf.to_container(check(checked)) == OmegaConf.to_container(checked)


FILE_TEXTS = st.one_of(
    st.text(max_size=60),
    st.text(alphabet="a: -[]{}&*!|>'\"#\n\t%@`0\x00\x85,?$", max_size=60),
    st.binary(max_size=60).map(lambda data: data.decode("latin-1")),
    st.builds(
        lambda key, value: f"{key}: {json.dumps(value)}",
        st.sampled_from(
            ["neuron", "dataset", "hydra", "paths", "trust", "defaults", "by_neuron", "reduced", "claims", "seed"]
        ),
        VALUES,
    ),
    st.builds(
        lambda section, key, value: f"{section}: {{psu: {{{json.dumps(key)}: {json.dumps(value)}}}, what: x}}",
        st.sampled_from(["by_neuron", "reduced", "neuron"]),
        st.one_of(st.text(max_size=8), st.sampled_from(["neuron.tau", "optimizer", "seed", "hydra.run.dir", "~loss"])),
        VALUES,
    ),
)


@settings(DRAWN, max_examples=50)
@given(FILE_TEXTS, st.booleans())
@example("a: " + "[" * 3000, False)
@example("a: !!binary aGFsbG8=", False)
@example("by_neuron: {psu: {source: !!binary aGFsbG8=}}", False)
@example("? [1, 2]\n: 3", False)
@example("source: !!python/object/apply:os.system [id]", False)
@example("seed: &a [*a]", False)
@example(
    "a: &a [x,x]\n" + "".join(f"a{i + 1}: &a{i + 1} [*a{i}, *a{i}]\n".replace("a0", "a") for i in range(40)), False
)
@example("claims: ${x}", False)
@example("by_neuron: ${by_neuron}", False)
@example("scale: reduced\nreduced: {what: x, reduced: 3}", True)
@example("scale: [1]", False)
@example("defaults: [theirs]", False)
@example("defaults: [override /experiment: theirs]", False)
@example("defaults: [{/experiment: theirs}]", False)
@example("defaults: 3", False)
@example("defaults: [{override /neuron: [psu, lif]}]", False)
@example("neuron: null", False)
@example("architecture: {hidden: ['???']}", False)
def test_any_experiment_file_is_composed_or_is_one_line(configs, text, package):
    file = configs / "experiment" / "theirs.yaml"
    file.write_text(f"# @package _global_\n{text}" if not package else text, encoding="utf-8")
    outcome(lambda: compose_job(["experiment=theirs"]))
    outcome(lambda: compose_job(["experiment=theirs", "scale=reduced"]))


def test_a_file_that_is_no_text_is_one_line(configs):
    (configs / "experiment" / "theirs.yaml").write_bytes(b"# @package _global_\nsource: \xff\xfe\x00")
    assert outcome(lambda: compose_job(["experiment=theirs"])) is None
