"""Spiking neural networks with parallel neurons, trained from Hydra configs, each claim a row one can check."""
