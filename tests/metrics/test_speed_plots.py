"""Pictures of the speed benchmarks: which rows they show, and that failed checks leave a hole, not a crash."""

import pytest

from snnrepro.metrics import speed_plots
from snnrepro.metrics.speed_plots import layer_maps, neuron_maps, power_of_two, short

CONDITIONS = {"dtype": "float32", "device": "a processor", "threads": 2, "inputs": 1000, "batch": 64}


def row(**more):
    usual = {"neuron": "psn", "auto": True, "baseline": "loop", "pass": "forward_backward", "T": 4, "N": 256}
    return CONDITIONS | usual | {"speedup": 2.0} | more


@pytest.mark.parametrize(
    ("ratio", "text"),
    [(0.0123, "0.012"), (0.861, "0.86"), (1, "1.0"), (8.64, "8.6"), (86.4, "86"), (864.2, "864")],
)
def test_a_ratio_is_written_in_two_digits(ratio, text):
    assert short(ratio) == text


def test_a_size_is_written_as_a_power_where_it_is_one():
    assert [power_of_two(size) for size in (8, 256, 1000)] == ["8", "$2^{8}$", "1,000"]


def test_the_neurons_maps_show_the_form_taken_against_the_loop_forward_and_backward(tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(speed_plots, "speed_maps", lambda panels, *_: drawn.update(panels))
    wanted = [row(), row(T=8), row(neuron="psu")]
    others = [row(auto=False), row(baseline="compiled_loop"), {**row(), "pass": "forward"}]
    neuron_maps([*others, *wanted], tmp_path / "maps.png")
    assert drawn == {"psn": wanted[:2], "psu": wanted[2:]}


@pytest.mark.parametrize("speedups", [(2.0, 0.4, None, 1.0), (None, None, None, None), (1.0, 1.0, 1.0, 1.0)])
def test_a_cell_without_a_speed_up_is_drawn_as_a_dash(speedups, tmp_path):
    grid = [(t, n) for t in (4, 16) for n in (256, 1000)]
    rows = [row(T=t, N=n, speedup=found) for (t, n), found in zip(grid, speedups, strict=True)]
    neuron_maps(rows, tmp_path / "neurons.png")
    layer_maps([{**one, "pass": half} for one in rows for half in ("forward", "total")], tmp_path / "layers.png")
    for name in ("neurons", "layers"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
