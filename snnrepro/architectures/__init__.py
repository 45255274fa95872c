"""Networks built around a neuron: `architecture(neuron=factory, input_shape=, num_classes=, num_steps=)`."""
