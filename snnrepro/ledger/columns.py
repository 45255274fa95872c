"""The metrics that tables and the page show of a run, in their order."""

from typing import NamedTuple


class Column(NamedTuple):
    """A metric (`accuracy`: of the run's own protocol), how it is shown, which way is better, and a sentence on it."""

    metric: str
    label: str
    unit: str
    scale: float
    better: str | None
    about: str


COLUMNS = (
    Column(
        "accuracy",
        "test accuracy",
        "%",
        100,
        "up",
        "On the test set: protocol validated, of the epoch chosen on validation; protocol paper, of the last epoch.",
    ),
    Column(
        "test/firing_rate", "firing rate", "", 1, None, "All spikes over all layers' neurons x time-steps x samples."
    ),
    Column("test/spikes_per_sample", "spikes a sample", "", 1, "down", "Spikes of all hidden neurons, input left out."),
    Column("test/silent_neurons", "silent", "%", 100, "down", "Neurons that never fired on the test set."),
    Column("test/saturated_neurons", "saturated", "%", 100, "down", "Neurons that fired at every step."),
    Column(
        "test/energy_pj_per_sample",
        "energy a sample",
        "pJ",
        1,
        "down",
        "Counted operations under the record's cost model: synapses and the neurons' own arithmetic.",
    ),
    Column(
        "test/ann_over_energy",
        "ANN / energy",
        "x",
        1,
        "up",
        "Energy of an ANN of the same shape (one pass over a repeated image, T over a sequence) over this run's.",
    ),
    Column("train/samples_per_second", "training", "samples/s", 1, "up", "Whole steps, the first epoch left out."),
    Column("test/samples_per_second", "inference", "samples/s", 1, "up", "Prepared batches through the network."),
    Column(
        "speed/neuron_vs_lif_loop",
        "neuron against the LIF loop",
        "x",
        1,
        "up",
        "Forward and backward of all its neurons at its own sizes, the step-by-step LIF timed beside it.",
    ),
    Column(
        "peak_memory_mb",
        "peak memory",
        "MB",
        1,
        "down",
        "On a GPU allocated; on a CPU resident in the process, its libraries too.",
    ),
    Column("parameters", "parameters", "", 1, None, "Numbers that training changes."),
)
