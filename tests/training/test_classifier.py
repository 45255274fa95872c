"""What the trainer does with a neuron's hooks: epochs, auxiliary losses, draws, and which epoch may be the best."""

import csv
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from snnrepro.architectures.dense import Dense
from snnrepro.data.samples import EpochBatches
from snnrepro.neurons import MPEPSN, SPSN, MaskedPSN
from snnrepro.training.classifier import Classifier
from snnrepro.training.costs import peak_memory_mb, reset_peak_memory
from snnrepro.training.loss import TET, CrossEntropy


def checkpoint(folder, name):
    return torch.load(next(folder.rglob(f"{name}.ckpt")), weights_only=True)


def rows(folder):
    return list(csv.DictReader(next(folder.rglob("curves.csv")).read_text().splitlines()))


@pytest.mark.parametrize("loss", [CrossEntropy, TET])
def test_the_auxiliary_loss_is_weighted_against_the_task_until_its_last_epoch(loss):
    task, auxiliary = torch.tensor(2.0), torch.tensor(-5.0)
    free = loss(auxiliary_weight=0.1, auxiliary_epochs=3, auxiliary_clamp=False)
    assert free.with_auxiliary(task, auxiliary, epoch=2).item() == pytest.approx(0.9 * 2 - 0.1 * 5)
    assert free.with_auxiliary(task, auxiliary, epoch=3).item() == 2
    clamped = loss(auxiliary_weight=0.1, auxiliary_clamp=True)
    assert clamped.with_auxiliary(task, auxiliary, epoch=999).item() == pytest.approx(0.9 * 2)
    assert clamped.with_auxiliary(task, -auxiliary, epoch=999).item() == pytest.approx(0.9 * 2 + 0.1 * 5)


def test_mpe_psn_trains_its_weights_on_the_auxiliary_loss_and_shows_it_in_the_curves(train, tmp_path):
    code, _, err = train("neuron=mpe_psn", "trainer.max_epochs=2", "loss.auxiliary_weight=0.5")
    assert code == 0, err
    assert all(float(row["train/auxiliary_loss"]) > 0 for row in rows(tmp_path))
    state = checkpoint(tmp_path, "last")["state_dict"]
    assert (state["network.neuron1.kappa"] < 1 / 4).all()  # the error is positive, so its weight only shrinks
    assert state["network.neuron1.v_threshold"] != 1
    assert state["network.neuron1.noise_key"] != state["network.neuron2.noise_key"]


def test_a_neuron_without_auxiliary_loss_trains_on_the_task_alone(train, tmp_path):
    for weight in (0.0, 0.9):
        assert train("neuron=lif", "trainer.max_epochs=1", f"loss.auxiliary_weight={weight}")[0] == 0
    files = [file.read_text() for file in tmp_path.rglob("curves.csv")]
    losses = {row["train/loss"] for text in files for row in csv.DictReader(text.splitlines())}
    assert (len(files), len(losses)) == (2, 1)


def test_the_mask_closes_over_the_epochs_and_no_earlier_epoch_is_the_best(train, tmp_path):
    # Without learning every epoch is as good, and the first one would be the best: with E = 17, epoch 2 is the first.
    words = ["neuron=masked_psn", "trainer.max_epochs=17", "optimizer.lr=0.0", "schedule=constant"]
    code, out, err = train(*words, "dataset.train_samples=128")
    assert code == 0, err
    assert "(epoch 3, chosen on validation" in out
    best = checkpoint(tmp_path, "best")
    assert best["epoch"] == 2
    assert best["state_dict"]["network.neuron1.lambda_"] == 1


def test_one_epoch_means_a_full_mask(train, tmp_path):
    assert train("neuron=masked_psn", "trainer.max_epochs=1")[0] == 0
    assert checkpoint(tmp_path, "best")["state_dict"]["network.neuron1.lambda_"] == 1


@pytest.mark.parametrize("neuron", ["spsn", "mpe_psn"])
def test_a_stochastic_neuron_draws_by_step_so_that_a_seed_repeats_its_run(train, tmp_path, neuron):
    found = []
    for place in ("first", "again"):
        folder = tmp_path / place
        assert train(f"neuron={neuron}", "trainer.max_epochs=2", f"paths.runs_dir={folder}")[0] == 0
        found.append([{**row, "seconds": ""} for row in rows(folder)])
    assert found[0] == found[1]
    steps = checkpoint(tmp_path / "first", "last")["global_step"]
    draw = checkpoint(tmp_path / "first", "last")["state_dict"]["network.neuron1.draw"]
    # The last training step drew 2 (steps - 1), the validation after it 2 x batch + 1.
    assert draw in (2 * (steps - 1), 1, 3)


def test_order_longer_than_the_sequence_is_one_line_before_training(train, tmp_path):
    code, out, err = train("neuron=sliding_psn", "neuron.order=9")
    assert code == 1
    assert "order is from 1 to T = 4, got 9" in out + err
    assert "Traceback" not in out + err


@pytest.mark.parametrize("neuron", [SPSN, MPEPSN, MaskedPSN])
def test_a_network_of_this_neuron_survives_a_copy_after_training(neuron):
    import copy

    torch.manual_seed(0)
    network = Dense(lambda num_steps, num_features: neuron(num_steps, num_features), (6,), 3, 4, hidden=[8])
    x = torch.rand(4, 5, 6)
    nn.functional.cross_entropy(network(x).mean(0), torch.zeros(5, dtype=torch.long)).backward()
    twin = copy.deepcopy(network).eval()
    network.eval()
    assert torch.equal(network(x), twin(x))


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux lets a process forget its peak")
def test_peak_memory_is_of_the_run_and_not_of_what_the_process_did_before():
    cpu = torch.device("cpu")
    reset_peak_memory(cpu)
    before = peak_memory_mb(cpu)
    large = torch.ones(100_000_000)  # 400 MB
    assert peak_memory_mb(cpu) > before + 350
    del large
    reset_peak_memory(cpu)
    assert peak_memory_mb(cpu) < before + 100


def test_a_loss_is_the_mean_over_samples_whatever_the_batches(train, tmp_path):
    """359 test digits and 1,295 training digits leave a last batch that is not full."""
    words = ["neuron=lif", "neuron.v_threshold=0.1", "architecture.batch_norm=false", "architecture.hidden=[32]"]
    for size in (100, 71):
        assert train(*words, "optimizer.lr=0.0", "trainer.max_epochs=1", f"dataset.batch_size={size}")[0] == 0
    found = [json.loads(file.read_text())["metrics"]["test/loss"] for file in tmp_path.rglob("run.json")]
    assert len(found) == 2
    assert found[0] == pytest.approx(found[1], rel=1e-6)
    one, other = (next(csv.DictReader(file.read_text().splitlines())) for file in tmp_path.rglob("curves.csv"))
    for name in ("train/loss", "validation/loss"):
        assert float(one[name]) == pytest.approx(float(other[name]), rel=1e-5)


def test_a_sample_that_another_process_counts_is_in_no_metric_of_the_epoch(train, monkeypatch):
    """Its batch weighs 0; there the loss, the accuracy and the auxiliary loss leave it out."""
    counted, end = [], Classifier.on_train_epoch_end
    monkeypatch.setattr(EpochBatches, "weight_of", lambda self, batch: float(batch < 2))
    monkeypatch.setattr(
        Classifier,
        "on_train_epoch_end",
        lambda self: (counted.extend(m.weight.item() for m in self._training_metrics().values()), end(self)),
    )
    words = ["neuron=mpe_psn", "loss.auxiliary_weight=0.5", "dataset.train_samples=256", "dataset.batch_size=100"]
    assert train(*words, "trainer.max_epochs=1")[0] == 0
    assert counted == [200.0, 200.0, 200.0]
