"""Where metrics go besides run.json and curves.csv, which every run writes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from lightning.pytorch.loggers import Logger, WandbLogger

from snnrepro.errors import UserError


class Dashboard(Protocol):
    """A logger for Lightning, and the two things Lightning does not do: final metrics, and a proper end."""

    loggers: list[Logger]

    def finish(self, metrics: dict[str, Any] | None) -> None: ...


class Csv:
    """Nothing besides run.json and curves.csv."""

    def __init__(self, folder: Path, identity: Sequence[str], config: dict[str, Any]) -> None:
        self.loggers: list[Logger] = []

    def finish(self, metrics: dict[str, Any] | None) -> None:
        pass


class Wandb:
    """A Weights & Biases run, named, grouped and tagged by the run's identity (group, neuron-hash, seed).

    mode: online, offline (written under the run's folder; `wandb sync` uploads it) or disabled. name, group, tags:
    the identity's where null. Raises UserError, before training, where wandb cannot start.
    """

    def __init__(
        self,
        folder: Path,
        identity: Sequence[str],
        config: dict[str, Any],
        *,
        mode: Literal["online", "offline", "disabled"] = "online",
        project: str = "snnrepro",
        entity: str | None = None,
        name: str | None = None,
        group: str | None = None,
        tags: Sequence[str] | None = None,
    ) -> None:
        import wandb

        group_name, neuron, seed = identity
        try:
            self._run = wandb.init(
                dir=str(folder),
                mode=mode,
                project=project,
                entity=entity,
                name=name or f"{neuron}-{seed}",
                group=group or f"{group_name}/{neuron}",
                tags=list(tags) if tags is not None else [group_name, neuron.rsplit("-", 1)[0]],
                config=config,
                settings=wandb.Settings(silent=True, init_timeout=60),
            )
        except (wandb.Error, OSError) as error:
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise UserError(
                f"wandb cannot start: {first}; run `wandb login`, or take logger.mode=offline or logger=csv"
            ) from None
        self.loggers = [WandbLogger(experiment=self._run, save_dir=str(folder))]

    def finish(self, metrics: dict[str, Any] | None) -> None:
        """Upload the final metrics (none where the run failed) and end this job's wandb run."""
        if metrics is not None:
            self._run.summary.update({name: value for name, value in metrics.items() if value is not None})
        self._run.finish(exit_code=0 if metrics is not None else 1)
