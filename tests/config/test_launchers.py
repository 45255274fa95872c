"""A launcher that does not exist, is not installed, is set wrongly or has no sweep to run is one line, and exit 2."""

import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins

from snnrepro.config.check import options
from snnrepro.config.compose import LAUNCHER, compose_jobs, with_sweep
from snnrepro.config.launchers import SCHEMAS, chosen_launcher

# (words, what the line must hold)
WRONG = [
    (["-m", "hydra/launcher=slurmm"], "unknown hydra/launcher 'slurmm'; did you mean slurm?"),
    (["-m", "hydra/launcher=submitit_slurm"], "there are: basic, joblib, ray, slurm"),
    (["hydra/launcher=slurm"], "hydra/launcher=slurm runs the jobs of a sweep: add -m"),
    (["-m", "hydra/launcher=slurm,ray"], "hydra/launcher is set once, for all jobs of a sweep"),
    (["-m", "hydra/launcher=slurm", "hydra.launcher.timeout=5"], "did you mean timeout_min"),
    (["-m", "hydra/launcher=slurm", "+hydra.launcher.part=5"], "unknown key hydra.launcher.part; did you mean part"),
    (
        ["-m", "hydra/launcher=slurm", "hydra.launcher.timeout_min=long"],
        "hydra.launcher.timeout_min=long: Value 'long'",
    ),
    (["-m", "hydra/launcher=slurm", "hydra.launcher.setup=[a"], "cannot read 'hydra.launcher.setup=[a'"),
    (["-m", "hydra/launcher=ray", "hydra.launcher.ray.remot.num_gpus=1"], "did you mean remote?"),
    (["-m", "hydra/launcher=joblib", "hydra.launcher.n_job=1"], "did you mean n_jobs?"),
    (["-m", "hydra/launcher=joblib", "+hydra.launcher.n_job=1"], "did you mean n_jobs?"),
    (["-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=x"], "hydra.launcher.n_jobs: Value 'x'"),
    (["hydra.launcher.n_jobs=2"], "unknown key 'hydra.launcher.n_jobs'"),
    (["hydra.swep.dir=x"], "unknown key 'hydra.swep'; did you mean sweep"),
    (["-m", "hydra/launcher=slurm", "neuron=lif,psuu"], "unknown neuron 'psuu'; did you mean psu"),
]


@pytest.mark.parametrize(("words", "expected"), WRONG, ids=[" ".join(words) for words, _ in WRONG])
def test_wrong_launcher_is_one_clear_line_and_starts_nothing(train, tmp_path, words, expected):
    code, out, err = train(*words)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert expected in err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", options(LAUNCHER))
def test_launcher_that_is_not_installed_says_what_to_install(train, monkeypatch, name):
    Plugins.instance()
    launchers = dict(ConfigStore.instance().repo["hydra"]["launcher"])
    for key in (f"{name}.yaml", f"{SCHEMAS[name]}.yaml"):
        launchers.pop(key, None)
    monkeypatch.setitem(ConfigStore.instance().repo["hydra"], "launcher", launchers)
    code, _, err = train("-m", f"hydra/launcher={name}", "seed=0,1")
    assert (code, err) == (2, f"error: hydra/launcher={name} is not installed: pip install -e '.[{name}]'\n")


@pytest.mark.parametrize("name", options(LAUNCHER))
def test_every_launcher_composes_and_leaves_no_word_in_the_jobs(name):
    words = with_sweep(["sweep=seeds", f"hydra/launcher={name}", "hydra.verbose=true", "neuron=psn"])
    launcher = chosen_launcher(words)
    assert launcher is not None
    assert launcher.name == name
    assert [job.overrides for job in compose_jobs(words)] == [["neuron=psn", f"seed={seed}"] for seed in (0, 1, 2)]


def test_without_a_launcher_jobs_run_in_this_process():
    assert chosen_launcher(["-m", "seed=0,1"]) is None
    assert chosen_launcher(["-m", "seed=0,1", "hydra/launcher=basic"]) is None
    assert chosen_launcher(["--cfg", "hydra", "hydra/launcher=slurm"]) is None


def test_slurm_that_is_not_there_is_one_line(train, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    code, _, err = train("-m", "hydra/launcher=slurm", "seed=0,1")
    assert code == 2
    assert err.startswith("error: there is no sbatch on this machine")
    assert err.count("\n") == 1
