"""Train one spiking network from its config, test it, and leave a record: compose, build, fit, test, record.

python train.py --help lists what can be chosen.
"""

import sys

import hydra
from omegaconf import DictConfig

from snnrepro.jobs.cli import launch


@hydra.main(version_base="1.3", config_path="configs", config_name="train")
def train(_: DictConfig) -> None:
    from hydra.core.hydra_config import HydraConfig

    from snnrepro.config.compose import compose_job
    from snnrepro.jobs.processes import follow, this_task, work
    from snnrepro.jobs.signals import StopSignals
    from snnrepro.ledger.record import Run

    job = compose_job(list(HydraConfig.get().overrides.task))  # with what an experiment adds for a neuron or a scale
    task = this_task()
    with StopSignals():
        if task.rank:
            follow(job.config, job.choices, task)
            return
        with Run(job.config, job.choices, job.overrides) as run:
            work(job.config, run, task)


if __name__ == "__main__":
    sys.exit(launch(train))
