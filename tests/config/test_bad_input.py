"""A wrong command line is one line that says what to do, exit code 2, nothing written, and torch not imported."""

import subprocess
import sys
from pathlib import Path

import pytest

from snnrepro.config.check import check
from snnrepro.config.compose import compose_job, compose_jobs
from snnrepro.config.signature import parameters
from snnrepro.errors import UserError

ROOT = Path(__file__).resolve().parents[2]

# (words, what the line must hold)
WRONG = [
    (["neuron=psuu"], "unknown neuron 'psuu'; did you mean psu or rpsu or ipsu?"),
    (["dataset=digit"], "unknown dataset 'digit'; did you mean digits?"),
    (["experiment=psn/seq"], "did you mean psn/seq_cifar10 or psn/seq_cifar100?"),
    (["neurn=psu"], "unknown key 'neurn'; did you mean neuron?"),
    (["+sead=1"], "unknown key 'sead'; did you mean seed?"),
    (["neuron.taau=3"], "unknown key 'neuron.taau'; did you mean tau?"),
    (["+neuron.taau=3"], "unknown key neuron.taau; did you mean tau?"),
    (["neuron=psn", "neuron.tau=3"], "unknown key 'neuron.tau'"),
    (["trainer.max_epoch=3"], "did you mean max_epochs"),
    (["paths.datadir=x"], "did you mean data_dir"),
    (["dataset.num_steps=0"], "dataset.num_steps must be a whole number above 0, got 0"),
    (["dataset.num_steps=-4"], "got -4"),
    (["dataset.num_steps=2.5"], "a whole number"),
    (["dataset.batch_size=0"], "dataset.batch_size"),
    (["trainer.max_epochs=0"], "trainer.max_epochs"),
    (["dataset.validation_fraction=1.5"], "from 0 to 1"),
    (["neuron.tau=fast"], "neuron.tau must be a number"),
    (["neuron.tau=0.5"], "1 or above"),
    (["neuron=lif", "neuron.reset=sofft"], "one of soft, hard, none"),
    (["neuron.surrogate=atann"], "one of atan, sigmoid"),
    (["neuron.surrogate.name=arctan"], "with name one of atan"),
    (["neuron.surrogate.alpha=-1"], "alpha above 0"),
    (["neuron=plif", "neuron.tau=1"], "neuron.tau must be a number above 1, got 1"),
    (["neuron=sliding_psn", "neuron.order=0"], "neuron.order must be a whole number above 0 or null, got 0"),
    (["neuron=mpe_psn", "neuron.variant=last"], "neuron.variant must be one of previous, current, got 'last'"),
    (["neuron=block", "neuron.beta=1.5"], "neuron.beta must be a number from 0 to 1, got 1.5"),
    (["neuron=spsn", "neuron.gradient=ste"], "one of none, straight_through, sigmoid"),
    (["neuron=se_adlif", "neuron.tau_u_range=[0,5]"], "neuron.tau_u_range must be a list of numbers above 0"),
    (["loss.auxiliary_weight=2"], "loss.auxiliary_weight must be a number from 0 to 1, got 2"),
    (["neuron.backend=cuda"], "one of auto, fused, torch, dense, reference"),
    (["optimizer.lr=fast"], "optimizer.lr must be a number"),
    (["optimizer.lr=-1"], "0 or above"),
    (["trainer.precision=half"], "one of amp, 16-true"),
    (["architecture.hidden=[64,0]"], "a list of whole numbers above 0"),
    (["protocol=test"], "validated or paper"),
    (["seed=-1"], "seed must be a whole number"),
    (["seed=${nothing}"], "nothing"),
    (["overwrite=maybe"], "true or false"),
    (["neuron=lif,psu"], "add -m"),
    (["neuron=[a"], "write key=value"),
    (["neuron=null"], "one of its configs: alif, block, "),
    (["~loss"], "would delete a setting"),
    (["~seed"], "would delete a setting"),
    (["~optimizer.lr"], "would delete a setting"),
    (["neuron=lif", "neuron.tau=inf"], "neuron.tau must be a finite number"),
    (["optimizer.lr=nan"], "optimizer.lr must be a finite number"),
    (["optimizer.betas=[0.9,inf]"], "optimizer.betas.1 must be a finite number"),
    (["paths.runs_dir="], "paths.runs_dir must be a folder"),
    (["version=x"], "version must be a whole number"),
    (["paths=here"], "paths is a group of keys"),
    (["dataset=seq_mnist", "dataset.num_steps=7"], "one column a step"),
    (["architecture=psn_seq_cifar"], "take architecture=dense or architecture=psn_cifar10"),
    (["dataset=seq_cifar10", "architecture=psn_cifar10"], "architecture=psn_seq_cifar"),
    (["neuron._target_=os.system"], "neuron._target_=os.system is not a class of snnrepro/config/allowed.py"),
    (["dataset._target_=snnrepro.neurons.psu.PSU"], "dataset._target_=snnrepro.neurons.psu.PSU is not a class of"),
    (["-m", "neuron=lif,psuu"], "did you mean psu or rpsu"),
    (["-m", "seed=0,x"], "seed must be a whole number"),
    (["--foo"], "--foo"),
]


@pytest.mark.parametrize(("words", "expected"), WRONG, ids=[" ".join(words) for words, _ in WRONG])
def test_wrong_command_line_is_one_clear_line(words, expected):
    def compose_and_check() -> None:
        for job in compose_jobs(words):
            check(job.config)

    with pytest.raises(UserError) as caught:
        compose_and_check()
    line = str(caught.value)
    assert expected in line
    assert "\n" not in line


@pytest.mark.parametrize("words", [["neuron=psuu"], ["neuron.taau=3"], ["--help"], ["--cfg", "job"]])
def test_help_and_errors_of_the_config_import_neither_torch_nor_lightning(words, tmp_path):
    code = (
        "import runpy, sys; sys.argv = ['train.py', *sys.argv[1:]]\n"
        "try: runpy.run_path('train.py', run_name='__main__')\n"
        "except SystemExit as stop: code = stop.code\n"
        "assert not {'torch', 'lightning', 'numpy'} & set(sys.modules), 'slow imports'\n"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "slow imports" not in done.stderr
    assert done.returncode == (0 if words[0].startswith("--") else 2)


def test_help_names_every_group_and_shows_examples(train):
    code, out, _ = train("--help")
    assert code == 0
    assert "neuron: alif, block, block_v1, glif, if, " in out
    assert "python train.py -m neuron=lif,psn,psu seed=0,1" in out


def test_wrong_command_line_starts_nothing(train, tmp_path):
    code, out, err = train("neuron.taau=3")
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert not (tmp_path / "runs").exists()


# A mistyped key in an experiment file composes without complaint in Hydra: at every depth it must be found.
MISTYPED = [
    ("seeed: 1", "unknown key 'seeed'; did you mean seed?"),
    ("neuron: {taau: 3.0}", "unknown key neuron.taau"),
    ("neuron: {surrogate: {alfa: 3.0}}", "alfa"),
    ("paths: {data_dirr: x}", "paths is set in a config file"),
    ("trainer: {max_epoch: 3}", "unknown key trainer.max_epoch; did you mean max_epochs"),
    ("dataset: {num_step: 3}", "unknown key dataset.num_step; did you mean num_steps"),
    ("optimizer: {learning_rate: 3}", "unknown key optimizer.learning_rate"),
    ("loss: {smoothing: 0.1}", "unknown key loss.smoothing"),
]


@pytest.mark.parametrize(("text", "expected"), MISTYPED)
def test_mistyped_key_in_an_experiment_file_is_found_at_any_depth(text, expected, configs):
    (configs / "experiment" / "typo.yaml").write_text(f"# @package _global_\n{text}\n")
    with pytest.raises(UserError, match=expected.replace("?", r"\?")):
        check(compose_job(["experiment=typo"]).config)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("seed: [1\n", "line 2"), ("seed: 1\n", "# @package _global_"), ("# @package _global_\n\tx: 1\n", "line 2")],
)
def test_broken_experiment_file_is_one_line(text, expected, configs):
    (configs / "experiment" / "broken.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        check(compose_job(["experiment=broken"]).config)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_signature_of_torch_optimisers_is_read_without_its_parameters():
    known = parameters("torch.optim.sgd.SGD")
    assert {"lr", "momentum", "weight_decay", "nesterov"} <= set(known)
    assert "params" not in known


def test_what_the_program_supplies_cannot_be_set_by_a_config():
    assert "num_steps" not in parameters("snnrepro.neurons.psn.PSN")
    with pytest.raises(UserError, match=r"unknown key neuron\.num_steps"):
        check(compose_job(["+neuron.num_steps=3"]).config)
