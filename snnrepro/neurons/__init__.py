"""Spiking neurons under one contract (neuron.py)."""

from snnrepro.neurons.adaptive import ALIF, SEAdLIF
from snnrepro.neurons.block import Block, LIFMultiSpike, LIFSingleSpike
from snnrepro.neurons.glif import GLIF
from snnrepro.neurons.lif import IF, KLIF, LIF, PLIF, LIFNoReset
from snnrepro.neurons.mpe_psn import MPEPSN
from snnrepro.neurons.neuron import Neuron, Operations
from snnrepro.neurons.noise import StochasticNeuron, hold_draws
from snnrepro.neurons.psn import PSN, MaskedPSN, SlidingPSN
from snnrepro.neurons.psu import IPSU, PSU, RPSU
from snnrepro.neurons.spikingjelly import load_spikingjelly
from snnrepro.neurons.spsn import SPSN

__all__ = [
    "ALIF",
    "GLIF",
    "IF",
    "IPSU",
    "KLIF",
    "LIF",
    "MPEPSN",
    "PLIF",
    "PSN",
    "PSU",
    "RPSU",
    "SPSN",
    "Block",
    "LIFMultiSpike",
    "LIFNoReset",
    "LIFSingleSpike",
    "MaskedPSN",
    "Neuron",
    "Operations",
    "SEAdLIF",
    "SlidingPSN",
    "StochasticNeuron",
    "hold_draws",
    "load_spikingjelly",
]
