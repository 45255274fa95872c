"""Losses and readouts against NumPy, learning rates against values worked out by hand, epoch by epoch."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from snnrepro.errors import UserError
from snnrepro.training import readout, schedule
from snnrepro.training.loss import TET, CrossEntropy, MeanSquaredError

T, B, K = 5, 4, 3
READOUTS = {"mean": (readout.mean, np.mean), "maximum": (readout.maximum, np.max), "total": (readout.total, np.sum)}
every_readout = pytest.mark.parametrize("name", list(READOUTS))
several_smoothings = pytest.mark.parametrize("smoothing", [0.0, 0.1])


def outputs() -> np.ndarray:
    return np.random.default_rng(0).normal(scale=3, size=(T, B, K)).astype(np.float32)


def hard_and_soft_targets() -> list[np.ndarray]:
    """Class indices `[B]`, and probabilities `[B, K]` as mixup gives them."""
    soft = np.random.default_rng(1).dirichlet(np.ones(K), size=B).astype(np.float32)
    return [np.array([2, 0, 1, 2]), soft]


targets = pytest.mark.parametrize("y", hard_and_soft_targets(), ids=["hard", "soft"])


def cross_entropy(logits: np.ndarray, y: np.ndarray, smoothing: float) -> float:
    """Mean over samples of -sum_k p_k log softmax(logits)_k, p smoothed towards the uniform distribution."""
    logits = logits.astype(np.float64)
    p = (np.eye(K)[y] if y.ndim == 1 else y.astype(np.float64)) * (1 - smoothing) + smoothing / K
    log_softmax = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return float(-(p * log_softmax).sum(-1).mean())


@every_readout
def test_a_readout_takes_one_score_a_class_from_all_steps(name):
    ours, numpys = READOUTS[name]
    y = ours(torch.tensor(outputs()))
    assert y.shape == (B, K)
    np.testing.assert_allclose(y.numpy(), numpys(outputs(), axis=0), rtol=1e-6)


@every_readout
@several_smoothings
@targets
def test_cross_entropy_is_that_of_the_readout(name, smoothing, y):
    ours, numpys = READOUTS[name]
    loss = CrossEntropy(label_smoothing=smoothing)(torch.tensor(outputs()), torch.tensor(y), ours)
    assert loss.item() == pytest.approx(cross_entropy(numpys(outputs(), axis=0), y, smoothing), rel=1e-5)


@every_readout
@targets
def test_mean_squared_error_is_that_of_the_readout_to_the_one_hot_label(name, y):
    ours, numpys = READOUTS[name]
    wanted = np.eye(K)[y] if y.ndim == 1 else y
    loss = MeanSquaredError()(torch.tensor(outputs()), torch.tensor(y), ours)
    assert loss.item() == pytest.approx(((numpys(outputs(), axis=0) - wanted) ** 2).mean(), rel=1e-5)


@several_smoothings
@pytest.mark.parametrize("weight", [0.0, 1e-3, 0.25, 1.0])
@targets
def test_tet_is_the_mean_of_the_steps_cross_entropies_and_the_distance_from_1(smoothing, weight, y):
    steps = [cross_entropy(step, y, smoothing) for step in outputs()]
    expected = (1 - weight) * np.mean(steps) + weight * ((outputs() - 1.0) ** 2).mean()
    loss = TET(mse_weight=weight, label_smoothing=smoothing)
    assert loss(torch.tensor(outputs()), torch.tensor(y), readout.mean).item() == pytest.approx(expected, rel=1e-5)


def test_tet_has_the_papers_weight_and_takes_no_heed_of_the_readout():
    x, y = torch.tensor(outputs()), torch.tensor([2, 0, 1, 2])
    assert torch.equal(TET()(x, y, readout.mean), TET(mse_weight=1e-3)(x, y, readout.maximum))
    assert not torch.equal(TET()(x, y, readout.mean), TET(mse_weight=0.0)(x, y, readout.mean))


@pytest.mark.parametrize("loss", [CrossEntropy(label_smoothing=0.1), TET(label_smoothing=0.1), MeanSquaredError()])
@targets
def test_losses_give_every_output_a_gradient_and_are_fp32_for_half_precision_outputs(loss, y):
    x = torch.tensor(outputs()).bfloat16().requires_grad_(True)
    value = loss(x, torch.tensor(y), readout.mean)
    value.backward()
    assert (value.dtype, value.shape) == (torch.float32, ())
    assert (x.grad != 0).all()


def learning_rates(build, epochs: int, base: float | tuple[float, ...] = 0.1) -> list:
    """The lr of each epoch, as training sees it; of each parameter group where `base` has several."""
    bases = base if isinstance(base, tuple) else (base,)
    optimizer = torch.optim.SGD([{"params": [nn.Parameter(torch.zeros(1))], "lr": lr} for lr in bases])
    scheduler, rates = build(optimizer, epochs), []
    for _ in range(epochs):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return rates if isinstance(base, tuple) else [rate for (rate,) in rates]


def test_constant_warms_up_linearly_and_then_stays():
    rates = learning_rates(lambda o, n: schedule.constant(o, n, warmup_epochs=4, warmup_start_lr=0.02), 7)
    assert rates == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1, 0.1, 0.1])
    assert learning_rates(schedule.constant, 3) == pytest.approx([0.1] * 3)


def test_cosine_falls_from_the_base_along_half_a_cosine():
    # (1 + cos(pi e / 4)) / 2 at e = 0 .. 3; at the end, e = 4, it would be 0
    root = math.sqrt(2) / 4
    assert learning_rates(schedule.cosine, 4) == pytest.approx([0.1, 0.1 * (0.5 + root), 0.05, 0.1 * (0.5 - root)])


def test_cosine_starts_after_the_warm_up_and_aims_at_min_lr():
    def build(optimizer, epochs):
        return schedule.cosine(optimizer, epochs, warmup_epochs=2, warmup_start_lr=0.01, min_lr=0.02)

    # from 0.1 down by 0.08 (1 - cos(pi e / 4)) / 2
    third = [0.1, 0.02 + 0.08 * (0.5 + math.sqrt(2) / 4), 0.06, 0.02 + 0.08 * (0.5 - math.sqrt(2) / 4)]
    assert learning_rates(build, 6) == pytest.approx([0.01, 0.055, *third])


def test_cosine_reaches_min_lr_at_the_end_and_does_not_rise_again():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = schedule.cosine(optimizer, 3, min_lr=0.02)
    for _ in range(3):
        optimizer.step()
        scheduler.step()
    for _ in range(3):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.02)
        optimizer.step()
        scheduler.step()


def test_step_multiplies_by_gamma_at_every_milestone():
    def build(optimizer, epochs):
        return schedule.step(optimizer, epochs, milestones=[2, 4], gamma=0.5)

    assert learning_rates(build, 6) == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025, 0.025])
    tenth = learning_rates(lambda o, n: schedule.step(o, n, milestones=[1]), 2)
    assert tenth == pytest.approx([0.1, 0.01])


def test_step_with_restart_has_the_rates_of_step_and_its_milestones_as_restarts():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    assert schedule.step_with_restart(optimizer, 6, milestones=[2, 4]).restarts == (2, 4)
    rates = learning_rates(lambda o, n: schedule.step_with_restart(o, n, milestones=[2, 4], gamma=0.5), 6)
    assert rates == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025, 0.025])


def test_step_after_a_warm_up_counts_its_milestones_from_the_first_epoch():
    def build(optimizer, epochs):
        return schedule.step(optimizer, epochs, milestones=[1, 3], gamma=0.5, warmup_epochs=2, warmup_start_lr=0.06)

    assert learning_rates(build, 5) == pytest.approx([0.06, 0.08, 0.05, 0.025, 0.025])


@pytest.mark.parametrize(
    "build",
    [
        lambda o, n: schedule.constant(o, n, warmup_epochs=2, warmup_start_lr=0.01),
        lambda o, n: schedule.cosine(o, n, warmup_epochs=2, warmup_start_lr=0.01, min_lr=0.005),
        lambda o, n: schedule.step(o, n, milestones=[3], warmup_epochs=2, warmup_start_lr=0.01),
    ],
    ids=["constant", "cosine", "step"],
)
def test_every_parameter_group_follows_the_schedule_of_its_own_base(build):
    both = learning_rates(build, 6, (0.1, 0.3))
    alone = zip(learning_rates(build, 6, 0.1), learning_rates(build, 6, 0.3), strict=True)
    assert both == [pytest.approx(list(pair)) for pair in alone]
    assert both[0] == pytest.approx([0.01, 0.01])
    assert both[2] == pytest.approx([0.1, 0.3])


@pytest.mark.parametrize("warmup", [3, 4])
@pytest.mark.parametrize("name", ["constant", "cosine", "step"])
def test_a_warm_up_that_leaves_no_epoch_is_a_user_error_of_one_line_that_names_both(name, warmup):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    more = {"milestones": [1]} if name == "step" else {}
    with pytest.raises(UserError, match=rf"^.*warmup_epochs={warmup}\b.*max_epochs=3\b.*\Z"):
        getattr(schedule, name)(optimizer, 3, warmup_epochs=warmup, **more)
    getattr(schedule, name)(optimizer, 3, warmup_epochs=2, **more)
