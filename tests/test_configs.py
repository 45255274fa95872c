"""Every config composes and passes its check; every experiment and every data set runs one batch; found by glob."""

from pathlib import Path

import numpy as np
import pytest
import torch

from snnrepro.config.check import CONFIGS, check, options
from snnrepro.config.compose import compose_job
from snnrepro.data.datamodule import DataModule
from snnrepro.data.event_augment import EventAugmentation
from snnrepro.data.images import ImageDataModule
from snnrepro.data.recorded import RecordedDataModule
from snnrepro.data.samples import ArraySamples, Samples
from snnrepro.training.session import Session

GROUPS = sorted(path.name for path in CONFIGS.iterdir() if path.is_dir())
EVERY = [(group, name) for group in GROUPS if group not in ("sweep", "hydra") for name in options(group)]
# Few channels and a small batch: the shapes that matter, T and the image, stay as they are.
SMALL = {"psn_cifar10": ["architecture.channels=16"], "psn_seq_cifar": ["architecture.channels=16"]}
SMALL |= {name: ["architecture.hidden=[16]"] for name in options("architecture") if "dense" in name or "shd" in name}
SMALL |= {
    name: ["architecture.layers=[4,M,4,A,4,A]"] for name in ("vgg_dvs", "psu_vgg_dvs", "dvs_gesture", "psu_cifar")
}
SEW = [f"sew_resnet{depth}{start}" for depth in (18, 34) for start in ("", "_pretrained")]
SMALL |= {name: ["architecture.channels=[4,4,4,4]", "architecture.stem=4", "architecture.weights=null"] for name in SEW}
SMALL |= {name: ["architecture.channels=[4,4,4]"] for name in ("resnet19", "resnet19_kaiming")}


def companions(group: str, name: str) -> list[str]:
    """What a config needs beside it to fit: a convolutional net and an augmentation want their kind of data."""
    if group == "architecture" and name in ("psn_cifar10", "psn_seq_cifar"):
        return ["dataset=seq_cifar10" if "seq" in name else "dataset=cifar10"]
    if group == "augmentation" and name != "none":
        return ["dataset=nmnist"] if "dvs" in name else ["dataset=fashion_mnist"]
    return []


class TimedSamples(Samples):
    """Frames `[N, T, *]` in memory."""

    def __init__(self, frames: torch.Tensor, labels: torch.Tensor) -> None:
        self.frames, self.labels = frames, labels

    def fetch(self, rows, training):
        return self.frames[rows].swapaxes(0, 1)


@pytest.fixture
def synthetic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random images, or frames, of the data set's own shape and dtype in place of its files."""

    def reader(kind, shape_of, highest):
        def read(self):
            generator = np.random.default_rng(0)
            labels = torch.arange(60) % min(3, self.num_classes)
            return {
                part: kind(torch.from_numpy(generator.integers(0, highest, (60, *shape_of(self)), np.uint8)), labels)
                for part in ("train", "test")
            }

        return read

    monkeypatch.setattr(ImageDataModule, "read", reader(ArraySamples, lambda self: self.image_shape, 256))
    monkeypatch.setattr(RecordedDataModule, "read", reader(TimedSamples, lambda self: self.frame_shape, 2))


def run_one_batch(overrides: list[str], folder: Path) -> dict:
    job = compose_job(
        [
            *overrides,
            "trainer=smoke",
            "dataset.batch_size=4",
            "dataset.validation_fraction=0.1",
            f"paths.runs_dir={folder}",
        ]
    )
    small = SMALL.get(str(job.choices["architecture"]), [])
    if small:
        job = compose_job([*job.overrides, *small])
    check(job.config)
    with Session(job.config, folder, ("experiment", "neuron-hash", "seed0")) as session:
        assert isinstance(session.data, DataModule)
        session.fit()
        return session.test()["metrics"]


@pytest.mark.parametrize(("group", "name"), EVERY, ids=[f"{group}={name}" for group, name in EVERY])
def test_config_composes_and_passes_its_check(group, name):
    check(compose_job([f"{group}={name}", *companions(group, name)]).config)


@pytest.mark.slow
@pytest.mark.parametrize("experiment", options("experiment"))
def test_experiment_takes_a_training_step_at_its_full_size(experiment, synthetic, tmp_path):
    """The paper's network on inputs of the data's shape; two samples a batch, the least for a batch norm."""
    words = [f"experiment={experiment}", "trainer=smoke", "dataset.batch_size=2", "dataset.num_workers=0"]
    words += ["dataset.train_samples=null"] if experiment.startswith("small/") else []  # as many as there are
    job = compose_job([*words, *(["architecture.weights=null"] if experiment == "psn/imagenet" else [])])
    check(job.config)
    with Session(job.config, tmp_path, ("experiment", "neuron-hash", "seed0")) as session:
        network = session.classifier.network
        before = {name: value.clone() for name, value in network.named_parameters()}
        session.fit()
        assert np.isfinite(session.curves.rows[0]["train/loss"])
        changed = [name for name, value in network.named_parameters() if not torch.equal(value, before[name])]
        assert any(name.startswith("readout") for name in changed)


# One of every kind of network.
@pytest.mark.parametrize(
    "experiment",
    [
        *["psn/imagenet", "psn/seq_cifar10", "psu/shd", "mpe_psn/cifar10", "mpe_psn/dvs_gesture"],
        *["block/fashion_mnist_conv", "block_v1/fashion_mnist"],
    ],
)
def test_experiment_runs_one_batch_under_the_papers_protocol(experiment, synthetic, tmp_path):
    metrics = run_one_batch([f"experiment={experiment}"], tmp_path)
    assert metrics["test/accuracy"] is None
    assert 0 <= metrics["test/accuracy_last_epoch"] <= 1


@pytest.mark.parametrize("dataset", options("dataset"))
def test_data_set_runs_one_batch_with_what_it_names(dataset, synthetic, tmp_path):
    assert 0 <= run_one_batch([f"dataset={dataset}"], tmp_path)["test/accuracy"] <= 1


@pytest.mark.parametrize("neuron", options("neuron"))
@pytest.mark.parametrize("dataset", ["digits", "seq_mnist"])
def test_neuron_runs_one_batch_in_dense_and_convolutional_nets(neuron, dataset, synthetic, tmp_path):
    metrics = run_one_batch([f"neuron={neuron}", f"dataset={dataset}"], tmp_path)
    assert 0 <= metrics["test/firing_rate"] <= 1


@pytest.mark.parametrize(
    "choice",
    [f"{g}={n}" for g in ("loss", "readout", "optimizer", "schedule", "augmentation", "energy") for n in options(g)],
)
def test_small_choice_runs_one_batch(choice, synthetic, tmp_path):
    assert run_one_batch([*companions(*choice.split("=")), choice], tmp_path)["test/energy_pj_per_sample"] > 0


def test_amp_is_fp32_on_a_cpu_and_the_record_says_what_ran(synthetic, tmp_path):
    job = compose_job(
        ["experiment=psn/seq_cifar10", "trainer=smoke", "architecture.channels=4", "dataset.batch_size=4"]
    )
    assert job.config.trainer.precision == "amp"
    with Session(job.config, tmp_path, ("experiment", "neuron-hash", "seed0")) as session:
        on_gpu = session.trainer.strategy.root_device.type == "cuda"
        assert session.trainer.precision == session.facts["precision"] == ("16-mixed" if on_gpu else "32-true")


def test_more_outputs_than_classes_are_counted_as_wrong_answers(synthetic, tmp_path):
    words = ["experiment=block/nmnist", "dataset.num_steps=20", "architecture.hidden=[8]"]
    metrics = run_one_batch(words, tmp_path)
    assert 0 <= metrics["test/accuracy_last_epoch"] <= 1


def test_the_record_says_how_many_test_samples_a_dropped_batch_leaves(synthetic, tmp_path):
    words = ["experiment=mpe_psn/dvs_gesture", "trainer=smoke", "architecture.layers=[4,M,4,M]", "dataset.batch_size=8"]
    job = compose_job([*words, "trainer.limit_eval_batches=null", "architecture.hidden=[8]", "dataset.num_steps=2"])
    with Session(job.config, tmp_path, ("experiment", "neuron-hash", "seed0")) as session:
        session.fit()
        samples = session.facts["samples"]
        assert (samples["test"], samples["test_available"]) == (56, 60)
        session.test()
        assert session.costs._operations.samples == 56


def test_an_augmentation_of_events_is_told_the_epoch_of_the_training(synthetic, tmp_path, monkeypatch):
    seen, on_frames = [], EventAugmentation.on_frames

    def watched(self, x, labels, num_classes, epoch=0):
        seen.append(epoch)
        return on_frames(self, x, labels, num_classes, epoch)

    monkeypatch.setattr(EventAugmentation, "on_frames", watched)
    words = ["dataset=nmnist", "dataset.num_steps=2", "architecture.hidden=[4]", "dataset.batch_size=50"]
    job = compose_job([*words, "trainer.max_epochs=3", "trainer.progress_bar=false"])
    with Session(job.config, tmp_path, ("group", "neuron-hash", "seed0")) as session:
        session.fit()
    assert seen == [0, 0, 1, 1, 2, 2]
