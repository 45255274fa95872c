"""Splits that do not overlap, an order that is a function of (seed, epoch), and batches as a network wants them."""

from pathlib import Path
from types import SimpleNamespace

import lightning as L
import numpy as np
import pytest
import torch
from torch import Tensor

from snnrepro.data import images as images_module
from snnrepro.data.augment import Augmentation
from snnrepro.data.datamodule import EpochBatches
from snnrepro.data.image_files import READERS, Images, read_cifar10
from snnrepro.data.images import ImageDataModule
from snnrepro.errors import UserError

TRAIN, TEST = 503, 97


DIGITS = {"source": "digits", "image_shape": [1, 8, 8], "num_classes": 10, "num_steps": 4, "pixel_max": 16.0}
DIGITS |= {"batch_size": 64, "num_workers": 0}


def module(augmentation=None, protocol="validated", seed=0, data_dir="", **options) -> ImageDataModule:
    made = ImageDataModule(data_dir, "", protocol, seed, augmentation or Augmentation(), **DIGITS | options)
    made.setup()
    return made


def complaint(**options) -> str:
    with pytest.raises(UserError) as caught:
        module(**options)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.fixture
def numbered(monkeypatch):
    """Images whose first two pixels hold their number, in place of the digits; unbalanced classes."""

    def images(first: int, count: int):
        x = np.zeros((count, 1, 8, 8), np.uint8)
        number = np.arange(first, first + count)
        x[:, 0, 0, 0], x[:, 0, 0, 1] = number // 256, number % 256
        return x, (number * number) % 10

    monkeypatch.setitem(READERS, "digits", lambda folder: Images(*images(0, TRAIN), *images(TRAIN, TEST)))


def numbers(x: Tensor) -> list[int]:
    return (x[0, :, 0, 0, 0].int() * 256 + x[0, :, 0, 0, 1].int()).tolist()


def seen(loader) -> list[int]:
    return [number for x, _ in loader for number in numbers(x)]


def epoch(made: ImageDataModule, number: int) -> list[tuple[Tensor, Tensor]]:
    loader = made.train_dataloader()
    loader.sampler.set_epoch(number)
    return list(loader)


def identical(first: list, second: list) -> bool:
    pairs = zip(first, second, strict=True)
    return all(torch.equal(a, b) for batch, other in pairs for a, b in zip(batch, other, strict=True))


def test_validated_splits_share_no_image_and_leave_none_out(numbered):
    made = module()
    train, validation, test = map(seen, (made.train_dataloader(), made.val_dataloader(), made.test_dataloader()))
    assert sorted(train + validation) == list(range(TRAIN))
    assert sorted(test) == list(range(TRAIN, TRAIN + TEST))
    assert len(validation) == pytest.approx(0.1 * TRAIN, abs=5)
    counts = {"train": len(train), "train_available": len(train), "validation": len(validation), "test": TEST}
    assert made.splits == counts


def test_every_label_stays_with_its_image(numbered):
    made = module(train_samples=200)
    for loader in (made.train_dataloader(), made.val_dataloader(), made.test_dataloader()):
        for x, y in loader:
            assert y.tolist() == [number * number % 10 for number in numbers(x)]
            assert y.dtype == torch.int64


def test_paper_protocol_trains_on_the_whole_train_set_and_looks_at_the_test_set_every_epoch(numbered):
    made = module(protocol="paper")
    assert sorted(seen(made.train_dataloader())) == list(range(TRAIN))
    assert seen(made.val_dataloader()) == seen(made.test_dataloader()) == list(range(TRAIN, TRAIN + TEST))
    assert made.splits == {"train": TRAIN, "train_available": TRAIN, "validation": 0, "test": TEST}


def test_validation_holds_a_tenth_of_every_class_of_the_digits():
    made = module()
    held_out = torch.cat([y for _, y in made.val_dataloader()]).bincount()
    rest = torch.cat([y for _, y in made.train_dataloader()]).bincount()
    assert (held_out - 0.1 * (held_out + rest)).abs().max() <= 0.5
    assert made.splits == {"train": 1295, "train_available": 1295, "validation": 143, "test": 359}


@pytest.mark.parametrize("protocol", ["validated", "paper"])
def test_train_samples_takes_a_balanced_nested_subset_and_leaves_the_other_splits_alone(numbered, protocol):
    whole, some, few = (module(protocol=protocol, train_samples=n, batch_size=30) for n in (None, 60, 30))
    chosen = [set(seen(made.train_dataloader())) for made in (few, some, whole)]
    assert chosen[0] < chosen[1] < chosen[2]
    classes = np.bincount([number * number % 10 for number in chosen[1]], minlength=10)
    assert classes.tolist() == [10, 10, 0, 0, 10, 10, 10, 0, 0, 10]  # the squares' last digits
    for loader in ("val_dataloader", "test_dataloader"):
        assert seen(getattr(some, loader)()) == seen(getattr(whole, loader)())
    assert some.splits == whole.splits | {"train": 60}


def test_split_depends_on_split_seed_and_not_on_the_seed_of_the_run(numbered):
    def split(**seeds):
        made = module(train_samples=100, **seeds)
        return sorted(seen(made.train_dataloader())), seen(made.val_dataloader())

    assert split(seed=0) == split(seed=1)
    train, validation = split(split_seed=1)
    assert train != split()[0]
    assert validation != split()[1]


def test_order_is_a_function_of_seed_and_epoch(numbered):
    def order(made, number):
        return [numbers(x) for x, _ in epoch(made, number)]

    orders = {(seed, number): order(module(seed=seed), number) for seed in (0, 1) for number in (0, 1, 2)}
    assert len({str(batches) for batches in orders.values()}) == 6
    again = module()
    assert all(order(again, number) == orders[0, number] for number in (2, 0, 1))


def test_every_sample_comes_once_an_epoch_in_batches_of_changing_company(numbered):
    made = module()
    first, second = (epoch(made, number) for number in (0, 1))
    for batches in (first, second):
        counted = [number for x, _ in batches for number in numbers(x)]
        assert len(set(counted)) == len(counted) == made.splits["train"]
        assert counted != sorted(counted)
    assert set(numbers(first[0][0])) != set(numbers(second[0][0]))


@pytest.mark.parametrize(("drop_last", "sizes"), [(False, [150, 150, 103]), (True, [150, 150])])
def test_partial_last_batch_is_kept_or_dropped_in_training_only(numbered, drop_last, sizes):
    made = module(batch_size=150, train_samples=403, drop_last=drop_last)
    loader = made.train_dataloader()
    assert [len(y) for _, y in loader] == sizes
    assert len(loader) == len(sizes)
    held_out = made.splits["validation"]
    assert [(len(split), len(seen(split))) for split in (made.val_dataloader(), made.test_dataloader())] == [
        (1, held_out),
        (1, TEST),
    ]


@pytest.mark.parametrize("protocol", ["validated", "paper"])
@pytest.mark.parametrize("drop_last", [False, True])
def test_partial_last_batch_of_the_test_set_is_dropped_where_told_and_never_of_a_validation_set(protocol, drop_last):
    made = module(batch_size=100, protocol=protocol, drop_last_test=drop_last)  # 359 test samples, 143 for validation
    sizes = [len(y) for _, y in made.test_dataloader()]
    assert sizes == [100, 100, 100, *([] if drop_last else [59])]
    each_epoch = [len(y) for _, y in made.val_dataloader()]
    assert each_epoch == (sizes if protocol == "paper" else [100, 43])


def test_a_batch_larger_than_the_test_set_cannot_be_dropped():
    assert "drop_last_test=true and dataset.batch_size=400 leave none of the 359" in complaint(
        batch_size=400, drop_last_test=True
    )


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("size", [1, 5, 6, 7, 12])
def test_number_of_batches_is_what_iterating_gives(size, drop_last):
    batches = EpochBatches(size, 6, shuffle=True, drop_last=drop_last, seed=0)
    given = [which for which, _ in batches]
    assert len(given) == len(batches) == (size // 6 if drop_last else -(-size // 6))
    assert len(torch.cat(given)) if given else size < 6


def test_draws_have_a_seed_of_their_own_for_every_batch_epoch_and_run():
    seeds = []
    for seed in (0, 1):
        batches = EpochBatches(100, 10, shuffle=True, drop_last=False, seed=seed)
        for number in (0, 1):
            batches.set_epoch(number)
            seeds += [draw for _, draw in batches]
    assert len(set(seeds)) == 40


def test_training_images_are_augmented_in_the_loader_by_a_function_of_seed_and_epoch():
    augmented = module(Augmentation(flip=0.5))
    plain, first, later = epoch(module(), 0), epoch(augmented, 0), epoch(augmented, 1)
    assert identical(first, epoch(module(Augmentation(flip=0.5)), 0))
    # The order is that of the plain loader, so that images compare one by one.
    flips = torch.cat([(x != y).flatten(2).any(2)[0] for (x, _), (y, _) in zip(plain, first, strict=True)])
    assert 0.4 < flips.float().mean() < 0.6
    assert not identical(first, later)
    for split in ("val_dataloader", "test_dataloader"):
        assert identical(list(getattr(augmented, split)()), list(getattr(module(), split)()))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork", "ignore:This DataLoader will create")
def test_two_loader_processes_yield_exactly_the_batches_of_none():
    augmentation = Augmentation(flip=0.5, policy="trivial_augment_wide")
    options = {"augmentation": augmentation, "batch_size": 100, "train_samples": 350, "protocol": "paper"}
    alone, shared = (module(num_workers=workers, **options) for workers in (0, 2))
    loader = shared.train_dataloader()
    assert loader.num_workers == 2
    for number in (0, 1):
        loader.sampler.set_epoch(number)
        assert identical(list(loader), epoch(alone, number))


def test_fetching_batches_leaves_the_global_generators_alone():
    batches = iter(module(Augmentation(flip=0.5, policy="trivial_augment_wide"), train_samples=64).train_dataloader())
    torch.manual_seed(5)
    before, before_numpy = torch.get_rng_state(), np.random.get_state()[1].tolist()
    list(batches)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.random.get_state()[1].tolist() == before_numpy


def test_fetching_batches_does_not_seed_the_generators_of_gpus(monkeypatch):
    seeds = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeds.append)
    list(module(Augmentation(flip=0.5)).train_dataloader())
    assert seeds == []


def test_beginning_an_epoch_leaves_the_global_generator_alone():
    loaders = [module().train_dataloader(), module().val_dataloader()]
    before = torch.get_rng_state()
    for loader in loaders:
        iter(loader)
    assert torch.equal(torch.get_rng_state(), before)


def test_order_does_not_depend_on_the_global_generator(numbered):
    orders = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        orders.append(seen(module().train_dataloader()))
    assert orders[0] == orders[1]


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (2, 1), (4, 3), (64, 8)])
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
def test_loader_processes_are_as_told_or_one_a_spare_core_where_images_cost_work(monkeypatch, cores, workers):
    monkeypatch.setattr("snnrepro.data.datamodule.usable_cores", lambda: cores)
    costly, cheap = Augmentation(policy="trivial_augment_wide"), Augmentation(flip=0.5)
    made = module(costly, num_workers=None)
    loaders = (made.train_dataloader(), made.val_dataloader(), made.test_dataloader())
    assert [loader.num_workers for loader in loaders] == [workers, 0, 0]
    assert module(cheap, num_workers=None).train_dataloader().num_workers == 0
    assert module(cheap, num_workers=2).train_dataloader().num_workers == 2


class Watcher(L.LightningModule):
    """Notes the images' numbers and the labels' shapes that Lightning hands on; learns nothing."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.epochs: dict[int, list] = {}
        self.held_out: list = []

    def training_step(self, batch, index):
        x, y = batch
        self.epochs.setdefault(self.current_epoch, []).append((x.shape, y.shape, numbers(x * 16)))
        return self.weight * x.sum()

    def validation_step(self, batch, index):
        self.held_out += numbers(batch[0] * 16)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*isinstance.treespec, LeafSpec")
def test_lightning_hands_on_the_order_of_each_epoch_and_the_held_out_images(numbered, tmp_path):
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    watcher, made = Watcher(), module(num_steps=3)
    trainer = L.Trainer(accelerator="cpu", max_epochs=2, default_root_dir=tmp_path, num_sanity_val_steps=0, **quiet)
    trainer.fit(watcher, datamodule=made)
    for number in (0, 1):
        assert [order for _, _, order in watcher.epochs[number]] == [numbers(x) for x, _ in epoch(module(), number)]
        x, y, _ = watcher.epochs[number][0]
        assert (x, y) == ((3, 64, 1, 8, 8), (64,))
    assert watcher.held_out == seen(made.val_dataloader()) * 2


def test_batch_is_uint8_with_one_step_and_prepare_shows_it_at_every_step_as_a_view():
    made = module()
    x, y = next(iter(made.train_dataloader()))
    assert (x.shape, x.dtype, y.shape) == ((1, 64, 1, 8, 8), torch.uint8, (64,))
    before = x.clone()
    shown, labels = made.prepare(x, y, training=True)
    assert (shown.shape, shown.dtype, shown.stride(0)) == ((4, 64, 1, 8, 8), torch.float32, 0)
    assert shown.untyped_storage().nbytes() == 64 * 64 * 4
    assert torch.equal(x, before)
    assert torch.equal(labels, y)
    assert (made.num_steps, made.input_shape, made.num_classes) == (4, (1, 8, 8), 10)


def test_columns_shows_one_column_a_step_from_left_to_right(monkeypatch):
    x, y = np.arange(12 * 60, dtype=np.uint8).reshape(12, 3, 4, 5), np.zeros(12, np.int64)
    monkeypatch.setitem(READERS, "cifar10", lambda folder: Images(x, y, x, y))
    options = {"source": "cifar10", "image_shape": [3, 4, 5], "batch_size": 6, "protocol": "paper"}
    made = module(encoding="columns", num_steps=5, **options)
    shown, _ = made.prepare(*next(iter(made.test_dataloader())), training=False)
    assert (shown.shape, made.input_shape) == ((5, 6, 3, 4), (3, 4))
    for t in range(5):
        np.testing.assert_allclose(shown[t] * 16, x[:6, :, :, t])
    assert "5 steps" in complaint(encoding="columns", num_steps=4, **options)


@pytest.mark.parametrize(("means", "deviations"), [([0.5, 0.25, 0.0], [0.25, 0.5, 2.0]), ([0.5], [0.25])])
def test_pixels_are_divided_by_pixel_max_then_normalised_for_each_channel(monkeypatch, means, deviations):
    x = np.arange(12 * 3 * 4 * 5, dtype=np.uint8).reshape(12, 3, 4, 5)
    y = np.zeros(12, np.int64)
    monkeypatch.setitem(READERS, "cifar10", lambda folder: Images(x, y, x, y))
    options = {"source": "cifar10", "image_shape": [3, 4, 5], "pixel_max": 200.0, "batch_size": 4, "protocol": "paper"}
    made = module(mean=means, std=deviations, **options)
    shown, _ = made.prepare(*next(iter(made.test_dataloader())), training=False)
    for c in range(3):
        mean, deviation = means[c % len(means)], deviations[c % len(means)]
        by_hand = (x[:4, c].astype(np.float64) / 200 - mean) / deviation
        np.testing.assert_allclose(shown[2, :, c].numpy(), by_hand, atol=1e-6)


def test_real_cifar10_comes_column_by_column_and_normalised(real_data):
    folder = real_data("cifar10")
    channels = {"mean": [0.4914, 0.4822, 0.4465], "std": [0.2023, 0.1994, 0.2010], "pixel_max": 255.0}
    shape = {"image_shape": [3, 32, 32], "encoding": "columns", "num_steps": 32, "batch_size": 16}
    made = module(source="cifar10", data_dir=str(folder), **channels, **shape)
    assert made.splits == {"train": 45_000, "train_available": 45_000, "validation": 5_000, "test": 10_000}
    shown, y = made.prepare(*next(iter(made.test_dataloader())), training=False)
    raw = read_cifar10(folder)
    assert shown.shape == (32, 16, 3, 32)
    assert y.tolist() == raw.test_y[:16].tolist()
    mean, std = (np.array(channels[name])[:, None] for name in ("mean", "std"))
    for t in (0, 1, 15, 31):
        by_hand = (raw.test_x[:16, :, :, t] / 255 - mean) / std
        np.testing.assert_allclose(shown[t].numpy(), by_hand, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_batch_on_the_device_is_mixed_while_training_only(training):
    made = module(Augmentation(mixup_alpha=1.0))
    progress = SimpleNamespace(epoch_progress=SimpleNamespace(current=SimpleNamespace(processed=0)))
    made.trainer = SimpleNamespace(training=training, global_step=0, current_epoch=0, fit_loop=progress)
    batch = next(iter(made.train_dataloader()))
    x, y = made.on_after_batch_transfer(made.on_before_batch_transfer(batch, 0), 0)
    assert x.shape == (4, 64, 1, 8, 8)
    assert y.shape == ((64, 10) if training else (64,))


def test_setup_reads_the_files_once(monkeypatch):
    calls = []
    read = READERS["digits"]
    monkeypatch.setitem(images_module.READERS, "digits", lambda folder: calls.append(folder) or read(folder))
    made = module(data_dir="~/somewhere")
    made.setup("test")
    assert calls == [Path("~/somewhere").expanduser()]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 1296}, ["batch_size=1296", "1,295"]),
        ({"batch_size": 51, "train_samples": 50}, ["batch_size=51", "50"]),
        ({"batch_size": 0}, ["batch_size", "0"]),
        ({"train_samples": 1296}, ["train_samples=1296", "1,295"]),
        ({"train_samples": 1439, "protocol": "paper"}, ["train_samples=1439", "1,438"]),
        ({"train_samples": 0}, ["0"]),
        ({"validation_fraction": 0.0}, ["0"]),
        ({"validation_fraction": 1.0}, ["1"]),
        ({"encoding": "columns", "num_steps": 4}, ["num_steps=4", "8"]),
        ({"num_steps": 0}, ["num_steps", "0"]),
        ({"pixel_max": 0.0}, ["pixel_max", "0"]),
        ({"epochs": 0}, ["epochs", "0"]),
        ({"image_shape": [8, 8]}, ["image_shape", "[8, 8]"]),
        ({"image_shape": [3, 8, 8]}, ["digits", "(1, 8, 8)", "(3, 8, 8)"]),
        ({"image_shape": [1, 8, 9]}, ["digits", "(1, 8, 8)", "(1, 8, 9)"]),
        ({"source": "mnist", "data_dir": "nowhere"}, ["mnist", "nowhere", "python train.py dataset=mnist"]),
    ],
    ids=lambda value: ",".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else "",
)
def test_size_that_does_not_fit_is_refused_in_one_line_with_its_numbers(options, words):
    message = complaint(**options)
    assert all(word in message for word in words)


def test_fewer_classes_than_the_labels_have_are_refused():
    complaint(num_classes=5)


@pytest.mark.parametrize("options", [{"mean": [0.1, 0.2, 0.3]}, {"std": [1.0, 1.0, 1.0]}, {"std": [0.0]}], ids=str)
def test_mean_and_std_that_do_not_fit_the_channels_are_refused(options):
    complaint(**options)
