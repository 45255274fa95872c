"""One kernel for all time-steps of a neuron: families.py says what is computed, ops.py makes it differentiable.

The CPU's, by numba: cpu_ops.py (tensors in and out), cpu_threads.py (work to threads), cpu_scan.py (loops over time),
cpu_draws.py (those that draw), cpu_mix.py (products over time), cpu_math.py (operations on rows). CUDA's, by Triton:
triton_ops.py, triton_scan.py, triton_draws.py, triton_chunks.py (few neurons, many steps), triton_mix.py,
triton_math.py. `python -m snnrepro.neurons.kernels` compiles the CPU's.
"""
