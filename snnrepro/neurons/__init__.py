"""Spiking neurons under one contract (neuron.py)."""

from snnrepro.neurons.lif import LIF
from snnrepro.neurons.neuron import Neuron, Operations
from snnrepro.neurons.psn import PSN
from snnrepro.neurons.psu import PSU

__all__ = ["LIF", "PSN", "PSU", "Neuron", "Operations"]
