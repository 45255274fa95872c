"""Compile the CPU's kernels now, for all processes after this one: python -m snnrepro.neurons.kernels.

Otherwise a kernel is compiled, in seconds, where it first runs: on a cluster by every job that finds none.
"""

import subprocess
import sys
import time

from snnrepro.neurons.kernels import ops


def compile_all(dtype_name: str) -> None:
    """Run every fused neuron forward and backward in one dtype, on few values and on enough for all threads."""
    import torch

    from snnrepro import neurons
    from snnrepro.neurons.kernels.cpu_ops import LONG_PRODUCT, SERIAL

    dtype = getattr(torch, dtype_name)
    kinds = [getattr(neurons, name) for name in neurons.__all__]
    fused = [kind for kind in kinds if "fused" in getattr(kind, "backends", ())]
    for steps, size in ((2, 4), (2, SERIAL), (LONG_PRODUCT, 200)):
        for kind in fused:
            neuron = kind(num_steps=steps, num_features=size).to(dtype)
            neuron(torch.rand(steps, 1, size, dtype=dtype, requires_grad=True)).sum().backward()


def main() -> None:
    import torch

    if reason := ops.unserved(torch.device("cpu")):
        sys.exit(f"error: no kernels for this CPU: {reason}")
    if sys.argv[1:]:
        compile_all(sys.argv[1])
        return
    start = time.perf_counter()
    command = [sys.executable, "-m", "snnrepro.neurons.kernels"]
    processes = [subprocess.Popen([*command, dtype]) for dtype in ("float32", "float64")]
    ended = [process.wait() for process in processes]
    if any(ended):
        sys.exit("error: not all kernels were compiled")
    print(f"the CPU's kernels are compiled: {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
