"""Checkpoints: written whole or not at all, damage is noticed, no code in them is run, the previous one is there."""

import contextlib
import csv
import io
import os
import pickle
import random
import signal
import zipfile

import pytest
import torch

from snnrepro import stopping
from snnrepro.jobs.signals import StopSignals
from snnrepro.training import checkpoints
from snnrepro.training.checkpoints import Checkpoints, DamagedCheckpointError, read, write

WORDS = ["trainer.max_epochs=4", "architecture.hidden=[32]", "dataset.train_samples=256", "trainer.progress_bar=false"]


def state(value: float = 1.0) -> dict:
    return {"epoch": 3, "state_dict": {"weight": torch.full((40, 40), value)}}


@pytest.fixture
def cut(train, tmp_path, monkeypatch):
    """A run that was interrupted after three of four epochs: its folder of checkpoints."""
    save, ended = Checkpoints.on_train_epoch_end, iter([1, 2])

    def interrupted(self, trainer, module):
        save(self, trainer, module)
        if next(ended, None) is None:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "on_train_epoch_end", interrupted)
        assert train(*WORDS)[0] == 130
    (folder,) = (tmp_path / "runs").rglob("checkpoints")
    assert {file.name for file in folder.iterdir()} == {"last.ckpt", "previous.ckpt", "best.ckpt"}
    assert (read(folder / "last.ckpt")["epoch"], read(folder / "previous.ckpt")["epoch"]) == (2, 1)
    return folder


def curves(folder):
    rows = csv.DictReader(next(folder.rglob("curves.csv")).read_text().splitlines())
    return [{**row, "seconds": ""} for row in rows]


def ends_like_an_unbroken_one(train, tmp_path) -> bool:
    whole = tmp_path / "whole"
    assert train(*WORDS, f"paths.runs_dir={whole}")[0] == 0
    names = ("last.ckpt", "best.ckpt")
    pairs = [[read(next(runs.rglob(name)))["state_dict"] for runs in (whole, tmp_path / "runs")] for name in names]
    equal = all(torch.equal(one[key], other[key]) for one, other in pairs for key in one)
    return equal and curves(whole) == curves(tmp_path / "runs")


def damage(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def test_a_damaged_checkpoint_is_named_and_the_run_goes_on_from_the_one_before_to_the_same_end(train, tmp_path, cut):
    damage(cut / "last.ckpt")
    code, out, err = train(*WORDS)
    assert code == 0
    assert err.count("\n") == 1
    assert f"warning: the checkpoint {cut / 'last.ckpt'} is damaged" in err
    assert "trying previous.ckpt, the one before" in err
    assert "epoch 3/4" in out
    assert "epoch 2/4" not in out
    assert ends_like_an_unbroken_one(train, tmp_path)


@pytest.mark.parametrize("names", [["last.ckpt", "previous.ckpt"], ["best.ckpt"]])
def test_where_nothing_is_whole_the_run_starts_again_and_says_so(train, tmp_path, cut, names):
    for name in names:
        (cut / name).write_bytes((cut / name).read_bytes()[:-1000])
    code, out, err = train(*WORDS)
    assert code == 0
    assert err.count("\n") == 2
    assert "starting again at the first epoch" in err
    assert "epoch 1/4" in out
    assert ends_like_an_unbroken_one(train, tmp_path)


def test_a_best_epoch_that_will_be_trained_again_need_not_fit_the_checkpoint(train, tmp_path, cut):
    """Killed between the two writes of an epoch: best.ckpt is already of the next one."""
    best = read(cut / "best.ckpt")
    (cut / "last.ckpt").unlink()  # the previous one, of epoch 2, is left
    write({**best, "epoch": 2}, cut / "best.ckpt")
    code, _, err = train(*WORDS)
    assert (code, err) == (0, "")
    assert ends_like_an_unbroken_one(train, tmp_path)


def test_a_checkpoint_of_other_code_is_one_line(train, cut):
    saved = read(cut / "last.ckpt")
    saved["state_dict"]["network.linear1.weight"] = torch.zeros(3, 3)
    write(saved, cut / "last.ckpt")
    code, _, err = train(*WORDS)
    assert code == 1
    assert err.count("\n") == 1
    assert "is of other code: overwrite=true starts afresh" in err


def test_no_flipped_byte_of_a_checkpoint_gives_other_values(tmp_path):
    file = tmp_path / "x.ckpt"
    write(state(), file)
    whole = file.read_bytes()
    draw, noticed = random.Random(0), 0
    for _ in range(300):
        changed = bytearray(whole)
        changed[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        file.write_bytes(changed)
        try:
            assert torch.equal(read(file)["state_dict"]["weight"], state()["state_dict"]["weight"])
        except DamagedCheckpointError:
            noticed += 1
    assert noticed > 200


@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_a_truncated_checkpoint_is_noticed(tmp_path, keep):
    file = tmp_path / "x.ckpt"
    write(state(), file)
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(DamagedCheckpointError):
        read(file)


class Code:
    """Unpickles by making a folder."""

    def __init__(self, folder) -> None:
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("form", ["zip", "plain"])
def test_code_in_a_checkpoint_is_not_run(tmp_path, form):
    file, made = tmp_path / "x.ckpt", tmp_path / "made"
    content = {"epoch": 0, "state_dict": {}, "code": Code(made)}
    if form == "zip":
        torch.save(content, file)
        assert zipfile.is_zipfile(file)
    else:
        file.write_bytes(pickle.dumps(content))
    with pytest.raises(DamagedCheckpointError):
        read(file)
    assert not made.exists()
    torch.load(file, weights_only=False) if form == "zip" else pickle.loads(file.read_bytes())
    assert made.exists()  # it would have been


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    file = tmp_path / "x.ckpt"
    write(state(1.0), file)

    def fails(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="No space left"):
        write(state(2.0), file, keep=tmp_path / "previous.ckpt")
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.ckpt"]
    assert read(file)["state_dict"]["weight"][0, 0] == 1


def test_what_the_disk_returns_otherwise_than_written_gets_no_name(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "save", lambda saved, stream: stream.write(b"something else"))
    with pytest.raises(OSError, match="just written and is damaged"):
        write(state(), tmp_path / "x.ckpt")
    assert not list(tmp_path.iterdir())


def test_the_previous_checkpoint_is_kept(tmp_path):
    file, previous = tmp_path / checkpoints.LAST, tmp_path / checkpoints.PREVIOUS
    for value in (1.0, 2.0, 3.0):
        write(state(value), file, keep=previous)
    assert [read(f)["state_dict"]["weight"][0, 0] for f in (file, previous)] == [3, 2]


@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM", "SIGTERM while a batch waits for it"])
def test_a_stop_in_the_middle_of_writing_comes_after_it(how, tmp_path, monkeypatch):
    """It would cut torch.save short, whose error then says that the disk is full."""

    class Interrupting(io.BufferedIOBase):
        def __init__(self, stream):
            self.stream = stream

        def write(self, data):
            if not self.stream.tell():
                signal.raise_signal(signal.SIGINT if how == "Ctrl-C" else signal.SIGTERM)
            return self.stream.write(data)

        def flush(self):
            self.stream.flush()

    save = torch.save
    monkeypatch.setattr(torch, "save", lambda saved, stream: save(saved, Interrupting(stream)))
    with stopping.alone(), StopSignals():
        waiting = how.endswith("waits for it")
        stopping.wait(waiting)
        with contextlib.nullcontext() if waiting else pytest.raises(KeyboardInterrupt):
            write(state(2.0), tmp_path / "last.ckpt")
        assert stopping.asked() is (how != "Ctrl-C")
    assert torch.equal(read(tmp_path / "last.ckpt")["state_dict"]["weight"], torch.full((40, 40), 2.0))
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
