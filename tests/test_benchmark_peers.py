"""scripts/benchmark.py peers: rows with all columns, the bars' arithmetic, its checks and its answers to bad input."""

import argparse
import csv
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from snnrepro.metrics import baselines, speed
from snnrepro.neurons import LIF, PLIF, PSN, Block, LIFSingleSpike, load_spikingjelly

ROOT = Path(__file__).resolve().parents[1]
CPU = torch.device("cpu")
PNG = b"\x89PNG"
TINY = ("--steps", "4", "--sizes", "12", "--repeats", "1")


@pytest.fixture
def peers(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import benchmark_peers

    return benchmark_peers


@pytest.fixture
def forms(peers):
    import peers_forms

    return peers_forms


@pytest.fixture
def bars(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import peers_bars

    return peers_bars


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open() as stream:
        return list(csv.DictReader(stream))


ALWAYS = ("own", "neuron", "kernel", "peer", "pass", "T", "N", "batch", "dtype", "device_type", "value", "checked")


def assert_complete(row: dict[str, object]) -> None:
    assert all(row[name] not in (None, "") for name in ALWAYS), row
    assert str(row["checked"]) == "True"
    if row["section"] != "memory":
        assert float(row["speedup_low"]) <= float(row["speedup"]) <= float(row["speedup_high"])
        assert float(row["speedup"]) == pytest.approx(float(row["baseline_seconds"]) / float(row["seconds"]), rel=1e-4)
        assert int(row["repeats"]) >= 1


def test_neurons_memory_and_snntorch_write_complete_rows_a_picture_and_a_line_for_each_bar(
    tmp_path, script, peers, monkeypatch
):
    pytest.importorskip("spikingjelly")
    pytest.importorskip("snntorch")
    monkeypatch.setattr(peers, "LEAST_ELEMENTS", 40 * 12)
    words = ["--only", "memory", "neurons", "snntorch", "--steps", "4", "40", "--sizes", "12", "--repeats", "1"]
    done = script("benchmark.py", "peers", *words, "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path / "peers_cpu.csv")
    for row in rows:
        assert_complete(row)
        assert row["peer_version"]
        assert row["threads"]
        assert row["commit"]
    orders = {("4", 2), ("40", 2), ("40", 8), ("40", 32)}
    of_spikingjelly = {
        *((name, t) for name in ("psn", "masked_psn k=T", "masked_psn k<=32", "lif", "plif") for t in ("4", "40")),
        *((f"sliding_psn k={order}", t) for t, order in orders),
    }
    # Peak memory is of one pass and of the larger cells, times are of two.
    assert sorted((row["section"], row["own"], row["T"]) for row in rows) == sorted(
        [
            *(2 * [("neurons", name, t) for name, t in of_spikingjelly]),
            *(("memory", name, t) for name, t in of_spikingjelly if t == "40"),
            *(2 * [("snntorch", name, t) for name in ("lif", "plif") for t in ("4", "40")]),
        ]
    )
    for row in rows:
        if row["section"] == "memory":
            assert float(row["value"]) == pytest.approx(int(row["bytes"]) / int(row["baseline_bytes"]), rel=1e-4)
            assert int(row["bytes"]) >= 4 * int(row["T"]) * int(row["N"])
    assert (tmp_path / "peers_cpu.png").read_bytes().startswith(PNG)
    lines = [line for line in done.stdout.splitlines() if line.startswith("│")]
    assert len(lines) == 9
    assert all(line.split("│")[-2].strip() in ("yes", "no") for line in lines)
    pairs = len(of_spikingjelly) + 4
    assert f"equality check: {pairs} of {pairs} comparisons passed" in done.stdout


def test_other_dtypes_run_and_are_checked_in_fp32(tmp_path, script, peers):
    pytest.importorskip("spikingjelly")
    words = ["--only", "neurons", "--dtypes", "bfloat16", "float64", *TINY, "--out", str(tmp_path)]
    assert script("benchmark.py", "peers", *words).returncode == 0
    rows = rows_of(tmp_path / "peers_cpu.csv")
    assert {row["dtype"] for row in rows} == {"bfloat16", "float64"}
    assert all(row["checked"] == "True" and row["seconds"] for row in rows)


def test_cost_and_block_write_complete_rows(tmp_path, script, forms, monkeypatch):
    monkeypatch.setattr(forms, "COST_SHAPES", ((16, 4), (4, 16)))
    monkeypatch.setattr(forms, "DENSE_SHAPE", (20, 3))
    monkeypatch.setattr(forms, "BLOCK_STEPS", (3, 6))
    monkeypatch.setattr(forms, "BLOCK_SIZES", (5, 7))
    monkeypatch.setattr(forms, "BLOCK_BATCHES", (2,))
    monkeypatch.setattr(forms, "MOST_ELEMENTS", 6 * 5 * 2)
    monkeypatch.setattr(forms, "MOST_CONVOLVED", 3 * 3 * 7 * 2)
    done = script("benchmark.py", "peers", "--only", "cost", "block", "--repeats", "1", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == [
        "left out: block: 1 of 4 cells of the paper's grid, too large without --full",
        "left out: block: the convolution in 1 of 3 cells, seconds a pass or more",
    ]
    rows = rows_of(tmp_path / "peers_cpu.csv")
    for row in rows:
        assert_complete(row)
    assert [(row["own"], row["peer"]) for row in rows if row["section"] == "cost"] == [
        *((name, "itself, short") for name in ("psu", "lif_no_reset", "block", "spsn")),
        ("psu", "T x T product"),
    ]
    for row in rows:
        inverse = row["peer"] == "itself, short"
        assert float(row["value"]) == pytest.approx(float(row["speedup"]) ** (-1 if inverse else 1), rel=1e-4)
    cells = [(row["peer"], row["T"], row["N"]) for row in rows if row["section"] == "block"]
    convolved = [("convolution", "3", "5"), ("convolution", "3", "7")]
    assert sorted(cells) == sorted(2 * [*convolved, ("loop", "3", "5"), ("loop", "3", "7"), ("loop", "6", "5")])
    assert (tmp_path / "peers_block_cpu.png").read_bytes().startswith(PNG)


def test_a_network_with_spikingjellys_neurons_gives_the_same_logits_and_trains(forms, monkeypatch):
    pytest.importorskip("spikingjelly")
    monkeypatch.setattr(forms, "NETWORK", ("dataset=digits",))
    monkeypatch.setattr(forms, "NETWORK_BATCH", 8)
    (row,) = forms.network_cell("lif", "cpu", 1)
    assert_complete(row)
    assert (row["own"], row["peer"], row["batch"]) == ("lif", "spikingjelly", 8)
    words = ["dataset=digits", "neuron=psn"]
    own, other = (forms.Network(words, "cpu", 8) for _ in range(2))
    forms.swap_neurons(own, other, words)
    other.x, other.y = own.x, own.y
    assert forms.step_alike(own, other)
    before = {name: value.clone() for name, value in other.network.named_parameters()}
    other.train()
    assert sum("node.weight" in name for name in before) == len(own.neurons)
    assert all(not torch.equal(value, before[name]) for name, value in other.network.named_parameters())
    assert not forms.step_alike(own, other)  # trained one step on


def made(section: str, value: float | None, **more: object) -> dict[str, object]:
    cell = {"own": more.get("neuron"), "pass": "forward", "T": 4, "N": 8, "batch": 1, "dtype": "float32"}
    return {"section": section, "value": value, "checked": value is not None, "peer": "spikingjelly"} | cell | more


def test_a_bar_takes_the_geometric_mean_or_every_cell(bars):
    rows = [made("neurons", value, neuron="psn") for value in (1.0, 2.0, 4.0)]
    mean = bars.verdict(bars.Bar("mean", "neurons", ">=", 2.0, every=False, of={"neuron": "psn"}), rows)
    assert mean.mean == pytest.approx(2.0)
    assert (mean.worst, mean.short, mean.cells) == (rows[0], 1, 3)
    every = bars.Bar("every", "neurons", ">", 1.0, every=True)
    assert bars.verdict(every, rows).met is False
    assert bars.verdict(every, rows[1:]).met is True
    most = bars.verdict(bars.Bar("cost", "neurons", "<=", 4.0, every=True), rows)
    assert (most.worst, most.short, most.met) == (rows[2], 0, True)
    least = bars.Bar("mean", "neurons", ">=", 1.99, every=False)
    assert bars.verdict(least, rows).met is True
    assert bars.verdict(least._replace(wanted=2.01), rows).met is False


def test_a_failed_check_is_short_and_keeps_a_bar_from_being_met(bars):
    rows = [made("neurons", 100.0, neuron="psn"), made("neurons", None, neuron="psn", T=16)]
    for every in (True, False):
        found = bars.verdict(bars.Bar("a", "neurons", ">=", 1.0, every=every), rows)
        assert (found.met, found.short, found.cells) == (False, 1, 2)
        assert bars.verdict(bars.Bar("a", "neurons", ">=", 1.0, every=every), rows[1:]).met is False
    assert bars.gate_line(rows).startswith("equality check: 1 of 2 comparisons passed; without times, and so not met: ")
    assert "psn / spikingjelly at T=16, N=8" in bars.gate_line(rows)


def test_the_table_has_a_line_for_each_bar_of_the_sections_with_rows(bars):
    rows = [made("neurons", 2.0, neuron="psn"), made("network", 1.2, neuron="psn", **{"pass": "training step"})]
    lines = {line["bar"]: line for line in bars.bar_lines(rows)}
    assert len(lines) == 6 + 2
    assert lines["psn / spikingjelly"]["met"] == lines["training, psn / spikingjelly"]["met"] == "yes"
    assert lines["lif / spikingjelly"]["met"] == "not measured"
    assert lines["psn / spikingjelly"]["worst cell"] == "2: psn fwd T=4 N=8"
    assert {bar.section for bar in bars.BARS} == set(bars.SECTIONS)


@pytest.mark.parametrize(
    ("section", "package"),
    [("snntorch", "snntorch==1.0.0"), ("network", "spikingjelly==2.0.0"), ("memory", "spikingjelly==2.0.0")],
)
def test_a_peer_that_is_not_installed_is_one_line_with_the_command(section, package, tmp_path, script, monkeypatch):
    monkeypatch.setattr(baselines, "installed", lambda name: False)
    done = script("benchmark.py", "peers", "--only", section, "--out", str(tmp_path))
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"skipped: {section}: ")
    assert f"pip install --no-deps {package}" in line
    assert not list(tmp_path.glob("*.csv"))


def test_what_was_measured_before_an_interrupt_is_kept(tmp_path, script, forms, monkeypatch):
    def interrupted(*_: object) -> list[dict[str, object]]:
        raise KeyboardInterrupt

    monkeypatch.setattr(forms, "COST_SHAPES", ((16, 4), (4, 16)))
    monkeypatch.setattr(forms, "dense_cell", interrupted)
    done = script("benchmark.py", "peers", "--only", "cost", "--repeats", "1", "--out", str(tmp_path))
    assert done.returncode == 130
    partial = tmp_path / "peers_cpu.partial"
    assert done.stderr.splitlines()[-1] == f"stopped: 4 rows so far are in {partial}"
    assert len(rows_of(partial)) == 4
    assert not (tmp_path / "peers_cpu.csv").exists()


@pytest.mark.parametrize("beta", [0.0, 0.9, 1.0])
def test_the_convolutions_are_the_block(beta):
    torch.manual_seed(0)
    block = Block(num_features=6, beta=beta).double()
    written = baselines.BlockConvolution(block)
    x = torch.randn(30, 4, 6, dtype=torch.float64)
    assert block(x).sum() > 0
    assert baselines.trains_alike(block, written, x, tolerance=1e-9)
    loop = LIFSingleSpike(num_features=6, beta=beta, backend="reference").double()
    assert torch.equal(block(x), loop(x))


class Off(nn.Module):
    """A PSN with another bias, or whose gradient is another."""

    def __init__(self, like: PSN, bias: float, scale: float) -> None:
        super().__init__()
        self.psn = PSN(like.num_steps)
        self.psn.load_state_dict(like.state_dict())
        with torch.no_grad():
            self.psn.bias += bias
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        s = self.psn(x)
        return s.detach() + self.scale * (s - s.detach())


def test_alike_in_training_means_spikes_and_gradients():
    torch.manual_seed(0)
    psn, x = PSN(8), torch.randn(8, 1, 50)
    assert baselines.trains_alike(psn, Off(psn, 0.0, 1.0), x)
    assert not baselines.trains_alike(psn, Off(psn, 0.5, 1.0), x)
    assert not baselines.trains_alike(psn, Off(psn, 0.0, 1.1), x)


@pytest.mark.parametrize("neuron", [LIF(tau=3.0), PLIF(), PLIF(tau=4.0, reset="hard"), PSN(12)], ids=str)
def test_spikingjellys_neurons_train_alike(neuron):
    pytest.importorskip("spikingjelly")
    twin = baselines.spikingjelly_of(neuron)
    if list(neuron.parameters()):
        load_spikingjelly(neuron, twin.module.node)
    assert baselines.trains_alike(neuron, twin.module, torch.randn(12, 2, 40))


def test_a_comparison_that_fails_its_check_has_rows_without_times(peers, monkeypatch):
    pytest.importorskip("spikingjelly")
    monkeypatch.setattr(baselines, "trains_alike", lambda *_: False)
    rows = peers.spikingjelly_cell("float32", 4, 8, peers.KINDS[0], {"neurons", "memory"}, CPU, 1)
    assert len(rows) == 3
    assert all(row["checked"] is False and row["value"] is row["seconds"] is row["bytes"] is None for row in rows)


def test_a_side_that_cannot_run_has_rows_without_times_and_is_said(peers, monkeypatch, capsys):
    pytest.importorskip("snntorch")

    def fails(*_: object) -> bool:
        raise RuntimeError('"addmm" not implemented for Half')

    monkeypatch.setattr(baselines, "agrees", fails)
    rows = peers.snntorch_cell("float16", 4, 8, peers.RESETTING[0], CPU, 1)
    assert [(row["pass"], row["checked"], row["value"]) for row in rows] == [
        ("forward", False, None),
        ("forward_backward", False, None),
    ]
    assert 'failed: lif / snntorch at T = 4, N = 8 in float16: "addmm" not' in capsys.readouterr().err


def test_peak_memory_counts_what_lives_at_once(peers):
    def run() -> torch.Tensor:
        for _ in range(3):
            first = torch.empty(1000)
            second = torch.empty(500)
            del first
        return second

    run()
    assert peers.peak_allocated(run, CPU) == 4000 + 2000 + 2000  # one round's second lives until the next's is made
    assert peers.peak_allocated(lambda: None, CPU) == 0


def test_rounds_are_odd_at_least_three_and_no_more_than_asked():
    assert [speed.rounds_within(1.0, seconds, 25) for seconds in (1e-6, 0.1, 0.101, 0.125, 0.5, 9.0)] == [
        *(25, 9, 9, 7, 3, 3),
    ]
    assert speed.rounds_within(1.0, 9.0, 1) == 1
    calls: list[str] = []
    seconds = speed.interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, CPU, 4, 0.0)
    assert calls == ["a", "b"] * 4  # one of warm-up, then three
    assert len(seconds["a"]) == len(seconds["b"]) == 3


BAD = {
    "unknown section": (["--only", "neuron"], "neuron"),
    "unknown dtype": (["--dtypes", "float31"], "float31"),
    "unknown device": (["--device", "tpu"], "tpu"),
    "size 0": (["--sizes", "0"], "must be a whole number above 0, got '0'"),
    "repeats in words": (["--repeats", "few"], "must be a whole number above 0, got 'few'"),
    "unknown option": (["--neurons", "psn"], "--neurons"),
}


@pytest.mark.parametrize(("words", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_one_line(words, message, tmp_path, script):
    done = script("benchmark.py", "peers", *words, "--out", str(tmp_path))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert not list(tmp_path.glob("*.csv"))


def test_help_says_what_the_sections_are(script, bars):
    done = script("benchmark.py", "peers", "--help")
    assert done.returncode == 0
    for word in (*bars.SECTIONS, "--full", "--only"):
        assert word in done.stdout


def test_arguments_are_read_without_torch_being_imported():
    script = "import sys; sys.path.insert(0, sys.argv[1]); import benchmark; sys.exit('torch' in sys.modules)"
    import subprocess

    done = subprocess.run([sys.executable, "-c", script, str(ROOT / "scripts")], check=False)
    assert done.returncode == 0


def test_sections_need_only_their_own_peers(peers, forms, monkeypatch, capsys):
    monkeypatch.setattr(baselines, "installed", lambda name: name != "snntorch")
    arguments = argparse.Namespace(
        only=None, device="cpu", dtypes=["float32"], steps=[4], sizes=[8], repeats=1, full=False
    )
    _, words, _ = peers.peers(arguments)
    assert words.endswith(" cells of neurons, cost, block, memory, network, floor")
    assert "skipped: snntorch" in capsys.readouterr().err


def test_floor_rows_say_what_the_fewest_bytes_and_products_would_take(peers, monkeypatch):
    import peers_floor as floor

    monkeypatch.setattr(floor, "MATRIX", 16)
    rows = {(row["own"], row["pass"], row["peer"]): row for name in floor.NEURONS for row in cells(floor, name)}
    assert {row["checked"] for row in rows.values()} == {True}
    assert rows["lif", "forward", "copy"]["bytes"] == 8 * 16 * 32
    assert rows["lif", "forward_backward", "copy"]["bytes"] == 20 * 16 * 32
    multiplied = {own for own, _, peer in rows if peer == "product"}
    assert multiplied == {"psn", "masked_psn", "ipsu", "rpsu"}
    for row in rows.values():
        assert row["value"] == pytest.approx(row["baseline_seconds"] / row["seconds"])


def test_a_floor_whose_kernel_fails_its_check_has_no_times(peers, monkeypatch):
    import peers_floor as floor

    monkeypatch.setattr(floor, "passes_check", lambda *_: False)
    rows = cells(floor, "psn")
    assert [(row["peer"], row["checked"], row["seconds"], row["value"]) for row in rows] == [
        (peer, False, None, None) for _ in floor.MOVED for peer in ("copy", "copy to new memory", "product")
    ]


def cells(floor, name):
    return floor.floor_cell(name, 16, 32, torch.device("cpu"), 1)
