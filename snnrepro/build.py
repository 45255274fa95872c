"""Parts of a run, built from a command line's overrides without the rest of it."""

from hydra.utils import instantiate

from snnrepro.config.compose import compose_job
from snnrepro.data.datamodule import DataModule


def data_module(overrides: list[str]) -> tuple[DataModule, str]:
    """The data set that these overrides of train.py choose, not yet set up, taking a partial one; and its name.

    Raises UserError for what train.py would refuse.
    """
    job = compose_job(overrides)
    config = job.config
    module: DataModule = instantiate(config.dataset, _convert_="all")(
        data_dir=config.paths.data_dir,
        cache_dir=config.paths.cache_dir,
        protocol=config.protocol,
        seed=config.seed,
        augmentation=instantiate(config.augmentation, _convert_="all")(),
    )
    module.allow_partial = True
    return module, str(job.choices["dataset"])
