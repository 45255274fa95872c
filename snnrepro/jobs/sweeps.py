"""A sweep's jobs on Slurm, on Ray or in processes of this machine: handed to Hydra's launcher, then waited for.

Hydra's launchers wait for results one after the other, and end, or wait for ever, at the first job that was killed.
Records are the results here, so that they are only asked to start the jobs.
"""

import io
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from snnrepro.config.check import CONFIGS
from snnrepro.config.launchers import Launcher
from snnrepro.config.sections import spelled
from snnrepro.errors import UserError, first_line
from snnrepro.jobs.outcomes import Outcome, Progress

SECONDS = 5.0  # between two questions to Slurm or Ray
# What ray.init takes for a Ray that runs already.
OF_A_CONNECTION = ("address", "namespace", "runtime_env", "log_to_driver", "logging_level")

Start = Callable[[], Any]


def run_elsewhere(launcher: Launcher, task: Callable[[Any], None], runs: list[Outcome]) -> None:
    """Run `task` for those of the runs that are not done, and wait until no job is left.

    Raises UserError where the jobs could not be started. Ctrl-C says what becomes of the jobs and raises
    KeyboardInterrupt.
    """
    waiting = [run for run in runs if not run.done]
    if len(waiting) < len(runs):
        print(
            f"{len(runs) - len(waiting)} of {len(runs)} completed already; overwrite=true runs them again", flush=True
        )
    if not waiting:
        return
    # Jobs may start in another folder.
    place = f"paths.runs_dir={spelled(str(Path(runs[0].job.config.paths.runs_dir).expanduser().absolute()))}"
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIGS), version_base="1.3", job_name="train"), Progress(runs):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        config = hydra.compose_config("train", [*launcher.words, place], RunMode.MULTIRUN)
        context = HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks(config))

        def start() -> Any:
            engine = Plugins.instance().instantiate_launcher(hydra_context=context, task_function=task, config=config)
            return engine.launch([[*run.job.overrides, place] for run in waiting], 0)

        {"slurm": _on_slurm, "ray": _on_ray, "joblib": _in_processes}[launcher.name](config, start)


@contextmanager
def _unattended(owner: Any, wait: str, instead: Callable[[Any], Any]) -> Iterator[None]:
    """With the function by which a launcher waits for a result replaced."""
    waits = getattr(owner, wait)
    setattr(owner, wait, instead)
    try:
        yield
    finally:
        setattr(owner, wait, waits)


def _on_slurm(config: DictConfig, start: Start) -> None:
    if shutil.which("sbatch") is None:
        raise UserError("there is no sbatch on this machine: start the sweep where Slurm is, or take another launcher")
    from submitit import SlurmJob
    from submitit.core.utils import FailedJobError

    try:
        with _unattended(SlurmJob, "results", lambda job: [job]), redirect_stderr(io.StringIO()):  # told below
            jobs = start()
    except (FailedJobError, OSError, RuntimeError, ValueError) as error:
        lines = [line for line in str(error).splitlines() if line.startswith("sbatch: error:")]
        said = "; ".join(line.removeprefix("sbatch: error: ") for line in lines)
        raise UserError(f"Slurm did not take the jobs: {said or first_line(error)}") from None
    number = str(jobs[0].job_id).partition("_")[0]
    folder = Path(str(config.hydra.launcher.submitit_folder)).parent
    jobs_are = f"{len(jobs)} jobs are" if len(jobs) > 1 else "1 job is"
    print(f"{jobs_are} in Slurm's queue as {number}; what they print: {folder}/{number}*", flush=True)
    try:
        while _in_queue(number):
            time.sleep(SECONDS)
    except KeyboardInterrupt:
        print(
            f"\nthe jobs go on in Slurm: `squeue --jobs={number}` shows them, `scancel {number}` ends them; once they "
            "have ended, the same command shows the table and runs what is missing",
            file=sys.stderr,
        )
        raise


def _in_queue(number: str) -> bool:
    """Whether Slurm still has a job; one that it no longer knows has ended, one that it cannot tell of has not."""
    asked = ["squeue", "--noheader", f"--jobs={number}", "--format=%i"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    return bool(done.stdout.strip()) if done.returncode == 0 else "Invalid job id" not in done.stderr


def _on_ray(config: DictConfig, start: Start) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    settings: Any = OmegaConf.to_container(config.hydra.launcher.ray.init, resolve=True)
    given = {key: value for key, value in settings.items() if value is not None}
    if given.get("address") == "local":
        # A password, which Ray would write to the home folder.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    else:
        given = {key: value for key, value in given.items() if key in OF_A_CONNECTION}
    import ray

    try:
        ray.init(**given)
    except Exception as error:  # of a dozen kinds
        raise UserError(f"Ray did not start: {first_line(error)}") from None
    try:
        has, remote = ray.cluster_resources(), config.hydra.launcher.ray.remote  # type: ignore[no-untyped-call]
        with open_dict(config):
            if remote.get("num_gpus") is None:
                remote.num_gpus = 1 if has.get("GPU", 0) else 0
        for key, name in (("num_cpus", "CPU"), ("num_gpus", "GPU")):
            if (wanted := remote.get(key) or 0) > has.get(name, 0):
                raise UserError(
                    f"a job asks for {wanted} {name}, Ray has {has.get(name, 0):g}: set hydra.launcher.ray.remote.{key}"
                )
        with _unattended(ray, "get", lambda job: job):
            jobs = start()
        jobs_are = f"{len(jobs)} jobs are" if len(jobs) > 1 else "1 job is"
        print(f"{jobs_are} with Ray, which has {has.get('CPU', 0):g} CPU, {has.get('GPU', 0):g} GPU", flush=True)
        try:
            while jobs:
                jobs = ray.wait(jobs, num_returns=len(jobs), timeout=SECONDS)[1]
        except KeyboardInterrupt:
            for job in jobs:
                ray.cancel(job)
            ray.wait(jobs, num_returns=len(jobs), timeout=30)
            raise
    finally:
        ray.shutdown()


def _in_processes(config: DictConfig, start: Start) -> None:
    try:
        start()
    except (OSError, RuntimeError, ValueError) as error:  # a process was killed
        print(f"error: joblib: {first_line(error)}", file=sys.stderr)
