"""What the config check accepts is built and trained a step, or is refused in one line; drawn alike every time."""

import math
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from snnrepro.config.compose import compose_job
from snnrepro.config.sections import spelled
from snnrepro.errors import UserError
from snnrepro.ledger.record import explain
from snnrepro.training.session import Session

SMALL = ["trainer=smoke", "dataset.batch_size=4", "architecture.hidden=[4]", "trainer.progress_bar=false"]
NEURONS = ["psu", "lif", "plif", "psn", "sliding_psn", "glif", "spsn", "se_adlif", "mpe_psn", "alif", "klif", "rpsu"]
NUMBERS = [1, 2, 7, 0.5, 1.0, 1.5, 1e-300, 1e300, 0, 2**31, 2**62]
COUNTS = [1, 2, 3, 7, 50, 2**31, 2**32 - 1, 2**62, None]
LISTS: list[Any] = [
    [],
    [1],
    [0.5],
    [0.0, 1.0],
    [1, 1, 1],
    [1, 8, 8],
    [1, 2**31, 1],
    ["a"],
    [None, 0.5],
    [1e300, 0.9],
    "ab",
    3,
]
# The last keys of the settings, and what may be written there: much of it passes the check.
SETTINGS: dict[str, list[Any]] = {
    "neuron.tau": NUMBERS,
    "neuron.v_threshold": NUMBERS,
    "neuron.surrogate": [
        "atan",
        "sigmoid",
        "triangle",
        "rectangle",
        {"name": "sigmoid", "alpha": 1e300},
        {"alpha": 1e-300},
    ],
    "neuron.surrogate.alpha": NUMBERS,
    "neuron.reset": ["soft", "hard", "none"],
    "neuron.order": COUNTS,
    "neuron.backend": ["auto", "fused", "torch", "dense", "reference"],
    "optimizer.lr": NUMBERS,
    "optimizer.betas": LISTS,
    "optimizer.weight_decay": NUMBERS,
    "loss.smoothing": NUMBERS,
    "dataset.num_steps": [1, 2, 7, 8, 64],
    "dataset.mean": LISTS,
    "dataset.std": LISTS,
    "dataset.pixel_max": NUMBERS,
    "dataset.image_shape": LISTS,
    "dataset.num_classes": COUNTS,
    "dataset.validation_fraction": NUMBERS,
    "dataset.train_samples": COUNTS,
    "dataset.batch_size": COUNTS,
    "dataset.split_seed": COUNTS,
    "dataset.epochs": COUNTS,
    "dataset.encoding": ["rows", "columns", "pixels", "permuted_pixels", "rate", "latency", "latency_v1"],
    "architecture.hidden": [[], [1], [3, 2], [7, 7, 7]],
    "architecture.dropout": NUMBERS,
    "trainer.gradient_clip_val": NUMBERS,
    "trainer.max_epochs": COUNTS,
    "trainer.precision": ["16-mixed", "bf16-mixed", "64-true", "16-true", "bf16-true", "amp"],
    "trainer.early_stopping_patience": COUNTS,
    "trainer.early_stopping_min_delta": NUMBERS,
    "trainer.limit_train_batches": COUNTS,
    "trainer.max_steps": [1, 2, 3],
    "measure.training_spikes": [True, False],
    "seed": COUNTS,
}
CHANGES = st.sampled_from([(key, value) for key, values in SETTINGS.items() for value in values])


@settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(st.sampled_from(NEURONS), st.lists(CHANGES, min_size=1, max_size=2))
@example("psu", [("optimizer.betas", ["a"])])
@example("psu", [("optimizer.betas", [0.9])])
@example("psu", [("optimizer.betas", [0.9, 1.5])])
@example("psu", [("dataset.num_classes", 2**62)])
@example("psu", [("seed", 2**32 - 1)])
@example("psu", [("trainer.max_epochs", 2**62)])
@example("psu", [("dataset.split_seed", 2**62)])
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_what_the_check_accepts_is_built_and_trained_or_is_one_line(tmp_path, neuron, changes):
    words = [f"neuron={neuron}", *SMALL, *(f"{key}={spelled(value)}" for key, value in changes)]
    try:
        config = compose_job(words).config
    except UserError:
        return
    try:
        with Session(config, tmp_path, ("a", "b", "c")) as session:
            session.fit()
            assert all(math.isfinite(row["epoch"]) for row in session.curves.rows)
    except Exception as error:
        line = explain(error)
        if line is None:
            raise
        assert len(line.splitlines()) == 1
