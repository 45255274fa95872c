"""The unit of every metric that a run records."""

UNITS = {
    "accuracy": "fraction of samples",
    "loss": "nats",
    "firing_rate": "spikes per neuron and time-step",
    "spikes_per_sample": "spikes",
    "silent_neurons": "fraction of neurons",
    "saturated_neurons": "fraction of neurons",
    "energy_pj_per_sample": "pJ",
    "energy_neurons_pj_per_sample": "pJ",
    "ann_energy_pj_per_sample": "pJ",
    "ann_over_energy": "times the energy, an ANN of the same shape",
    "synaptic_acs_per_sample": "accumulates",
    "synaptic_macs_per_sample": "multiply-accumulates",
    "dense_macs_per_sample": "multiply-accumulates",
    "neuron_acs_per_sample": "accumulates",
    "neuron_macs_per_sample": "multiply-accumulates",
    "state_bytes": "bytes per sample",
    "parameter_bytes": "bytes",
    "samples_per_second": "samples/s",
    "seconds_per_step": "s",
    "seconds_per_epoch": "s",
    "data_wait_share": "fraction of training time",
    "peak_memory_mb": "MB",
    "neuron_vs_lif_loop": "times as fast, forward and backward",
    "neuron_vs_lif_loop_forward": "times as fast, forward",
}


def unit_of(metric: str) -> str | None:
    """The unit of a metric by the part of its name that says what it is: test/firing_rate/neuron1 -> firing_rate."""
    parts = metric.split("/")
    return next((UNITS[part] for part in parts if part in UNITS), UNITS["accuracy"] if "accuracy" in metric else None)
