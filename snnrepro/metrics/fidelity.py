"""How close a parallel neuron comes to the step-by-step neuron that it stands for.

A parallel neuron replaces the reset by nothing (LIF without reset, SPSN), by an estimate (PSU, RPSU, MPE-PSN) or by an
exact selection (Block). Here each is run beside its loop on the same current, and the two spike trains are compared.
Shapes: current, membranes, spikes `[T, N]`.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from snnrepro.errors import UserError, did_you_mean
from snnrepro.neurons import IPSU, LIF, MPEPSN, PSU, RPSU, SPSN, Block, LIFNoReset, LIFSingleSpike, Neuron
from snnrepro.neurons.psu import delayed, psu_kernels
from snnrepro.neurons.scan import exponential_scan

Trains = tuple[Tensor, Tensor]  # spikes, membrane

# The van Rossum kernel's time constant, in steps.
KERNEL_TAU = 5.0


class Fidelity(NamedTuple):
    """One neuron against its target on one current."""

    agreement: float | None  # 2 x common spikes / all spikes of both; None where both are silent
    equal_steps: float  # share of neuron-steps where both do the same
    rate: float  # spikes per neuron and step
    target_rate: float
    van_rossum: float  # mean over neurons; one unmatched spike is at most 1
    membrane_error: float  # RMS of the difference before firing, in units of the threshold


def compare(found: Trains, target: Trains, v_threshold: float) -> Fidelity:
    """Distances between two neurons' spikes and membranes `[T, N]`, before firing."""
    (spikes, membrane), (wanted, wanted_membrane) = found, target
    common, total = (spikes * wanted).sum(), spikes.sum() + wanted.sum()
    return Fidelity(
        agreement=float(2 * common / total) if total else None,
        equal_steps=float((spikes == wanted).double().mean()),
        rate=float(spikes.mean()),
        target_rate=float(wanted.mean()),
        van_rossum=float(van_rossum(spikes, wanted).mean()),
        membrane_error=float((membrane - wanted_membrane).square().mean().sqrt()) / v_threshold,
    )


def van_rossum(spikes: Tensor, other: Tensor, tau: float = KERNEL_TAU) -> Tensor:
    """The distance of each neuron's two spike trains `[T, N]` -> `[N]` (van Rossum, Neural Computation 2001).

    Both trains are filtered by exp(-t / tau); the norm of the difference is scaled so that one unmatched spike, far
    from the end, is at distance 1.
    """
    decay = float(torch.exp(torch.tensor(-1 / tau, dtype=torch.float64)))
    filtered = exponential_scan((spikes - other).double(), decay)
    return ((1 - decay**2) * filtered.square().sum(0)).sqrt()


def refined_psu(x: Tensor, tau: float, v_threshold: float, refinements: int) -> Trains:
    """The PSU after some fixed-point refinements of its reset estimate.

        S_0 = sigmoid(D);   H_k = D + v_threshold R S_k;   S_{k+1} = 1[H_k > v_threshold]

    Each makes at least one more step exact, so that T of them give the serial neuron with decay 1/tau, which at tau 2
    is the soft-reset LIF. No refinement is the PSU.
    """
    decay = 1 / tau
    d = exponential_scan(x, decay, decay)
    released = torch.sigmoid(d)
    for _ in range(refinements + 1):
        h = d - v_threshold * delayed(exponential_scan(released, decay, decay))
        released = (h > v_threshold).to(x.dtype)
    return released, h


def _trains(neuron: Neuron) -> Callable[[Tensor], Trains]:
    neuron.eval()

    def run(x: Tensor) -> Trains:
        # [T, N] as one sample of N features.
        spikes = neuron(x[:, None])
        return spikes[:, 0], neuron.membrane(x[:, None])[:, 0]

    return run


def rpsu_with_kernel_a(num_steps: int, tau: float, v_threshold: float) -> RPSU:
    """The RPSU whose learned kernel is the leak itself, W = A and b = 0: its reset sees what the PSU's sees."""
    neuron = RPSU(num_steps, tau=tau, v_threshold=v_threshold)
    with torch.no_grad():
        neuron.weight.copy_(psu_kernels(num_steps, tau, neuron.weight)[0])
    return neuron


class Case(NamedTuple):
    """A parallel neuron and the loop it stands for, both as functions `[T, N]` -> (spikes, membrane)."""

    name: str
    target: str
    run: Callable[[Tensor], Trains]
    run_target: Callable[[Tensor], Trains]


def cases(num_steps: int, num_neurons: int, tau: float, v_threshold: float) -> Iterator[Case]:
    """Every parallel neuron that stands for a loop, at this time constant and threshold.

    Targets: `lif`, the soft-reset LIF of the same tau; `lif_hard`, with hard reset and undivided input, for MPE-PSN,
    whose decay factor is then 1 - 1/tau; `lif_single_spike` for the Block.
    """
    decay = 1 - 1 / tau
    soft = _trains(LIF(tau=tau, v_threshold=v_threshold))
    hard = _trains(LIF(tau=tau, v_threshold=v_threshold, reset="hard", decay_input=False))
    single = _trains(LIFSingleSpike(num_features=num_neurons, beta=decay, v_threshold=v_threshold))
    against_lif: dict[str, Neuron] = {
        "lif_no_reset": LIFNoReset(tau=tau, v_threshold=v_threshold),
        "psu": PSU(tau=tau, v_threshold=v_threshold),
        "rpsu_w_is_a": rpsu_with_kernel_a(num_steps, tau, v_threshold),
        "spsn": SPSN(tau=tau),
    }
    for name, neuron in against_lif.items():
        yield Case(name, "lif", _trains(neuron), soft)
    for refinements in (1, 2, 3, num_steps):
        name = "psu_exact" if refinements == num_steps else f"psu_refined_{refinements}"
        yield Case(name, "lif", _refined(tau, v_threshold, refinements), soft)
    for name, variant in (("mpe_psn", "previous"), ("mpe_psn_local", "current")):
        mpe = MPEPSN(num_steps, variant=variant, beta=decay, v_threshold=v_threshold)  # type: ignore[arg-type]
        yield Case(name, "lif_hard", _trains(mpe), hard)
    block = Block(num_features=num_neurons, beta=decay, v_threshold=v_threshold)
    yield Case("block", "lif_single_spike", _trains(block), single)


def _refined(tau: float, v_threshold: float, refinements: int) -> Callable[[Tensor], Trains]:
    return lambda x: refined_psu(x, tau, v_threshold, refinements)


def synthetic_current(
    kind: str, num_steps: int, num_neurons: int, mean: float, std: float, generator: torch.Generator
) -> Tensor:
    """Current `[T, N]`, independent over time and neurons, with this mean and standard deviation.

    gaussian; or poisson: input spikes that arrive at random, (std^2 / mean) each, which needs a mean above 0.
    Raises UserError for another kind.
    """
    shape = (num_steps, num_neurons)
    if kind == "gaussian":
        return mean + std * torch.randn(shape, generator=generator, dtype=torch.float64)
    if kind != "poisson":
        raise UserError(f"unknown input {kind!r}{did_you_mean(kind, ['gaussian', 'poisson'])}")
    if mean <= 0:
        raise UserError(f"Poisson input has a mean above 0, got {mean}")
    weight = std**2 / mean
    return weight * torch.poisson(torch.full(shape, mean / weight, dtype=torch.float64), generator=generator)


def recorded_currents(network: nn.Module, x: Tensor, max_neurons: int = 4096) -> dict[str, Tensor]:
    """What reaches every neuron layer of a network for a batch x `[T, B, *]`: layer -> current `[T, N]`.

    Samples and positions are laid side by side; from more than `max_neurons` evenly spaced ones are taken.
    """
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            current = inputs[0].detach().flatten(1)
            stride = max(1, current.shape[1] // max_neurons)
            found[name] = current[:, ::stride][:, :max_neurons].double().cpu()

        return hook

    neurons = [(name, module) for name, module in network.named_modules() if isinstance(module, Neuron)]
    handles = [neuron.register_forward_pre_hook(keep(name)) for name, neuron in neurons]
    try:
        with torch.no_grad():
            network(x)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _threshold(neuron: Neuron) -> float:
    return float(torch.as_tensor(neuron.v_threshold).detach())


def stands_for(neuron: Neuron) -> Neuron | None:
    """The step-by-step LIF that a trained neuron replaces, at its own threshold; None for one that replaces none.

    PSU, IPSU, RPSU and LIF without reset: the soft-reset LIF of their tau, whatever they have learned beside it.
    MPE-PSN: the hard-reset LIF of its decay, the input undivided.
    """
    if isinstance(neuron, MPEPSN):
        return LIF(tau=1 / (1 - neuron.beta), v_threshold=_threshold(neuron), reset="hard", decay_input=False)
    if isinstance(neuron, PSU | IPSU | RPSU | LIFNoReset):
        undivided = isinstance(neuron, LIFNoReset) and not neuron.decay_input
        return LIF(tau=neuron.tau, v_threshold=_threshold(neuron), decay_input=not undivided)
    return None


def measure_trained(network: nn.Module, x: Tensor) -> Iterator[tuple[str, Tensor, Neuron, Fidelity]]:
    """Every layer's trained neuron beside the LIF that it stands for, on the current that reaches it for a batch x.

    Yields (layer, current `[T, N]`, that LIF, fidelity). Raises UserError where a layer stands for no LIF.
    """
    layers = dict(network.named_modules())
    for name, current in recorded_currents(network, x).items():
        neuron = layers[name]
        assert isinstance(neuron, Neuron)
        target = stands_for(neuron)
        if target is None:
            raise UserError(f"{type(neuron).__name__} stands for no LIF: PSU, IPSU, RPSU, LIFNoReset and MPEPSN do")
        with torch.no_grad():
            found, wanted = _trains(neuron)(current), _trains(target)(current)
        yield name, current, target, compare(found, wanted, _threshold(neuron))


def measure(current: Tensor, tau: float, v_threshold: float) -> Iterator[tuple[Case, Fidelity]]:
    """Every case on one current `[T, N]`."""
    num_steps, num_neurons = current.shape
    with torch.no_grad():
        for case in cases(num_steps, num_neurons, tau, v_threshold):
            yield case, compare(case.run(current), case.run_target(current), v_threshold)
