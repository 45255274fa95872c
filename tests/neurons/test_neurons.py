"""What the table says of every neuron: config, equation, forms, gradients, costs, and what it does on its threshold."""

import inspect

import hydra
import numpy as np
import pytest
import torch
from formulas import SmoothSpike
from omegaconf import OmegaConf
from table import (
    FAR,
    FEATURES,
    ROWS,
    SmoothModule,
    build,
    current,
    every_config,
    every_neuron,
    every_parallel,
    expected,
    gradients,
    noise,
    nudged,
    refused,
    several_lengths,
)

from snnrepro.config.check import CONFIGS
from snnrepro.neurons import ALIF, IPSU, PSU, RPSU, SPSN, Block, LIFNoReset
from snnrepro.neurons.scan import BLOCK


def test_the_table_has_every_config():
    assert {name.partition(":")[0] for name in ROWS} == {path.stem for path in (CONFIGS / "neuron").glob("*.yaml")}


@every_config
def test_config_builds_the_neuron_of_its_row_and_lists_every_setting(name):
    config, row = OmegaConf.load(CONFIGS / "neuron" / f"{name}.yaml"), ROWS[name]
    torch.manual_seed(1)
    built = hydra.utils.instantiate(config)(num_steps=5, num_features=FEATURES)
    assert type(built) is row.neuron
    settings = OmegaConf.to_container(config)
    assert settings.pop("_target_").endswith(f".{row.neuron.__name__}")
    assert settings.pop("_partial_") is True
    parameters = inspect.signature(row.neuron).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
    wanted = {key: list(value) if isinstance(value, tuple) else value for key, value in defaults.items()} | row.settings
    if "surrogate" in wanted:
        wanted["surrogate"] = {**wanted["surrogate"], "learnable": settings["surrogate"]["learnable"]}
    assert settings == wanted
    ours, theirs = built.state_dict(), build(name, 5).state_dict()
    theirs = {key: value for key, value in theirs.items() if key in ours or key != "surrogate.alpha"}
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@every_neuron
@several_lengths
def test_membrane_and_spikes_equal_the_papers_equation(name, T):
    neuron, x = build(name, T).double(), current(name, T, 10, FEATURES)
    drawn = noise(name, x)
    h, spikes, margin = expected(name, neuron, x, **drawn)
    assert margin > FAR
    np.testing.assert_allclose(neuron.membrane(x, **drawn).detach().numpy(), h, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(neuron(x, **drawn).detach().numpy(), spikes)
    assert 0 < spikes.mean() < 1


# ALIF's threshold moves, the Block keeps the first crossing only, SPSN draws.
FIRES_OTHERWISE = (ALIF, Block, SPSN)


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.neuron not in FIRES_OTHERWISE])
def test_spikes_are_the_membrane_against_the_threshold_that_the_neuron_gives(name):
    neuron, x = build(name, 16).double(), current(name, 16, 3, FEATURES)
    drawn = noise(name, x)
    h = neuron.membrane(x, **drawn)
    crossed = torch.stack([step > neuron.threshold(step) for step in h])
    assert torch.equal(neuron(x, **drawn), crossed.double())


ON_THE_SCAN = [name for name, row in ROWS.items() if row.neuron in (LIFNoReset, PSU, IPSU, RPSU, SPSN, Block)]


@pytest.mark.parametrize("name", ON_THE_SCAN)
def test_neurons_on_the_scan_agree_with_their_reference_where_it_runs_in_blocks(name):
    T = 2 * BLOCK + 9
    x, found = 0.2 * current(name, T, 2, FEATURES), []
    drawn = noise(name, x)
    for backend in ("torch", "reference"):
        neuron = build(name, T, backend=backend).double()
        found.append([neuron.membrane(x, **drawn), neuron(x, **drawn), *gradients(neuron, x, **drawn)])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@every_parallel
@several_lengths
def test_all_forms_agree_in_membrane_spikes_and_gradients(name, T):
    x = current(name, T, 3, FEATURES)
    drawn = noise(name, x)
    slow = build(name, T, backend="reference").double()
    h, spikes, theirs = slow.membrane(x, **drawn), slow(x, **drawn), gradients(slow, x, **drawn)
    assert expected(name, slow, x, **drawn)[2] > FAR
    for backend in ("auto", *slow.backends):
        fast = build(name, T, backend=backend).double()
        torch.testing.assert_close(fast.membrane(x, **drawn), h, rtol=1e-12, atol=1e-12)
        assert torch.equal(fast(x, **drawn), spikes)
        for ours, other in zip(gradients(fast, x, **drawn), theirs, strict=True):
            torch.testing.assert_close(ours, other, rtol=1e-10, atol=1e-12)


# MPE-PSN's kappa weighs its auxiliary loss only.
NO_GRADIENT_FROM_SPIKES = {"kappa"}


@every_neuron
def test_every_parameter_gets_a_gradient_from_the_spikes(name):
    neuron, x = build(name, 16).double(), current(name, 16, 3, FEATURES)
    names = ["x", *(key for key, p in neuron.named_parameters() if p.requires_grad)]
    found = dict(zip(names, gradients(neuron, x, **noise(name, x)), strict=True))
    assert {key for key, g in found.items() if not g.any()} == NO_GRADIENT_FROM_SPIKES & found.keys()
    assert all(g.isfinite().all() for g in found.values())


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.neuron not in (Block, SPSN)])
@pytest.mark.parametrize("T", [1, 6])
def test_gradient_is_the_slope_of_the_papers_equation_with_a_smooth_spike(name, T):
    neuron, x = build(name, T).double(), current(name, T, 2, FEATURES)
    neuron.surrogate = SmoothModule()
    drawn, generator = noise(name, x), torch.Generator().manual_seed(3)
    upstream = torch.randn(2, *x.shape, generator=generator, dtype=x.dtype)
    x.requires_grad_(True)
    loss = (neuron.membrane(x, **drawn) * upstream[0] + neuron(x, **drawn) * upstream[1]).sum()
    of_all = [x, *neuron.parameters()]
    found = torch.autograd.grad(loss, of_all, allow_unused=True, materialize_grads=True)

    fire, drew = SmoothSpike(), drawn["noise"].numpy() if drawn else None

    def value(nudge: list[torch.Tensor], far: float) -> float:
        moved, current_ = nudged(neuron, nudge[1:], far), (x.detach() + far * nudge[0]).numpy()
        return float((np.stack(ROWS[name].formula(moved, current_, drew, fire)) * upstream.numpy()).sum())

    np.testing.assert_allclose(value([torch.zeros_like(p) for p in of_all], 0.0), loss.item(), rtol=1e-12)
    for which in range(len(of_all)):  # one of x and the parameters at a time
        directions = [
            torch.randn(p.shape, generator=generator, dtype=p.dtype) * (i == which) for i, p in enumerate(of_all)
        ]
        ends = []
        for far in (1e-6, -1e-6):
            fire.rewind()
            ends.append(value(directions, far))
        slope = (ends[0] - ends[1]) / 2e-6
        along = sum((g * d).sum().item() for g, d in zip(found, directions, strict=True))
        np.testing.assert_allclose(along, slope, rtol=1e-6, atol=1e-7)


# Those whose membrane does not depend on spikes.
WITHOUT_RESET = [name for name, row in ROWS.items() if len(set(row.neuron.backends) - {"fused", "reference"})]


@pytest.mark.parametrize("name", WITHOUT_RESET)
def test_membrane_of_every_form_passes_a_gradient_check_in_input_and_parameters(name):
    x = current(name, 4, 1, 2).requires_grad_(True)
    drawn = noise(name, x)
    for backend in ROWS[name].neuron.backends:
        neuron = build(name, 4, 2, backend=backend).double()
        assert expected(name, neuron, x.detach(), **drawn)[2] > 1e-3
        inputs = [x, *(p for key, p in neuron.named_parameters() if key not in ("kappa", "surrogate.alpha"))]
        inputs = [p for p in inputs if not (p.shape == () and name.startswith("mpe"))]  # its learned threshold
        assert torch.autograd.gradcheck(lambda x, *_, n=neuron: n.membrane(x, **drawn), inputs)


@every_neuron
def test_attributes_forms_and_operations_are_those_of_the_table(name):
    row, neuron = ROWS[name], build(name, 5)
    assert (neuron.causal, neuron.fixed_length, neuron.per_feature) == (row.causal, row.fixed_length, row.per_feature)
    assert (neuron.stochastic, neuron.fires_at_threshold) == (row.stochastic, row.at_threshold)
    cpu = torch.device("cpu")
    named = {"fused": "numba"}
    forms = [named.get(form, form) for form in neuron.backends]
    assert [build(name, 5, backend=b).kernel(5, cpu) for b in neuron.backends] == forms
    assert neuron.kernel(5, cpu) == forms[0]
    with refused("'referense'", "reference"):
        build(name, 5, backend="referense")
    assert neuron.operations(5)[:4] == row.operations[:4]


# T = 1, exact in binary: settings, parameters, and an input whose membrane lies on the threshold.
ON_THE_THRESHOLD = {
    "if": ({}, {}, 1.0),
    "lif": ({}, {}, 2.0),  # h = x / 2
    "plif": ({}, {}, 2.0),
    "klif": ({}, {}, 2.0),
    "lif_no_reset": ({}, {}, 2.0),
    "glif": ({}, {"alpha": float("inf"), "beta": -float("inf")}, 0.5),  # exponential leak, input not gated: h = x
    "alif": ({"beta": 0.0, "v_threshold": 1 - float(np.exp(-0.5))}, {"tau_m": 2.0}, 1.0),  # h = (1 - alpha) x
    "se_adlif": ({"tau_u_range": [1e-6, 1e-6]}, {}, 1.0),  # alpha = 0: h = x
    "psn": ({}, {"weight": 1.0}, 1.0),  # h = x - 1
    "masked_psn": ({}, {"weight": 1.0}, 1.0),
    "masked_psn:half": ({}, {"weight": 1.0}, 1.0),
    "masked_psn:full": ({}, {"weight": 1.0}, 1.0),
    "sliding_psn": ({}, {"weight": 1.0}, 1.0),
    "sliding_psn:short": ({}, {"weight": 1.0}, 1.0),
    "psu": ({}, {}, 1.0),  # h = x / 2
    "ipsu": ({}, {"weight": 1.0}, 0.5),  # h = x
    "ipsu_estimated": ({}, {"weight": 1.0}, 0.5),
    "rpsu": ({}, {}, 1.0),  # h = x / 2
    "mpe_psn": ({}, {}, 1.0),  # h = x
    "mpe_psn_local": ({}, {}, 1.0),
    "block": ({}, {}, 1.0),
    "block_v1": ({}, {}, 1.0),
    "lif_multi_spike": ({}, {}, 1.0),
    "lif_single_spike": ({}, {}, 1.0),
    "spsn": ({}, {}, 0.0),  # p = 1/2, against a noise of 1/2
}


@every_neuron
def test_neuron_fires_on_its_threshold_only_where_the_table_says_so(name):
    settings, parameters, on = ON_THE_THRESHOLD[name]
    for backend in ROWS[name].neuron.backends:
        neuron = build(name, 1, 3, backend=backend, **settings).double()
        with torch.no_grad():
            for key, value in parameters.items():
                getattr(neuron, key).fill_(value)
        x = torch.tensor([[[on, on - 2**-20, on + 2**-20]]], dtype=torch.float64)
        drawn = {"noise": torch.full_like(x, 0.5)} if ROWS[name].stochastic else {}
        wanted = [[[float(ROWS[name].at_threshold), 0, 1]]]
        assert neuron(x, **drawn).tolist() == wanted
        if ROWS[name].causal:
            assert neuron.stream(x, **drawn)[0].tolist() == wanted


@every_neuron
def test_single_precision_gives_the_spikes_of_double_away_from_the_threshold(name):
    x = current(name, 5, 3, FEATURES, dtype=torch.float32)
    single, double, drawn = build(name, 5), build(name, 5).double(), noise(name, x)
    assert expected(name, double, x, **drawn)[2] > 1e-5
    assert single.membrane(x, **drawn).dtype == single(x, **drawn).dtype == torch.float32
    torch.testing.assert_close(
        single.membrane(x, **drawn).double(), double.membrane(x.double(), **drawn), rtol=1e-5, atol=1e-5
    )
    assert torch.equal(single(x, **drawn).double(), double(x.double(), **drawn))
