"""Energy of counted operations under a named cost model (configs/energy)."""

from snnrepro.metrics.operations import Counts
from snnrepro.types import NonNegativeFloat


class CostModel:
    """Picojoules per operation. name and source say whose figures they are; memory traffic is not priced."""

    def __init__(self, *, name: str, mac_pj: NonNegativeFloat, ac_pj: NonNegativeFloat, source: str) -> None:
        self.name = name
        self.mac_pj = mac_pj
        self.ac_pj = ac_pj
        self.source = source

    def energy_pj(self, counts: Counts) -> float:
        """Picojoules per sample: synapses and neurons together."""
        macs = counts.synaptic_macs + counts.neuron_macs
        acs = counts.synaptic_acs + counts.neuron_acs
        return macs * self.mac_pj + acs * self.ac_pj
