"""Energy under the named cost models: prices, what each bills, and identities that must hold."""

import pytest
import torch
from nets import count, spikes, unequal_net
from omegaconf import open_dict
from torch import nn

from snnrepro.architectures.layers import SpikingSequential
from snnrepro.config.check import check, options
from snnrepro.config.compose import compose_job
from snnrepro.errors import UserError
from snnrepro.metrics.energy import CostModel
from snnrepro.metrics.operations import Counts
from snnrepro.neurons import LIF, PSN

COUNTS = Counts(
    synaptic_acs=100,
    synaptic_macs=10,
    neuron_acs=30,
    neuron_macs=7,
    state_bytes=1000,
    state_accesses=40,
    function_evaluations=5,
    norm_macs=9,
    parameter_bytes=444,
    dense_macs=500,
    ann_macs=50,
    ann_norm_macs=3,
)


def model(name: str) -> CostModel:
    from hydra.utils import instantiate

    built = instantiate(compose_job([f"energy={name}"]).config.energy, _convert_="all")()
    assert isinstance(built, CostModel)
    return built


# name: (synapses, neurons, norms, memory, the ANN) of COUNTS by hand
BY_HAND = {
    "horowitz_45nm": (10 * 4.6 + 100 * 0.9, 7 * 4.6 + 30 * 0.9, 0, 0, 50 * 4.6),
    "horowitz_45nm_fp16": (10 * 1.5 + 100 * 0.4, 7 * 1.5 + 30 * 0.4, 0, 0, 50 * 1.5),
    "horowitz_45nm_int8": (10 * 0.23 + 100 * 0.03, 7 * 0.23 + 30 * 0.03, 0, 0, 50 * 0.23),
    "papers": (10 * 4.6 + 100 * 0.9, 0, 0, 0, 50 * 4.6),
    "with_memory": (
        10 * 4.6 + 100 * 0.9,
        7 * 4.6 + 30 * 0.9,
        9 * 4.6,
        (110 + 40) * 4 * 24.96,
        50 * (4.6 + 4 * 24.96) + 3 * 4.6,
    ),
}


def test_every_shipped_cost_model_is_priced_by_hand_here():
    assert set(BY_HAND) == set(options("energy"))


@pytest.mark.parametrize("name", BY_HAND)
def test_a_cost_model_bills_what_it_says(name):
    *parts, ann = BY_HAND[name]
    energy = model(name).energy(COUNTS)
    assert tuple(energy) == pytest.approx(parts)
    assert energy.total == pytest.approx(sum(parts))
    assert model(name).ann_energy_pj(COUNTS) == pytest.approx(ann)


@pytest.mark.parametrize("name", BY_HAND)
def test_a_cost_model_names_itself_and_its_source(name):
    assert model(name).name == name
    assert len(model(name).source) > 20


@pytest.mark.parametrize("key", ["name", "mac_pj", "ac_pj", "byte_pj", "bytes_per_value", "neurons", "norm", "source"])
def test_a_cost_model_without_one_of_its_keys_is_refused_by_name(key):
    config = compose_job([]).config
    with open_dict(config):
        del config.energy[key]
    with pytest.raises(UserError, match=rf"^energy\.{key} must be set$"):
        check(config)


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("energy.mac_pj=-1", "energy.mac_pj must be"),
        ("energy.ac_pj=cheap", "energy.ac_pj must be"),
        ("energy.norm=fold", "energy.norm must be"),
        ("energy.neurons=true", "energy.neurons must be"),
    ],
)
def test_a_price_or_rule_that_is_none_is_one_line(word, says):
    with pytest.raises(UserError, match=says) as error:
        compose_job([word])
    assert "\n" not in str(error.value)


def test_zero_input_costs_the_first_layer_no_accumulate():
    net, first = unequal_net(), SpikingSequential(("linear", nn.Linear(8, 20)))
    assert count(first, torch.zeros(5, 3, 8)).synaptic_acs == 0
    assert model("papers").energy(count(first, torch.zeros(5, 3, 8))).total == 0
    assert model("papers").energy(count(net, torch.ones(5, 3, 8))).total > 0


def test_the_energy_of_a_sample_does_not_depend_on_the_batches():
    net, x = unequal_net(PSN), spikes(5, 12, 8)
    whole = model("with_memory").energy(count(net, x))
    assert tuple(model("with_memory").energy(count(net, x[:, :5], x[:, 5:11], x[:, 11:]))) == pytest.approx(whole)


def test_a_psn_pays_for_its_product_over_time_and_a_lif_for_its_leak():
    T, model_45nm = 16, model("horowitz_45nm")
    of_psn = model_45nm.energy(count(SpikingSequential(("neuron", PSN(T))), torch.rand(T, 2, 3)))
    of_lif = model_45nm.energy(count(SpikingSequential(("neuron", LIF())), torch.rand(T, 2, 3)))
    assert of_psn.neurons == pytest.approx(3 * (T * T * 4.6 + T * 0.9))
    assert of_lif.neurons == pytest.approx(3 * (T * 4.6 + 2 * T * 0.9))
    assert of_psn.synapses == of_lif.synapses == 0
