"""What a network costs: spikes, operations, energy, time."""
