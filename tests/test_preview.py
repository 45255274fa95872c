"""scripts/preview.py: a data set as the network gets it, and what the neurons of a trained network do."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from snnrepro.config.compose import compose_job
from snnrepro.neurons import Neuron, hold_draws
from snnrepro.restore import Restored, restored_run

PICTURES = ("raster.png", "membranes.png", "rates.png")


@pytest.mark.parametrize("dataset", ["nmnist", "spoken_digits_spikes", "seq_mnist"])
def test_preview_draws_a_sheet_and_an_animation_with_a_frame_a_step(dataset, tmp_path, real_data, script):
    folder = real_data(dataset.removeprefix("seq_"))
    words = [f"dataset={dataset}", f"paths.data_dir={folder}", "paths.cache_dir=cache", "--count", "3", "--out", "out"]
    done = script("preview.py", *words)
    assert done.returncode == 0, done.stderr
    steps = {"nmnist": 10, "spoken_digits_spikes": 100, "seq_mnist": 28}[dataset]
    with (
        Image.open(tmp_path / "out" / f"{dataset}.png") as sheet,
        Image.open(tmp_path / "out" / f"{dataset}.gif") as moving,
    ):
        assert min(sheet.size) > 300
        assert moving.n_frames == steps


def test_preview_of_missing_data_is_one_line(tmp_path, script):
    done = script("preview.py", "dataset=cifar10", f"paths.data_dir={tmp_path}")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1


@pytest.fixture
def trained(train, tmp_path):
    """Train briefly and give the run's folder."""

    def run(*words: str) -> Path:
        code, _, err = train("trainer.max_epochs=2", *words)
        assert code == 0, err
        (folder,) = (tmp_path / "runs").glob("*/*/seed0")
        return folder

    return run


class Kept(NamedTuple):
    """A whole test batch: input, outputs, and of each layer its neuron, what reached it and what it fired."""

    x: torch.Tensor
    outputs: torch.Tensor
    layers: dict[str, tuple[Neuron, torch.Tensor, torch.Tensor]]


def rows_of(run: Restored, count: int) -> np.ndarray:
    from preview import choice  # of the folder that the script fixture put on the path

    test = run.data.test_dataloader().dataset
    rows, order = choice(test.samples.labels.numpy(), count, 0)
    return np.array([*rows, *(row for row in order if row not in rows)])


def kept(run: Restored, rows: np.ndarray) -> Kept:
    x = run.data.prepare(*run.data.test_dataloader().dataset[(torch.from_numpy(rows), 0)], training=False)[0]
    hold_draws(run.network, 1)
    layers = {}
    handles = [
        module.register_forward_hook(lambda m, i, o, name=name: layers.update({name: (m, i[0], o)}))
        for name, module in run.network.named_modules()
        if isinstance(module, Neuron)
    ]
    with torch.no_grad():
        outputs = run.network(x)
    for handle in handles:
        handle.remove()
    return Kept(x, outputs, layers)


def counted_by_hand(folder: Path, count: int, *paths: str) -> dict[str, list[str]]:
    """The table's cells by layer, from spikes and membranes of all samples at once."""
    run = restored_run(folder, compose_job(list(paths)).config)
    table = {}
    for name, (neuron, current, output) in kept(run, rows_of(run, count)[:128]).layers.items():
        spikes = output.flatten(2).double().numpy()
        steps, samples, neurons = spikes.shape
        h = neuron.membrane(current).detach().double().numpy()
        always = sum(bool((spikes[:, :, i] == 1).all()) for i in range(neurons))
        never = sum(not spikes[:, :, i].any() for i in range(neurons))
        per_sample = spikes.sum() / samples
        table[name] = [
            f"{neurons:,}",
            str(steps),
            f"{spikes.mean():.3g}",
            f"{per_sample:,.0f}" if per_sample >= 100 else f"{per_sample:.3g}",
            f"{100 * never / neurons:.2f} %",
            f"{100 * always / neurons:.2f} %",
            f"{h.mean():.3g} ± {h.std():.3g}",
            neuron.kernel(steps, torch.device("cpu")),
        ]
    return table


def printed_table(text: str) -> dict[str, list[str]]:
    lines = [line.strip("│ ").split("│") for line in text.splitlines() if line.startswith("│")]
    return {name.strip(): [cell.strip() for cell in cells] for name, *cells in lines}


def assert_drawn(folder: Path) -> None:
    assert sorted(file.name for file in folder.iterdir()) == sorted(PICTURES)  # and nothing half-written
    for name in PICTURES:
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
        with Image.open(folder / name) as picture:
            assert min(picture.size) > 300
            assert np.asarray(picture.convert("L")).std() > 10


@pytest.mark.parametrize("neuron", ["psu", "mpe_psn", "lif", "spsn"])
def test_the_table_of_a_run_says_what_counting_by_hand_gives(neuron, trained, script):
    folder = trained(f"neuron={neuron}", "architecture.hidden=[70,30]", "trainer.max_epochs=6")
    done = script("preview.py", f"run={folder}", "--out", "out")
    assert done.returncode == 0, done.stderr
    table = counted_by_hand(folder, 4)
    assert list(table) == ["neuron1", "neuron2"]
    assert printed_table(done.stdout) == table
    assert "0" not in (table["neuron1"][2], table["neuron2"][2])
    epoch = json.loads((folder / "run.json").read_text())["best_epoch"] + 1
    assert f"seed0, weights of epoch {epoch}, best on validation" in done.stdout
    assert "128 of 359 test samples" in done.stdout
    assert_drawn(Path("out"))


def test_silent_and_saturated_neurons_are_told_apart(trained, script):
    folder = trained("neuron=lif", "architecture.hidden=[40,20]", "architecture.bias=true")
    weights = folder / "checkpoints" / "best.ckpt"
    saved = torch.load(weights, weights_only=True)
    bias = saved["state_dict"]["network.norm1.bias"]
    bias[:10], bias[10:14] = -1e3, 1e3
    torch.save(saved, weights)
    done = script("preview.py", f"run={folder}", "--out", "out")
    assert done.returncode == 0, done.stderr
    assert printed_table(done.stdout) == counted_by_hand(folder, 4)
    silent, saturated = (float(share.removesuffix(" %")) for share in printed_table(done.stdout)["neuron1"][4:6])
    assert silent >= 25
    assert saturated >= 10


@pytest.mark.parametrize("neuron", ["psu", "lif", "glif", "block"])
def test_what_is_drawn_is_what_the_first_samples_did_however_large_the_batches(neuron, trained, script, monkeypatch):
    folder = trained(f"neuron={neuron}", "architecture.hidden=[70,30]", "trainer.max_epochs=6")
    assert script("preview.py").returncode == 1  # puts the scripts on the path
    import preview_run

    run = restored_run(folder, compose_job([]).config)
    rows = rows_of(run, 7)
    monkeypatch.setattr(preview_run, "SAMPLES", 20)
    monkeypatch.setattr(preview_run, "MAX_ELEMENTS", 3 * 4 * 70)  # three samples
    seen = preview_run.watched(run, rows, seed=0, count=7, units=5, names=[])
    whole = kept(run, rows[:20])
    assert torch.equal(seen.x, whole.x[:, :7])
    torch.testing.assert_close(seen.outputs, whole.outputs[:, :7])
    assert torch.equal(seen.predicted, run.readout(whole.outputs).argmax(1))
    for layer, (module, current, spikes) in zip(seen.layers, whole.layers.values(), strict=True):
        assert torch.equal(layer.shown, spikes[:, :7, torch.linspace(0, spikes.shape[2] - 1, 5).round().long()])
        assert spikes.any()
        assert torch.equal(layer.fired, spikes.sum((0, 1)).double())
        assert torch.equal(layer.fired_at, spikes.sum((1, 2)).double())
        h = module.membrane(current).detach()
        threshold = module.threshold(h[0])
        reached = h >= threshold if module.fires_at_threshold else h > threshold
        assert layer.above == pytest.approx(float(reached.double().mean()))
        torch.testing.assert_close(layer.membranes.sort().values, h.flatten().sort().values)


@pytest.mark.slow
def test_a_convolutional_run_on_real_data_is_counted_in_batches_as_at_once(
    trained, real_data, script, tmp_path, monkeypatch
):
    data = f"paths.data_dir={real_data('mnist')}"
    small = ["architecture.channels=8", "dataset.train_samples=256", "trainer.limit_eval_batches=1"]
    folder = trained("neuron=psn", "dataset=seq_mnist", data, *small)
    assert script("preview.py").returncode == 1  # puts the scripts on the path
    import preview_run

    monkeypatch.setattr(preview_run, "MAX_ELEMENTS", 50 * 28 * 8 * 28)  # of the first three layers, 50 samples
    done = script("preview.py", f"run={folder / 'run.json'}", data, "--count", "2")
    assert done.returncode == 0, done.stderr
    table = printed_table(done.stdout)
    assert table == counted_by_hand(folder, 2, data)
    assert [table[f"neuron{i}"][0] for i in range(1, 8)] == ["224", "224", "224", "112", "112", "112", "14"]
    identity = json.loads((folder / "run.json").read_text())["identity"]
    assert_drawn(tmp_path / "runs" / "preview" / identity.replace("/", "-"))


@pytest.mark.slow
def test_a_residual_network_has_a_row_for_each_neuron_layer_and_no_picture_beyond_the_cap(trained, script):
    sizes = ["architecture.channels=[2,4,8]", "architecture.stem=2", "architecture.blocks=[4,4,4]"]
    folder = trained("architecture=resnet19", *sizes, "dataset.train_samples=128", "trainer.max_epochs=1")
    done = script("preview.py", f"run={folder}", "--count", "1", "--out", "out")
    assert done.returncode == 0, done.stderr
    table = printed_table(done.stdout)
    assert list(table)[:3] == ["neuron1", "block1.body.neuron1", "block1.neuron"]
    assert len(table) == 2 * 12 + 2
    assert_drawn(Path("out"))
    with Image.open("out/raster.png") as picture:
        assert picture.height == 32 * 110


def test_only_the_layers_asked_for_are_drawn_and_an_unknown_one_is_one_line(trained, script):
    folder = trained("neuron=psu")
    done = script("preview.py", "--count", "2", "--out", "out", "--layers", "neuron2", f"run={folder}")
    assert done.returncode == 0, done.stderr
    assert list(printed_table(done.stdout)) == ["neuron2"]
    done = script("preview.py", f"run={folder}", "--layers", "neuron2", "neurn1", "--out", "none")
    assert (done.returncode, done.stderr) == (1, "error: unknown layer 'neurn1'; did you mean neuron1 or neuron2?\n")
    assert not Path("none").exists()


def test_the_title_says_of_a_papers_protocol_that_the_weights_were_chosen_on_the_test_set(trained, script):
    folder = trained("protocol=paper", "neuron=lif")
    done = script("preview.py", f"run={folder}", "--out", "out")
    assert done.returncode == 0, done.stderr
    epoch = json.loads((folder / "run.json").read_text())["best_epoch"] + 1
    assert f"seed0, weights of epoch {epoch}, best on the test set" in done.stdout


def test_a_run_recorded_with_another_logger_device_and_price_list_is_restored(trained, script):
    folder = trained("neuron=psu")
    record = json.loads((folder / "run.json").read_text())
    config = record["config"]
    config["trainer"] |= {"accelerator": "gpu", "precision": "16-mixed"}
    config["logger"] |= {"_target_": "snnrepro.training.loggers.Wandb", "mode": "online"}
    config["energy"] = {"_target_": "snnrepro.metrics.energy.CostModel", "of_another_time": 1}
    (folder / "run.json").write_text(json.dumps(record))
    done = script("preview.py", f"run={folder}", "--out", "out")
    assert done.returncode == 0, done.stderr


def test_what_is_no_finished_run_is_one_line(trained, script, tmp_path):
    def says(words: str, *arguments: str) -> None:
        done = script("preview.py", *arguments)
        assert (done.returncode, done.stderr.count("\n"), done.stdout) == (1, 1, "")
        assert done.stderr.startswith("error: ")
        assert words in done.stderr

    folder = trained("neuron=psu")
    run = f"run={folder}"
    says("no finished run", f"run={tmp_path}")
    says("no finished run", f"run={tmp_path / 'nowhere'}")
    says("leave out dataset=mnist", run, "dataset=mnist")
    says("leave out seed=1 neuron=lif", run, "seed=1", "paths.data_dir=x", "neuron=lif")
    says("leave out run=other", run, "run=other")
    says("unknown key 'paths.dat_dir'", run, "paths.dat_dir=x")
    says("--count", run, "--count", "0")
    says("--count", run, "--count", "33")
    says("--neurons", run, "--neurons", "0")
    says("give run=FOLDER", "dataset=digits", "--layers", "neuron1")
    says("dataset=NAME or run=FOLDER")
    weights, record = folder / "checkpoints" / "best.ckpt", folder / "run.json"
    whole, text = weights.read_bytes(), record.read_text()
    weights.write_bytes(whole[: len(whole) // 2])
    says("damaged", run)
    weights.write_bytes(whole)
    record.write_text(text.replace('"hidden": [\n        512', '"hidden": [\n        500'))
    assert record.read_text() != text
    says("damaged or of other code", run)
    record.write_text(text.replace('"status": "completed"', '"status": "failed"'))
    says("its record says failed", run)
    record.write_text(text)
    weights.unlink()
    says("checkpoints/best.ckpt", run)


def test_a_run_whose_data_are_gone_is_one_line(trained, real_data, script, tmp_path):
    data = real_data("mnist")
    few = ["dataset.train_samples=128", "trainer.max_epochs=1", "trainer.limit_eval_batches=1"]
    folder = trained("dataset=mnist", "architecture=dense", f"paths.data_dir={data}", *few)
    done = script("preview.py", f"run={folder}", f"paths.data_dir={tmp_path}")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "mnist" in done.stderr


def test_a_run_recorded_before_cost_models_and_measures_were_settings_is_drawn_too(train, tmp_path, script):
    assert train("neuron=psu", "trainer.max_epochs=1")[0] == 0
    (file,) = (tmp_path / "runs").rglob("run.json")
    record = json.loads(file.read_text())
    del record["config"]["measure"]
    record["config"]["energy"] = {"_target_": "snnrepro.metrics.energy.CostModel", "name": "old", "mac_pj": 4.6}
    file.write_text(json.dumps(record))
    done = script("preview.py", f"run={file.parent}", "--count", "1", "--out", "out")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "raster.png").is_file()
