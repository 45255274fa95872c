"""The table of all neurons, a row for each config, and the helpers that every test of the table uses.

Add a neuron: one row here, its formula in formulas.py. test_neurons.py holds it to both, test_contract.py to the
contract of neuron.py.
"""

import copy
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import formulas
import numpy as np
import pytest
import torch
from formulas import Spike

from snnrepro.errors import UserError
from snnrepro.neurons import (
    ALIF,
    GLIF,
    IF,
    IPSU,
    KLIF,
    LIF,
    MPEPSN,
    PLIF,
    PSN,
    PSU,
    RPSU,
    SPSN,
    Block,
    LIFMultiSpike,
    LIFNoReset,
    LIFSingleSpike,
    MaskedPSN,
    Neuron,
    Operations,
    SEAdLIF,
    SlidingPSN,
)


def learned(name: str, alpha: float) -> dict:
    return {"surrogate": {"name": name, "alpha": alpha, "learnable": True}}


class Row(NamedTuple):
    neuron: type[Neuron]
    formula: Callable
    operations: Operations  # for T = 5
    settings: dict  # where the config differs from the constructor's defaults, and a learned alpha
    causal: bool = True
    fixed_length: bool = False
    per_feature: bool = False
    stochastic: bool = False
    at_threshold: bool = True
    drive: tuple[float, float] = (1.0, 2.0)  # mean and spread of an input that makes some neurons fire, not all


ATAN = learned("atan", 2.0)
SLOW = {"beta": 0.904837}
STRICT = {"at_threshold": False}
EARLY = {"per_feature": True, "at_threshold": False, "drive": (-1.0, 2.0)}  # most never cross after the first steps

# A config's name; what follows a colon is another setting of the same config.
ROWS = {
    # h = v + x and the soft reset are one AC each; v is kept.
    "if": Row(IF, formulas.if_, Operations(0, 10, 4, 0), ATAN),
    # h = v + (x - v) / tau is one AC and one MAC, the soft reset one AC; v is kept.
    "lif": Row(LIF, formulas.lif, Operations(5, 10, 4, 0), ATAN),
    # As the LIF.
    "plif": Row(PLIF, formulas.plif, Operations(5, 10, 4, 0), ATAN),
    # As the LIF, and the product with k.
    "klif": Row(KLIF, formulas.klif, Operations(10, 10, 4, 0), ATAN),
    # As the LIF, nothing reset.
    "lif_no_reset": Row(LIFNoReset, formulas.lif_no_reset, Operations(5, 5, 4, 0), ATAN),
    # Leak of h, gated input and gated reset a MAC each; linear decay and reset subtracted; h and s are kept.
    "glif": Row(GLIF, formulas.glif, Operations(15, 10, 8, 0), ATAN, fixed_length=True, per_feature=True),
    # a, theta and both terms of h a MAC each; the spike's share in a and the reset an AC each; a, h, s are kept.
    "alif": Row(ALIF, formulas.alif, Operations(20, 10, 12, 0), ATAN, per_feature=True, **STRICT),
    # Both terms of u, leak of w and a v a MAC each; x - w and b s an AC each; v and w are kept.
    "se_adlif": Row(
        SEAdLIF,
        formulas.se_adlif,
        Operations(20, 10, 8, 0),
        learned("exponential", 5.0),
        per_feature=True,
        drive=(10.0, 20.0),
        **STRICT,
    ),
    # 5 outputs of 5 products, the bias added to each; all 5 inputs are kept.
    "psn": Row(PSN, formulas.psn, Operations(25, 5, 20, 0), ATAN, causal=False, fixed_length=True),
    # As the PSN: lambda starts at 0.
    "masked_psn": Row(MaskedPSN, formulas.masked_psn, Operations(25, 5, 20, 0), ATAN, causal=False, fixed_length=True),
    "masked_psn:half": Row(
        MaskedPSN,
        formulas.masked_psn,
        Operations(25, 5, 20, 0),
        {"order": 3, "lambda_": 0.5, **ATAN},
        causal=False,
        fixed_length=True,
    ),
    # 1 + 2 + 3 + 3 + 3 products, the bias; 3 inputs are kept.
    "masked_psn:full": Row(
        MaskedPSN,
        formulas.masked_psn,
        Operations(12, 5, 12, 0),
        {"order": 3, "lambda_": 1.0, **ATAN},
        fixed_length=True,
    ),
    # 1 + 2 + 3 + 4 + 5 products, the bias; 5 inputs are kept.
    "sliding_psn": Row(SlidingPSN, formulas.sliding_psn, Operations(15, 5, 20, 0), ATAN),
    # 1 + 2 + 2 + 2 + 2 products, the bias; 2 inputs are kept.
    "sliding_psn:short": Row(
        SlidingPSN, formulas.sliding_psn, Operations(9, 5, 8, 0), {"order": 2, "init": "kaiming", **ATAN}
    ),
    # d and the reset sum are a MAC each, h = d - th * reset another; one sigmoid; both sums are kept.
    "psu": Row(PSU, formulas.psu, Operations(15, 0, 8, 5), ATAN, **STRICT),
    # 1 + 2 + 3 + 4 + 5 products with W * L + R, the bias; all 5 inputs are kept.
    "ipsu": Row(IPSU, formulas.ipsu, Operations(15, 5, 20, 0), ATAN, fixed_length=True, **STRICT),
    # The same with W * L; a MAC for the reset sum, an AC to subtract it, a sigmoid; the sum is kept too.
    "ipsu_estimated": Row(
        IPSU,
        formulas.ipsu_estimated,
        Operations(20, 10, 24, 5),
        {"reset": "estimated", **ATAN},
        fixed_length=True,
        **STRICT,
    ),
    # The products with W * L and the bias; a MAC each for A x and the reset sum, an AC for their difference; a sigmoid.
    "rpsu": Row(RPSU, formulas.rpsu, Operations(25, 10, 28, 5), ATAN, fixed_length=True, **STRICT),
    # h = x + beta vhat is a MAC; a sigmoid for the draw; vhat is kept.
    "mpe_psn": Row(
        MPEPSN, formulas.mpe_psn, Operations(5, 0, 4, 5), learned("triangle", 1.0), stochastic=True, **STRICT
    ),
    # The same, but no step needs anything of another.
    "mpe_psn_local": Row(
        MPEPSN,
        formulas.mpe_psn_local,
        Operations(5, 0, 0, 5),
        {"variant": "current", **learned("triangle", 1.0)},
        stochastic=True,
        **STRICT,
    ),
    # V is a MAC; V and whether it has fired are kept.
    "block": Row(Block, formulas.block, Operations(5, 0, 8, 0), {**SLOW, **learned("fast_sigmoid", 10.0)}, **EARLY),
    "block_v1": Row(
        Block,
        formulas.block,
        Operations(5, 0, 8, 0),
        {"version": "v1", **SLOW, **learned("fast_sigmoid", 100.0)},
        **EARLY,
    ),
    # V is a MAC, the reset an AC; V is kept.
    "lif_multi_spike": Row(
        LIFMultiSpike,
        formulas.lif_multi_spike,
        Operations(5, 5, 4, 0),
        {**SLOW, **learned("fast_sigmoid", 10.0)},
        per_feature=True,
        **STRICT,
    ),
    # V is a MAC, the reset an AC; V and whether it has fired are kept.
    "lif_single_spike": Row(
        LIFSingleSpike,
        formulas.lif_single_spike,
        Operations(5, 5, 8, 0),
        {**SLOW, **learned("fast_sigmoid", 10.0)},
        **EARLY,
    ),
    # D is a MAC; a sigmoid for the draw; D is kept.
    "spsn": Row(SPSN, formulas.spsn, Operations(5, 0, 4, 5), {}, stochastic=True, drive=(0.0, 4.0), **STRICT),
}
FEATURES = 4
every_neuron = pytest.mark.parametrize("name", list(ROWS))
every_config = pytest.mark.parametrize("name", [name for name in ROWS if ":" not in name])
every_causal = pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.causal])
every_parallel = pytest.mark.parametrize("name", [name for name, row in ROWS.items() if len(row.neuron.backends) > 1])
several_lengths = pytest.mark.parametrize("T", [1, 5, 16])
FAR = 1e-9  # no decision in the float64 data here is nearer to its threshold, or the test says so


def build(name: str, T: int, features: int = FEATURES, seed: int = 1, **changes) -> Neuron:
    """A neuron of the table."""
    settings = {**ROWS[name].settings, **changes}
    if settings.get("order"):
        settings["order"] = min(T, settings["order"])
    torch.manual_seed(seed)
    return ROWS[name].neuron(num_steps=T, num_features=features, **settings)


def current(name: str, T: int, *rest: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    mean, spread = ROWS[name].drive
    normal = torch.randn(T, *rest, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (mean + spread * normal).to(dtype)


def noise(name: str, x: torch.Tensor, seed: int = 5) -> dict[str, torch.Tensor]:
    """What a stochastic neuron takes beside x; nothing for the others."""
    if not ROWS[name].stochastic:
        return {}
    return {"noise": torch.rand(x.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)}


def expected(name: str, neuron: Neuron, x: torch.Tensor, **drawn: torch.Tensor) -> tuple[np.ndarray, np.ndarray, float]:
    """Membrane and spikes by the formula, and the least distance of any decision from its threshold."""
    fire = Spike(ROWS[name].at_threshold)
    h, spikes = ROWS[name].formula(neuron, x.double().numpy(), drawn["noise"].numpy() if drawn else None, fire)
    return h, spikes, fire.margin


def spikes_and_gradients(neuron: Neuron, x: torch.Tensor, **drawn: torch.Tensor) -> list[torch.Tensor]:
    """Spikes; gradients to x, then to the parameters in their order, zeros for one that no spike depends on."""
    x = x.clone().requires_grad_(True)
    upstream = torch.randn(x.shape, generator=torch.Generator().manual_seed(9), dtype=x.dtype)
    spikes, leaves = neuron(x, **drawn), [x, *(p for p in neuron.parameters() if p.requires_grad)]
    loss = (spikes * upstream).sum()
    return [spikes.detach(), *torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)]


def gradients(neuron: Neuron, x: torch.Tensor, **drawn: torch.Tensor) -> list[torch.Tensor]:
    return spikes_and_gradients(neuron, x, **drawn)[1:]


@contextmanager
def refused(*words: str) -> Iterator[None]:
    """A user error of one line in which each of these patterns is found."""
    with pytest.raises(UserError) as error:
        yield
    assert "\n" not in str(error.value)
    for word in words:
        assert re.search(word, str(error.value)), (word, str(error.value))


class SmoothModule(torch.nn.Module):
    def forward(self, u: torch.Tensor, strict: bool = False) -> torch.Tensor:
        return torch.sigmoid(4 * u)


def nudged(neuron: Neuron, directions: list[torch.Tensor], far: float) -> Neuron:
    other = copy.deepcopy(neuron)
    with torch.no_grad():
        for p, direction in zip(other.parameters(), directions, strict=True):
            p.add_(direction, alpha=far)
    return other
