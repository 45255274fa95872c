"""The single figures of docs/findings.md, each from committed records or rows."""

from collections.abc import Callable

from findings_data import CIFAR, FAITHFUL, PAPERS_OWN, SEQ, Found, correlation, test_curve
from findings_tables import mean, percent, times, training_macs

from snnrepro.ledger.report_text import counted
from snnrepro.ledger.tables import amount, energy
from snnrepro.reproduce import experiments


def counts(found: Found, which: str) -> str:
    """How many claims are in each state: of the `papers`, or those `carried` over."""
    carried = which == "carried"
    return counted([one for one in found.claims.values() if bool(one.claim.of) is carried], carried=carried)


def claims(found: Found, which: str) -> str:
    return str(sum(bool(one.claim.of) is (which == "carried") for one in found.claims.values()))


def still_open(found: Found) -> str:
    """How many claims of the papers no full run has decided."""
    states = [one.verdict.state for one in found.claims.values() if not one.claim.of]
    return str(sum(state not in ("reproduced", "not reproduced") for state in states))


def hours(found: Found) -> str:
    """Hours that all committed runs took, every session of them."""
    sessions = [session for run in found.records.runs for session in run.record.get("sessions", [])]
    return f"{sum(float(session.get('seconds') or 0) for session in sessions) / 3600:.1f}"


def alone(found: Found, neuron: str, baseline: str) -> str:
    """A neuron's geometric mean speed over a baseline's."""
    return times(found.layer_speed(neuron, baseline))


def net(found: Found, file: str, neuron: str, against: str = "") -> str:
    """A whole network's training speed over the looped LIF's, or over another network's of the same rows."""
    whole, other = found.network_speed(file, neuron), found.network_speed(file, against) if against else 1.0
    return times(whole / other if whole and other else None)


def account(found: Found, neuron: str, count: str) -> str:
    """A sequential net's spikes or energy over the PSN paper's LIF's, by the count whose name has this word."""
    own = next(settings for _, name, settings in PAPERS_OWN if name == neuron)
    ours, theirs = (
        found.measures(group) if group else {}
        for group in (found.group(SEQ, neuron, **own), found.group(SEQ, "lif", v_threshold=1.0))
    )
    (name,) = (name for name in theirs if count in name)
    return times(ours[name] / theirs[name])


def after(found: Found, neuron: str, epoch: str) -> str:
    """Accuracy on the test set of sequential CIFAR-10, reduced, after an epoch from 1."""
    group = found.group(CIFAR, neuron)
    return percent(test_curve(group.runs[0])[int(epoch) - 1] if group else None)


def trained(found: Found, place: str, neuron: str, epochs: str) -> str:
    """Test accuracy of the runs of a neuron that were trained for so many epochs."""
    return percent(mean(found.group(place, neuron, epochs=int(epochs)), "test/accuracy"))


def _mac_rate(found: Found) -> float:
    """Multiply-accumulates a second with which two cores train the sequential PSN net, backward passes as two."""
    (row,) = (
        row
        for row in found.rows("networks", "networks_seq_fashion_mnist_cpu")
        if (row["neuron"], row["pass"]) == ("psn", "training")
    )
    return 3 * float(row["samples_per_second"]) * experiments()[SEQ].macs_per_sample


def mac_rate(found: Found) -> str:
    return f"{_mac_rate(found):.1e}".replace("e+", "e")


def days(found: Found, experiment: str) -> str:
    """Days of one full run of an experiment at that rate."""
    return amount(training_macs(experiments()[experiment]) / _mac_rate(found) / 86400, "days")


def counter(found: Found, name: str, place: str, neuron: str) -> str:
    """The energy that a counter, by the start of its name, gives for the first run of a config."""
    group = found.group(place, neuron)
    rows = (group.first.get("counters") or {}).get("rows") or [] if group else []
    return energy(next((row["energy_pj"] for row in rows if row["counter"].startswith(name)), None))


def rho(found: Found) -> str:
    """Spearman's rank correlation of agreement and accuracy over the neurons that stand for a LIF."""
    pairs = [
        (agreement, value)
        for _, neuron, own in FAITHFUL
        if (agreement := found.fidelity(neuron)) is not None
        and (value := mean(found.group(SEQ, neuron, **own), "test/accuracy")) is not None
    ]
    return f"{correlation([x for x, _ in pairs], [y for _, y in pairs]):+.2f}"


VALUES: dict[str, Callable[..., str]] = {
    "counts": counts,
    "claims": claims,
    "open": still_open,
    "hours": hours,
    "alone": alone,
    "net": net,
    "account": account,
    "after": after,
    "trained": trained,
    "mac_rate": mac_rate,
    "days": days,
    "counter": counter,
    "rho": rho,
}
