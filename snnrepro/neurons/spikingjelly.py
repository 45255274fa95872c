"""Take trained weights over from spikingjelly's neurons, without importing it."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from snnrepro.errors import UserError
from snnrepro.neurons.glif import GLIF
from snnrepro.neurons.lif import KLIF, PLIF
from snnrepro.neurons.neuron import Neuron
from snnrepro.neurons.psn import PSN, MaskedPSN, SlidingPSN

# Of each of our classes: spikingjelly's, and under which names it keeps our parameters and buffers.
_GATES = ("alpha", "beta", "gamma", "tau", "v_threshold", "linear_decay", "v_subreset", "conduct")
_SOURCES: Mapping[type[Neuron], tuple[str, dict[str, str]]] = {
    PSN: ("PSN", {"weight": "weight", "bias": "bias"}),
    MaskedPSN: ("MaskedPSN", {"weight": "weight", "bias": "bias", "lambda_": "_lambda_"}),
    SlidingPSN: ("SlidingPSN", {"weight": "weight", "bias": "bias"}),
    PLIF: ("ParametricLIFNode", {"w": "w"}),
    KLIF: ("KLIFNode", {"k": "k"}),
    GLIF: ("GatedLIFNode", {name: name for name in _GATES}),
}
# Settings that both sides keep and that must agree, ours -> spikingjelly's.
_SETTINGS = {"order": "k", "tau": "tau", "decay_input": "decay_input", "scale_reset": "scale_reset"}


def load_spikingjelly(neuron: Neuron, module: nn.Module) -> None:
    """Copy the weights of a spikingjelly neuron (version 0.0.0.0.14 to 2.0) into `neuron`, in place.

    From PSN, MaskedPSN, SlidingPSN, ParametricLIFNode, KLIFNode, GatedLIFNode to PSN, MaskedPSN, SlidingPSN, PLIF,
    KLIF, GLIF. The surrogate stays `neuron`'s own. Raises UserError, and changes nothing, where class, shape or a
    setting (order, tau, threshold, reset) differs.
    """
    found = type(module).__name__
    ours = type(neuron).__name__
    if type(neuron) not in _SOURCES:
        known = ", ".join(kind.__name__ for kind in _SOURCES)
        raise UserError(f"{ours} has no counterpart with weights in spikingjelly; those with one: {known}")
    wanted, names = _SOURCES[type(neuron)]
    if found != wanted:
        raise UserError(f"{ours} takes the weights of spikingjelly's {wanted}, this is a {found}")
    _check_settings(neuron, module)
    values = {}
    for name, theirs in names.items():
        here, there = getattr(neuron, name), getattr(module, theirs).detach()
        if name == "bias" and there.ndim == 2:  # spikingjelly keeps [T, 1]
            there = there.squeeze(1)
        if here.shape != there.shape:
            raise UserError(f"{ours}.{name} is {tuple(here.shape)}, {found}.{theirs} is {tuple(there.shape)}")
        values[name] = there
    with torch.no_grad():
        for name, value in values.items():
            getattr(neuron, name).copy_(value)


def _check_settings(neuron: Neuron, module: nn.Module) -> None:
    differing = {
        ours: (getattr(neuron, ours), getattr(module, theirs))
        for ours, theirs in _SETTINGS.items()
        if hasattr(neuron, ours) and hasattr(module, theirs) and not isinstance(getattr(neuron, ours), Tensor)
    }
    if isinstance(neuron, PLIF | KLIF):
        # Their v_reset is None for a soft reset.
        v_reset: Any = getattr(module, "v_reset", None)
        differing |= {
            "v_threshold": (neuron.v_threshold, getattr(module, "v_threshold", None)),
            "reset": (neuron.reset, "soft" if v_reset is None else "hard"),
            "detach_reset": (neuron.detach_reset, getattr(module, "detach_reset", None)),
        }
        if v_reset is not None:
            differing["v_reset"] = (neuron.v_reset, v_reset)
    for name, (here, there) in differing.items():
        if here != there:
            raise UserError(
                f"{name} is {here} here and {there} in spikingjelly's {type(module).__name__}: set it alike"
            )
