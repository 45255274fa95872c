"""What comes from other people, experiment files, records, data, runs nothing, reads no secret, writes nowhere else."""

import io
import json
import pickle
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import yaml
from ledger.records import record as a_record
from offline_wandb import offline_runs
from omegaconf import OmegaConf

from snnrepro.config import compose as composing
from snnrepro.config.allowed import CLASSES, READABLE
from snnrepro.config.check import CONFIGS, check, options
from snnrepro.config.compose import compose_job, compose_jobs, with_sweep
from snnrepro.data.extract import extract
from snnrepro.data.image_files import read_cifar_pickle
from snnrepro.errors import UserError, printable, without_secrets
from snnrepro.jobs.cli import launch
from snnrepro.judging import needed
from snnrepro.ledger.claims import claims_of
from snnrepro.ledger.page import page
from snnrepro.ledger.page_data import page_data
from snnrepro.ledger.record import Run, config_hash, read_record
from snnrepro.ledger.report_text import report_text
from snnrepro.ledger.runs import Records
from snnrepro.ledger.tables import runs_table, show
from snnrepro.restore import restored_run

ROOT = Path(__file__).resolve().parents[1]
GROUPS = sorted(
    path.name for path in CONFIGS.iterdir() if path.is_dir() and path.name not in ("experiment", "sweep", "hydra")
)


def error_of(call) -> str:
    with pytest.raises(UserError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def experiment(configs):
    """Write somebody's experiment file, and give what composing it says."""

    def refused(text: str, *words: str) -> str:
        (configs / "experiment" / "theirs.yaml").write_text(f"# @package _global_\n{text}\n")
        return error_of(lambda: compose_job(["experiment=theirs", *words]))

    return refused


# ------------------------------------------------------------------------------------------------------------ classes


def test_every_shipped_config_names_a_listed_class_and_every_listed_class_is_used():
    used: dict[str, set[str]] = {}
    for group in GROUPS:
        for name in options(group):
            target = (yaml.safe_load((CONFIGS / group / f"{name}.yaml").read_text()) or {}).get("_target_")
            if target is not None:
                used.setdefault(group, set()).add(target)
    groups = {place: classes for place, classes in CLASSES.items() if not place.startswith("hydra.")}
    assert {group: set(classes) for group, classes in groups.items()} == used


HOSTILE_CLASSES = ["os.system", "torch.utils.collect_env.run", "snnrepro.ledger.record.git_state", "builtins.eval", ""]


@pytest.mark.parametrize("target", HOSTILE_CLASSES)
@pytest.mark.parametrize("group", ["neuron", "logger", "optimizer", "readout"])
def test_a_class_that_is_not_listed_is_refused_in_every_group(experiment, group, target):
    assert "_target_" in experiment(f"{group}: {{_target_: '{target}'}}")


def test_a_config_file_that_somebody_added_allows_no_class(configs):
    (configs / "neuron" / "mine.yaml").write_text("_target_: os.system\n_partial_: true\n")
    assert "neuron._target_=os.system is not a class of" in error_of(lambda: compose_job(["neuron=mine"]))


NESTED = [
    "neuron: {surrogate: {_target_: os.system}}",
    "neuron: {surrogate: {name: atan, _target_: os.system}}",
    "architecture: {hidden: [{_target_: os.system, _args_: [id]}]}",
    "dataset: {mean: [[{_target_: os.system}]]}",
    "optimizer: {betas: {_target_: os.system}}",
    "logger: {_target_: snnrepro.training.loggers.Csv, _args_: [1]}",
    "neuron: {_convert_: all}",
    "neuron: {_recursive_: false}",
    "neuron: {_partial_: false}",
    "neuron: {_partial_: {_target_: os.system}}",
    "measure: {_target_: os.system}",
    "_target_: os.system",
    "source: {_target_: os.system}",
    "reduced: {what: w, neuron.surrogate: {_target_: os.system}}",
    "by_neuron: {psu: {neuron._target_: os.system}}",
    "by_neuron: {psu: {neuron.surrogate: {_target_: os.system}}}",
    "architecture: {hidden: ['${oc.create:{_target_:os.system}}']}",
    "neuron: {_target_: '${source}'}\nsource: os.system",
]


@pytest.mark.parametrize("text", NESTED)
def test_an_order_to_build_is_refused_at_every_depth(experiment, text):
    experiment(text, *(["scale=reduced"] if "reduced" in text else []))


THE_COMMAND_LINES = [
    "hydra: {callbacks: {theirs: {_target_: os.system}}}",
    "hydra: {launcher: {_target_: os.system}}",
    "hydra: {sweeper: {_target_: os.system}}",
    "hydra: {sweeper: {params: {seed: '1,2'}}}",
    "hydra: {job: {env_set: {PATH: /theirs}}}",
    "hydra: {run: {dir: /tmp/theirs}}",
    "hydra: {overrides: {task: ['trust=[os.system]']}}",
    "hydra: {job_logging: {handlers: {theirs: {class: os.system}}}}",
    "trust: [os.system]",
    "trust: os.system\nneuron: {_target_: os.system}",
    "paths: {runs_dir: ../../elsewhere}",
    "paths: {cache_dir: '${oc.env:HOME}'}",
    "reduced: {what: w, trust: [os.system]}",
    "reduced: {what: w, paths.runs_dir: /tmp/theirs}",
    "reduced: {what: w, hydra.run.dir: /tmp/theirs}",
    "reduced: {what: w, hydra/launcher: joblib}",
    "reduced: {what: w, +hydra.callbacks.theirs._target_: os.system}",
    "by_neuron: {psu: {~loss: null}}",
    "by_neuron: {psu: {--config-dir: /tmp}}",
    "defaults: [{override /hydra/launcher: joblib}]",
]


@pytest.mark.parametrize("text", THE_COMMAND_LINES)
def test_what_only_the_command_line_may_set_is_refused_from_a_file(experiment, text):
    experiment(text, *(["scale=reduced"] if "reduced" in text else []))


@pytest.mark.parametrize("text", ["trust: '[os.system]'", "hydra.run.dir: /tmp", "paths.runs_dir: x", "'~loss': x"])
def test_a_sweep_file_sets_no_more_than_an_experiment(configs, text):
    (configs / "sweep" / "theirs.yaml").write_text(text)
    error_of(lambda: compose_jobs(with_sweep(["sweep=theirs"])))


@pytest.mark.parametrize(
    "run",
    [
        {"trust": ["os.system"], "neuron._target_": "os.system"},
        {"neuron._target_": "os.system"},
        {"paths.runs_dir": "../../theirs"},
        {"hydra.run.dir": "/tmp/theirs"},
        {"hydra/launcher": "joblib"},
        {"--config-dir": "/tmp"},
        {"-m seed": 1},
        {"neuron": "../../../theirs"},
        {3: 4},
    ],
)
def test_a_claim_runs_nothing_but_what_an_experiment_may_set(run):
    entry = {"id": "a", "statement": "s", "kind": "value", "run": run, "metric": "m", "value": 1.0, "tolerance": 0}
    entry |= {"unit": "u", "min_seeds": 1, "source": "s"}
    (claim,) = claims_of("psn/seq_cifar10", [entry])
    error_of(lambda: needed(claim, reduced=False))


@pytest.mark.parametrize("change", [{"id": "../../x"}, {"id": "a\nb"}, {"benchmark": "--out"}, {"run": {"T": "--out"}}])
def test_a_claim_names_no_path_and_no_option(change):
    entry = {"id": "a", "statement": "s", "kind": "value", "run": {}, "metric": "m", "value": 1.0, "tolerance": 0}
    entry |= {"unit": "u", "min_seeds": 1, "source": "s", "benchmark": "neurons", **change}
    error_of(lambda: claims_of("psn/seq_cifar10", [entry]))


@pytest.mark.parametrize(
    "words",
    [
        ["--config-dir=/tmp"],
        ["-cd", "/tmp"],
        ["--config-path=/tmp"],
        ["--config-name=theirs"],
        ["--experimental-rerun=theirs.pickle"],
    ],
)
def test_hydras_ways_around_the_configs_are_not_taken(words):
    assert "is not taken" in error_of(lambda: compose_jobs(words))


@pytest.mark.parametrize("choice", ["../../x", "/etc/passwd", "..", ".", "", "psn/../psn/seq_cifar10", "psn"])
@pytest.mark.parametrize("group", ["experiment", "neuron", "dataset"])
def test_a_choice_is_a_config_of_its_group_and_no_path(group, choice):
    if (group, choice) != ("neuron", "psn"):
        assert f"unknown {group}" in error_of(lambda: compose_job([f"{group}={choice}"]))


def test_an_experiments_defaults_choose_configs_of_their_groups_only(experiment, configs):
    (configs / "theirs.yaml").write_text("_target_: snnrepro.neurons.psu.PSU\n_partial_: true\ntau: 2.0\n")
    assert "unknown neuron" in experiment("defaults: [{override /neuron: ../theirs}]")


def test_nothing_is_imported_to_refuse_a_class(configs, tmp_path):
    marker = tmp_path / "imported"
    (tmp_path / "theirs.py").write_text(f"open({str(marker)!r}, 'w')\nclass Neuron: pass\n")
    (configs / "experiment" / "theirs.yaml").write_text(
        "# @package _global_\nneuron: {_target_: theirs.Neuron}\nhydra: {callbacks: {a: {_target_: theirs.Neuron}}}\n"
    )
    code = (
        "import sys; from pathlib import Path\n"
        "import snnrepro.config.check as check, snnrepro.config.compose as compose\n"
        "from snnrepro.jobs.cli import launch\n"
        f"check.CONFIGS = compose.CONFIGS = Path({str(configs)!r})\n"
        "sys.argv = ['train.py', 'experiment=theirs']\n"
        "code = launch(lambda: print('started'))\n"
        "assert not {'torch', 'theirs'} & set(sys.modules)\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not marker.exists()


def test_what_was_checked_is_what_is_built(configs):
    (configs / "experiment" / "theirs.yaml").write_text("# @package _global_\nsource: a${now:%f}\n")
    config = compose_job(["experiment=theirs"]).config
    assert "${" not in yaml.safe_dump(OmegaConf.to_container(config))
    assert config.source == config.source


# -------------------------------------------------------------------------------------------------------------- trust

OWN_NEURON = """
    from snnrepro.neurons.psu import PSU
    class Own(PSU):
        def __init__(self, *args, tau: float = 2.0, **kwargs):
            super().__init__(*args, tau=tau, **kwargs)
    def function(params, lr: float = 1.0): ...
"""


@pytest.fixture
def own_package(tmp_path, monkeypatch):
    package = tmp_path / "own_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "neurons.py").write_text(textwrap.dedent(OWN_NEURON))
    (package / "broken.py").write_text("class Own(:")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield package
    for name in [name for name in sys.modules if name.startswith("own_package")]:
        del sys.modules[name]


TRUST = ["trust=[own_package.neurons.Own]", "neuron._target_=own_package.neurons.Own"]


def test_the_command_line_may_trust_a_class_of_ones_own(own_package, train, tmp_path):
    code, _, err = train(*TRUST, "neuron.tau=3", "trainer=smoke")
    assert code == 0, err
    (file,) = (tmp_path / "runs").rglob("run.json")
    record = json.loads(file.read_text())
    assert record["config"]["neuron"]["_target_"] == "own_package.neurons.Own"
    assert record["config"]["trust"] == ["own_package.neurons.Own"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([*TRUST, "+neuron.taau=3"], "unknown key neuron.taau; did you mean tau?"),
        ([*TRUST, "neuron.tau=fast"], "neuron.tau must be a number"),
        (["trust=[own_package.neurons.Other]", "neuron._target_=own_package.neurons.Other"], "defines no Other"),
        (["trust=[own_package.other.Own]", "neuron._target_=own_package.other.Own"], "there is no module"),
        (["trust=[no_such_package.a.Own]", "neuron._target_=no_such_package.a.Own"], "cannot be imported"),
        (["trust=[own_package.broken.Own]", "neuron._target_=own_package.broken.Own"], "cannot be read"),
        (["trust=[own_package.neurons.Own]", "neuron._target_=own_package.neurons.function"], "is not a class of"),
        (["trust=Own"], "trust lists classes by their full names"),
        (["trust=[3]"], "trust lists classes by their full names"),
    ],
)
def test_a_mistake_with_a_trusted_class_is_one_line(own_package, words, expected):
    assert expected in error_of(lambda: compose_job(words))


def test_whom_a_run_trusted_is_no_part_of_its_identity():
    plain = OmegaConf.to_container(compose_job([]).config)
    assert config_hash(plain) == config_hash(plain | {"trust": ["a.B"]})


def test_a_setting_that_configs_got_later_leaves_earlier_identities_alone():
    plain = OmegaConf.to_container(compose_job(["dataset=nmnist"]).config)
    assert plain["dataset"].pop("damaged") == "stop"
    before = config_hash(plain)
    assert config_hash(plain | {"dataset": plain["dataset"] | {"damaged": "stop"}}) == before
    assert config_hash(plain | {"dataset": plain["dataset"] | {"damaged": "skip"}}) != before


def test_a_record_from_elsewhere_names_no_class_and_no_one_to_trust(tmp_path):
    config = OmegaConf.to_container(compose_job([]).config)
    folder = tmp_path / "theirs"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "best.ckpt").write_bytes(b"")
    here = compose_job([]).config
    for change in (
        {"neuron": {"_target_": "os.system", "_partial_": True}},
        {"neuron": {**config["neuron"], "surrogate": {"_target_": "os.system"}}},
        {"neuron": {**config["neuron"], "tau": "${oc.env:HOME}"}},
        {"source": "${oc.env:HOME}"},
        {"dataset": "a text"},
        {"hydra": {"callbacks": {"a": {"_target_": "os.system"}}}},
    ):
        found = {"status": "completed", "config": {**config, "trust": ["os.system"], **change}}
        (folder / "run.json").write_text(json.dumps(found))
        error_of(lambda: restored_run(folder, here))


# ------------------------------------------------------------------------------------------------------------ secrets

KEY = "local-0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def secret(monkeypatch) -> str:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    return KEY


READING = ["${oc.env:WANDB_API_KEY}", "${oc.env:WANDB_API_KEY,x}", "${oc.decode:${oc.env:WANDB_API_KEY}}"]
READING += [
    "${oc.env:${oc.select:protocol,HOME}}",
    "x${oc.env:'WANDB_API_KEY'}",
    "${oc.env:HOME}",
    "${oc.env:PATH,null}",
]


@pytest.mark.parametrize("value", READING)
def test_a_file_reads_no_variable_but_those_of_the_shipped_configs(experiment, secret, value):
    message = experiment(f"source: {json.dumps(value)}")
    assert secret not in message
    assert " and ".join(READABLE) in message


def test_a_record_that_reads_a_variable_is_refused(secret):
    config = compose_job([]).config
    config.source = "\\${oc.env:WANDB_API_KEY}"  # which becomes an interpolation when it is resolved once
    assert "interpolation" in error_of(lambda: check(config))


def held_below(folder: Path) -> str:
    return "".join(file.read_bytes().decode("latin-1") for file in folder.rglob("*") if file.is_file())


def test_no_secret_stands_in_the_files_of_a_run_or_on_the_screen(secret, train, tmp_path):
    words = ["trainer=smoke", "logger=wandb", "logger.mode=offline", f"logger.project={secret}"]
    code, out, err = train(*words)
    assert code == 0, err
    assert len(offline_runs(tmp_path / "runs")) == 1
    (file,) = (tmp_path / "runs").rglob("run.json")
    assert "logger.project=<WANDB_API_KEY>" in json.loads(file.read_text())["command"]
    assert secret not in out + err
    ours = [path for path in (tmp_path / "runs").rglob("*") if path.is_file() and "wandb" not in path.parts]
    assert all(secret.encode() not in path.read_bytes() for path in ours)


def test_wandb_writes_no_key_of_the_environment(secret, train, tmp_path):
    assert train("trainer=smoke", "logger=wandb", "logger.mode=offline")[0] == 0
    assert len(offline_runs(tmp_path / "runs")) == 1
    assert secret not in held_below(tmp_path / "runs")


@pytest.mark.parametrize("kind", [UserError, OSError, ZeroDivisionError])
def test_an_error_that_holds_a_secret_is_shown_and_recorded_without(secret, tmp_path, capsys, kind):
    job = compose_job([f"paths.runs_dir={tmp_path}"])
    with Run(job.config, job.choices, job.overrides) as run:
        raise kind(f"refused: {secret}")
    assert "<WANDB_API_KEY>" in read_record(run.folder)["error"]
    assert secret not in held_below(tmp_path) + "".join(capsys.readouterr())


def test_a_wrong_word_that_holds_a_secret_is_answered_without(secret, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train.py", f"neuron={secret}"])
    assert launch(lambda: None) == 2
    assert secret not in capsys.readouterr().err


def test_only_long_values_of_secret_names_are_left_out(monkeypatch):
    monkeypatch.setenv("SHORT_KEY", "abc")
    monkeypatch.setenv("ORDINARY", "ordinary-value")
    monkeypatch.setenv("db_password", "correct horse")
    assert without_secrets("abc ordinary-value correct horse") == "abc ordinary-value <db_password>"


# ----------------------------------------------------------------------------------------------------- data and files


class Call:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def pickles() -> dict[str, bytes]:
    def made(value, protocol=2) -> bytes:
        return pickle.dumps(value, protocol)

    objects = np.empty(1, object)
    objects[0] = Call(subprocess.getoutput, "touch hacked")
    by_name = b"c_codecs\nencode\n(Vtouch hacked\nVrot13\ntR."
    state = b"cnumpy\nndarray\n(I0\ntR(I1\n(I100000000000\ntcnumpy\ndtype\n(Vu1\ntRI00\nC\x00tb."
    return {
        "call": made(Call(exec, "open('hacked', 'w')")),
        "object array": made({b"data": objects, b"labels": [0]}),
        "attribute": b"cbuiltins\ngetattr\n(cnumpy\nndarray\nVctypes\ntR.",
        "dotted": b"\x80\x04\x8c\x05numpy\x8c\x0edtype.__init__\x93.",
        "codec": by_name,
        "open codec": b"c_codecs\nencode\n(Vx\nVzip\ntR.",
        "reconstruct": b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I100000000000\ntC\x01Ot R.",
        "claimed memory": state,
        "long": b"\x80\x04\x8d" + (2**62).to_bytes(8, "little") + b"x.",
        "bytes": b"\x80\x04\x8e" + (2**40).to_bytes(8, "little") + b"x.",
        "memo": b"\x80\x04Kar" + (2**31 - 1).to_bytes(4, "little") + b".",
        "frame": b"\x80\x04\x95" + (2**50).to_bytes(8, "little") + b".",
        "laughs": b"\x80\x04]q\x00" + b"".join(b"(h\x00h\x00h\x00h\x00t\x94" for _ in range(60)) + b".",
        "persistent": b"Pname\n.",
        "extension": b"\x80\x02\x82\x01.",
    }


@pytest.mark.parametrize("name", pickles())
def test_no_pickle_of_a_data_file_runs_anything_or_takes_the_memory(name, tmp_path):
    """In a process of its own with little memory: what is attacked may end it."""
    file = tmp_path / "data_batch_1"
    file.write_bytes(pickles()[name])
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from snnrepro.data.image_files import read_cifar_pickle\nfrom snnrepro.errors import UserError\n"
        "resource.setrlimit(resource.RLIMIT_DATA, (2**30, 2**30))\n"
        "try: read_cifar_pickle(Path(sys.argv[1]))\n"
        "except UserError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(file)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert str(file) in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert not (tmp_path / "hacked").exists()


def test_arrays_of_objects_are_refused(tmp_path):
    file = tmp_path / "data_batch_1"
    objects = np.array([[1, "a"], [{}, []]], object)
    file.write_bytes(pickle.dumps({b"data": objects, b"labels": objects[0]}, 2))
    assert str(file) in error_of(lambda: read_cifar_pickle(file))


@pytest.mark.parametrize("name", ["../outside.txt", "/tmp/outside.txt", "a/../../outside.txt", "..\\outside.txt"])
def test_an_archive_writes_nothing_outside_its_folder(name, tmp_path):
    import tarfile

    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        info = tarfile.TarInfo(name)
        info.size = 4
        tar.addfile(info, io.BytesIO(b"evil"))
    before = sorted(tmp_path.rglob("*"))
    assert "leads outside" in error_of(lambda: extract(tmp_path / "a.tar", tmp_path / "in"))
    assert sorted(tmp_path.rglob("*")) == before


DANGEROUS = {
    r"torch\.load\((?![^)]*weights_only=True)": "torch.load without weights_only=True runs what a pickle asks for",
    r"(?<!\w)pickle\.loads?\(": "pickle.load runs what a pickle asks for",
    r"allow_pickle=True": "np.load with allow_pickle runs what a pickle asks for",
    r"joblib\.load\(|cloudpickle|dill\.": "as pickle",
    r"(?<![\w.])(eval|exec|__import__)\(": "runs a text",
    r"yaml\.(unsafe_|full_)?load\(": "builds what a file asks for",
    r"shell=True|os\.system\(|os\.popen\(|subprocess\.getoutput\(": "a shell reads more than one word in a word",
}


def test_no_source_file_loads_or_runs_what_others_wrote():
    """A guard beside the tests of each reader: a new use has to be thought about."""
    for file in [*ROOT.glob("*.py"), *ROOT.glob("snnrepro/**/*.py"), *ROOT.glob("scripts/*.py")]:
        for pattern, why in DANGEROUS.items():
            found = re.search(pattern, file.read_text())
            assert found is None, f"{file.name}: {found and found[0]}: {why}"


# ----------------------------------------------------------------------------------------------- what records can say

ATTACKS = [
    "<script>window.hacked=1</script>",
    "</script><script>window.hacked=1</script>",
    "[click](javascript:alert(1))",
    "![x](https://elsewhere.example/x.png)",
    "| a | b |\n## Reproduced",
    "`code` *bold* <img src=x onerror=window.hacked=1>",
    "a\u2028b\u2029c\x1b[31mred\x1b]0;title\x07\u202egnp",
    "[bold red]red[/] [link=https://elsewhere.example]here[/link] :smile:",
    "$\\frac{$ \\input{/etc/passwd}",
]


def hostile(text: str) -> dict:
    layer = {"firing_rate": 0.5, "neurons": 3, "silent": 0, "saturated": 0}
    counter = {"counter": text, "leaves_out": text, "also_counts": text, "prices": text, "acs": 1.0, "energy_pj": 2.0}
    return a_record(
        f"{text.replace('/', '')}/{text.replace('/', '')}-12345678",
        neuron=text,
        experiment=text,
        dataset=text,
        architecture=text,
        protocol=text,
        reduced=text,
        command=text,
        error=text,
        cost_model=text,
        git={"commit": text, "dirty": False},
        device={"type": text, "name": text, "threads": 1},
        config={"seed": 0, text: {text: [text]}, "version": text},
        layers={text: layer},
        counters={"rows": [counter]},
    )


@pytest.fixture
def attacked(tmp_path) -> Records:
    for place, text in enumerate(ATTACKS):
        folder = tmp_path / "runs" / f"run {place}"
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps(hostile(text)))
        header = f"epoch,train/loss,{text.splitlines()[0]}"
        (folder / "curves.csv").write_text(f"{header}\n0,{text.splitlines()[0]},1\n")
    broken = tmp_path / "runs" / "[a](javascript:b)\x1b[31m"
    broken.mkdir()
    (broken / "run.json").write_text(json.dumps(hostile("x") | {"layers": {ATTACKS[0]: 3}}))
    return Records([tmp_path / "runs"])


def test_the_reports_page_holds_records_as_text_only(attacked, tmp_path):
    html = page(page_data(attacked, [], tmp_path, {"commit": None, "dirty": None, "command": ATTACKS[1]}))
    inside = html.split('id="data">')[1].split("</script")[0]
    assert not set(inside) & set("<>&\u2028\u2029\x1b\u202e")
    assert html.count("</script") == 3
    assert len(json.loads(inside)["runs"]) == len(ATTACKS)


def test_nothing_of_a_record_runs_in_the_page(attacked, tmp_path, show_page):
    data = page_data(attacked, [], tmp_path, {"commit": None, "dirty": None, "command": ATTACKS[1]})
    shown = show_page(data)
    assert shown.evaluate("window.hacked") is None
    assert shown.locator("img, iframe, object, a[href^='javascript'], a[href^='http']").count() == 0


def test_the_reports_markdown_holds_no_markup_of_a_record(attacked, tmp_path):
    text = report_text(attacked, [], [], tmp_path)
    assert not set(text) & set("\u2028\u2029\x1b\u202e")
    assert "<script" not in text
    assert "<img" not in text
    assert "](javascript" not in text
    assert "](https://elsewhere" not in text
    assert not [line for line in text.splitlines() if line.startswith("## Reproduced")]
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in tables if "run " not in line} <= {9, 10}


def test_tables_on_the_screen_show_records_as_text_only(attacked, capsys):
    show(runs_table(ATTACKS[-2], [(run.record["neuron"], run.record) for run in attacked.runs]))
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert "[bold red]red[/]" in " ".join(out.split())
    assert ":smile:" in out


def test_the_whole_report_of_hostile_records_is_written_into_its_folder_only(attacked, tmp_path, script):
    before = set(tmp_path.rglob("*"))
    done = script("report.py", str(tmp_path / "runs"), "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    new = set(tmp_path.rglob("*")) - before
    assert all(path == tmp_path / "out" or tmp_path / "out" in path.parents for path in new)


def test_a_record_whose_identity_leads_elsewhere_moves_nothing(tmp_path, script):
    folder = tmp_path / "runs" / "a"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(a_record("../../../theirs/psu-12345678", experiment="../../theirs")))
    (folder / "curves.csv").write_text("epoch,train/loss\n0,1\n")
    done = script("report.py", str(tmp_path / "runs"), "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.rglob("*theirs*"))
    assert not list(tmp_path.parent.glob("*theirs*"))


def test_a_text_is_printable_whatever_stands_in_it():
    assert printable("a\x1b[0m\u202e\x07\x00é\n\U0001f600") == "a\ufffd[0m\ufffd\ufffd\ufffdé\n\U0001f600"
    assert "\x1b" not in str(UserError("file \x1b]0;name\x07 is damaged"))


def test_names_of_files_with_escapes_are_shown_without(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "neuron=\x1b[31mpsu"])
    assert launch(lambda: None) == 2
    assert "\x1b" not in capsys.readouterr().err


@pytest.fixture
def show_page(tmp_path):
    import shutil

    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("chromium is not installed: the page cannot be shown")
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=found, args=["--no-sandbox"])

        def load(data):
            file = tmp_path / "page.html"
            file.write_text(page(data), encoding="utf-8")
            shown = browser.new_page()
            shown.goto(file.as_uri())
            assert shown.evaluate("window.reportReady") > 0
            return shown

        yield load
        browser.close()


def test_composing_again_after_somebodys_file_is_as_before(experiment):
    before = composing.compose_job([]).config
    experiment("hydra: {run: {dir: /tmp/theirs}}")
    assert composing.compose_job([]).config == before
