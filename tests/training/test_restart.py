"""The Block paper's schedule: at a milestone the best weights so far, a tenth of the lr, a new optimiser."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from snnrepro.config.compose import compose_job
from snnrepro.training.session import Session

# Plain gradient descent with an lr that overshoots, so that the best epoch is not always the last.
WORDS = ["architecture.hidden=[16]", "dataset.train_samples=256", "dataset.batch_size=64", "trainer.progress_bar=false"]
WORDS += ["schedule=step_with_restart", "trainer.max_epochs=6", "optimizer=adam", "optimizer.lr=4.0", "neuron=lif"]


class Watch(Callback):
    """Weights and loss at the end of every epoch; weights, lr and number of optimiser states at every start."""

    def __init__(self, stop_in: int | None = None) -> None:
        self.ends, self.losses, self.starts, self.stop_in = [], [], [], stop_in

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx == 0:
            optimizer = trainer.optimizers[0]
            lr, states = optimizer.param_groups[0]["lr"], len(optimizer.state)
            self.starts.append((weights(pl_module.network), lr, states))
        if batch_idx == 1 and trainer.current_epoch == self.stop_in:
            raise KeyboardInterrupt

    def on_train_epoch_end(self, trainer, pl_module):
        self.ends.append(weights(pl_module.network))
        self.losses.append(float(trainer.callback_metrics["train/loss"]))


def weights(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def train(folder: Path, *words: str, watch: Watch) -> Session:
    job = compose_job([*WORDS, *words, f"paths.runs_dir={folder}"])
    folder.mkdir(exist_ok=True)
    with Session(job.config, folder, ("group", "neuron-hash", "seed0")) as session:
        session.trainer.callbacks.append(watch)
        session.resume()
        session.fit()
        return session


@pytest.fixture(scope="module")
def watched(tmp_path_factory) -> Watch:
    watch = Watch()
    train(tmp_path_factory.mktemp("unbroken"), "schedule.milestones=[2,5]", watch=watch)
    return watch


def test_the_loss_rises_before_the_first_milestone(watched):
    """Else the tests below could not tell the best weights from the last."""
    assert watched.losses[0] < watched.losses[1]


@pytest.mark.parametrize("milestone", [2, 5])
def test_a_milestone_starts_from_the_weights_of_the_lowest_training_loss_of_all_epochs_before(watched, milestone):
    best = min(range(milestone), key=watched.losses.__getitem__)
    assert same(watched.starts[milestone][0], watched.ends[best])


@pytest.mark.parametrize("epoch", [1, 3, 4])
def test_an_epoch_that_is_no_milestone_goes_on_from_the_last_weights(watched, epoch):
    assert same(watched.starts[epoch][0], watched.ends[epoch - 1])


def test_the_optimiser_is_new_at_a_milestone_and_its_lr_a_tenth(watched):
    lrs, states = ([start[part] for start in watched.starts] for part in (1, 2))
    assert lrs == pytest.approx([4, 4, 0.4, 0.4, 0.4, 0.04])
    assert [count == 0 for count in states] == [True, False, True, False, False, True]


def test_other_schedules_never_go_back(tmp_path):
    watch = Watch()
    train(tmp_path / "run", "schedule=step", "schedule.milestones=[2]", watch=watch)
    assert all(same(watch.starts[epoch][0], watch.ends[epoch - 1]) for epoch in range(1, 6))
    assert not torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["callbacks"]["BestLossRestart"][
        "weights"
    ]


@pytest.mark.parametrize("stop_in", [1, 2])
def test_a_run_that_was_interrupted_restarts_as_one_that_was_not(watched, tmp_path, stop_in):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", "schedule.milestones=[2,5]", watch=Watch(stop_in))
    watch = Watch()
    session = train(tmp_path / "run", "schedule.milestones=[2,5]", watch=watch)
    assert len(watch.losses) == 6 - stop_in
    assert same(watch.starts[0][0], watched.starts[stop_in][0])
    assert same(watch.ends[-1], watched.ends[-1])
    assert [row["train/loss"] for row in session.curves.rows] == watched.losses
