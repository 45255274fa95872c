"""Learning-rate schedules, one value per epoch, after a linear warm-up. Optimisers are torch's own."""

import math
from collections.abc import Callable, Sequence

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from snnrepro.errors import UserError
from snnrepro.types import NonNegativeFloat, NonNegativeInt, PositiveFloat


def constant(
    optimizer: Optimizer,
    max_epochs: int,
    *,
    warmup_epochs: NonNegativeInt = 0,
    warmup_start_lr: NonNegativeFloat = 0.0,
) -> LambdaLR:
    """The optimiser's lr throughout."""
    return _schedule(optimizer, max_epochs, warmup_epochs, warmup_start_lr, lambda base, epoch: base)


def cosine(
    optimizer: Optimizer,
    max_epochs: int,
    *,
    warmup_epochs: NonNegativeInt = 0,
    warmup_start_lr: NonNegativeFloat = 0.0,
    min_lr: NonNegativeFloat = 0.0,
) -> LambdaLR:
    """Half a cosine from lr at the end of the warm-up to min_lr at the end of training."""

    def lr(base: float, epoch: int) -> float:
        progress = (epoch - warmup_epochs) / max(1, max_epochs - warmup_epochs)
        return min_lr + (base - min_lr) * (1 + math.cos(math.pi * min(1.0, progress))) / 2

    return _schedule(optimizer, max_epochs, warmup_epochs, warmup_start_lr, lr)


def step(
    optimizer: Optimizer,
    max_epochs: int,
    *,
    milestones: Sequence[int],
    gamma: PositiveFloat = 0.1,
    warmup_epochs: NonNegativeInt = 0,
    warmup_start_lr: NonNegativeFloat = 0.0,
) -> LambdaLR:
    """lr times gamma for every milestone epoch that has been reached."""
    return _schedule(
        optimizer,
        max_epochs,
        warmup_epochs,
        warmup_start_lr,
        lambda base, epoch: base * gamma ** sum(epoch >= milestone for milestone in milestones),
    )


class Restarting(LambdaLR):
    """A schedule at whose `restarts` (epochs from 0) training goes on from its best weights (BestLossRestart)."""

    restarts: tuple[int, ...] = ()  # plain values: it is saved in the checkpoint


def step_with_restart(
    optimizer: Optimizer,
    max_epochs: int,
    *,
    milestones: Sequence[int],
    gamma: PositiveFloat = 0.1,
) -> Restarting:
    """lr times gamma at every milestone, where the weights with the lowest training loss come back, the optimiser new.

    As the Block paper trains (arXiv 2205.15286, trainer of its code): a milestone of 15 takes effect when 15 epochs
    have ended, the best of them all being taken.
    """
    base = step(optimizer, max_epochs, milestones=milestones, gamma=gamma)
    schedule = Restarting(optimizer, base.lr_lambdas)
    schedule.restarts = tuple(milestones)
    return schedule


def _schedule(
    optimizer: Optimizer,
    max_epochs: int,
    warmup_epochs: int,
    warmup_start_lr: float,
    lr: Callable[[float, int], float],
) -> LambdaLR:
    if warmup_epochs >= max_epochs:
        raise UserError(f"schedule.warmup_epochs={warmup_epochs} leaves nothing of trainer.max_epochs={max_epochs}")

    def factor_of(base: float) -> Callable[[int], float]:
        def factor(epoch: int) -> float:
            if base == 0:
                return 1.0
            if epoch < warmup_epochs:
                return (warmup_start_lr + (base - warmup_start_lr) * epoch / warmup_epochs) / base
            return lr(base, epoch) / base

        return factor

    return LambdaLR(optimizer, [factor_of(float(group["lr"])) for group in optimizer.param_groups])
