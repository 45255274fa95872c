"""Energy of counted operations under a named cost model (configs/energy)."""

from typing import Literal, NamedTuple

from snnrepro.metrics.operations import Counts
from snnrepro.metrics.other_counters import CounterRow
from snnrepro.types import NonNegativeFloat


class Energy(NamedTuple):
    """Picojoules per sample, by what they are spent on."""

    synapses: float
    neurons: float
    norms: float
    memory: float

    @property
    def total(self) -> float:
        return sum(self)


class CostModel:
    """Picojoules per operation, and which operations are billed.

    name and source say whose figures they are. byte_pj: a byte read or written, 0 where memory is left out; billed are
    the weight of every synaptic operation, read anew each time, and what the neurons keep, at bytes_per_value.
    neurons: `counted`, or `free` as in accounts that bill synapses only. norm: batch norms `folded` into the weights
    before them, which costs nothing, or `counted`. Sigmoids, exponentials and random draws are free: no source prices
    them.
    """

    def __init__(
        self,
        *,
        name: str,
        mac_pj: NonNegativeFloat,
        ac_pj: NonNegativeFloat,
        byte_pj: NonNegativeFloat,
        bytes_per_value: NonNegativeFloat,
        neurons: Literal["counted", "free"],
        norm: Literal["folded", "counted"],
        source: str,
    ) -> None:
        self.name = name
        self.mac_pj = mac_pj
        self.ac_pj = ac_pj
        self.byte_pj = byte_pj
        self.bytes_per_value = bytes_per_value
        self.neurons = neurons
        self.norm = norm
        self.source = source

    def energy(self, counts: Counts) -> Energy:
        """Of a sample."""
        counted = self.neurons == "counted"
        reads = counts.synaptic_acs + counts.synaptic_macs + (counts.state_accesses if counted else 0)
        return Energy(
            synapses=counts.synaptic_macs * self.mac_pj + counts.synaptic_acs * self.ac_pj,
            neurons=(counts.neuron_macs * self.mac_pj + counts.neuron_acs * self.ac_pj) if counted else 0.0,
            norms=counts.norm_macs * self.mac_pj if self.norm == "counted" else 0.0,
            memory=reads * self.bytes_per_value * self.byte_pj,
        )

    def ann_energy_pj(self, counts: Counts) -> float:
        """Of an ANN of the same shape: its activation functions are free, each MAC reads its weight."""
        norms = counts.ann_norm_macs * self.mac_pj if self.norm == "counted" else 0.0
        return counts.ann_macs * (self.mac_pj + self.bytes_per_value * self.byte_pj) + norms


def our_row(counts: Counts, model: CostModel) -> CounterRow:
    """Our account in the form of the other packages', state bytes as they count them: read and written."""
    return CounterRow(
        counter="snnrepro",
        acs=counts.synaptic_acs,
        macs=counts.synaptic_macs,
        dense=counts.dense_macs,
        neuron_acs=counts.neuron_acs,
        neuron_macs=counts.neuron_macs,
        state_bytes=model.bytes_per_value * counts.state_accesses,
        energy_pj=model.energy(counts).total,
        prices=f"{model.name}: {model.ac_pj} pJ an AC, {model.mac_pj} a MAC, {model.byte_pj} a byte",
        leaves_out="Biases; pooling; additions of branches; sigmoids, exponentials and random draws; comparisons.",
        also_counts="",
    )
