"""Settings that no neuron can have: one line that names the setting."""

import pytest
from table import ROWS, refused

from snnrepro.neurons import ALIF, GLIF, IPSU, KLIF, LIF, MPEPSN, PLIF, SPSN, Block, MaskedPSN, SEAdLIF, SlidingPSN

NAN = float("nan")
CLASSES = sorted({row.neuron for row in ROWS.values()}, key=lambda neuron: neuron.__name__)
every_class = pytest.mark.parametrize("neuron", CLASSES)


def every_class_with(setting: str) -> pytest.MarkDecorator:
    found = [neuron for neuron in CLASSES if setting in neuron.__init__.__kwdefaults__]
    assert found
    return pytest.mark.parametrize("neuron", found)


@every_class
@pytest.mark.parametrize("value", [0, -1])
def test_a_length_below_1_is_refused(neuron, value):
    with refused("num_steps", str(value)):
        neuron(value, 3)


@every_class
def test_a_missing_length_or_feature_count_is_asked_for_where_it_is_needed(neuron):
    name = neuron.__name__
    if neuron.fixed_length or neuron in (MPEPSN, SlidingPSN):
        with refused("num_steps", "order" if neuron is SlidingPSN else name):
            neuron(None, 3)
    else:
        neuron(None, 3)
    if neuron.per_feature:
        with refused("num_features", name):
            neuron(5)
        with refused("num_features", "0"):
            neuron(5, 0)
    else:
        neuron(5)


@every_class_with("v_threshold")
@pytest.mark.parametrize("value", [0.0, -1.0, NAN])
def test_a_threshold_that_is_not_above_zero_is_refused(neuron, value):
    with refused("v_threshold", str(value)):
        neuron(5, 3, v_threshold=value)


@every_class_with("tau")
@pytest.mark.parametrize("value", [0.0, -2.0, NAN])
def test_a_time_constant_that_is_not_positive_is_refused(neuron, value):
    with refused(r"\btau\b", str(value)):
        neuron(5, 3, tau=value)


@every_class_with("tau")
def test_a_time_constant_of_1_is_the_shortest(neuron):
    if neuron is GLIF:  # its tau is a factor
        return
    with refused(r"\btau\b", r"0\.999"):
        neuron(5, 3, tau=0.999)
    if neuron is PLIF:  # 1 / tau is a sigmoid
        with refused(r"\btau\b", r"1\.0"):
            neuron(5, 3, tau=1.0)
    else:
        neuron(5, 3, tau=1.0)


@every_class_with("surrogate")
@pytest.mark.parametrize(
    ("value", "near"), [("atann", "atan"), ({"name": "trianlge"}, "triangle"), ({"alfa": 1.0}, "alpha")], ids=str
)
def test_an_unknown_surrogate_is_refused_with_the_nearest(neuron, value, near):
    with refused(near):
        neuron(5, 3, surrogate=value)


@every_class
def test_an_unknown_form_is_refused_with_the_nearest(neuron):
    with refused("'refrence'", "reference", neuron.__name__):
        neuron(5, 3, backend="refrence")


OTHERS = [
    *[(neuron, "reset", "sofft", "soft") for neuron in (LIF, PLIF, KLIF)],
    (IPSU, "reset", "soft", "estimated"),
    (MPEPSN, "variant", "last", "previous"),
    (Block, "version", "v3", "v2"),
    (SPSN, "gradient", "atan", "sigmoid"),
    (SlidingPSN, "init", "uniform", "kaiming"),
    *[(neuron, "order", value, "6|5") for neuron in (MaskedPSN, SlidingPSN) for value in (0, -1, 6)],
    *[(MaskedPSN, "lambda_", value, "0.*1") for value in (-0.1, 1.1, NAN)],
    *[(neuron, "beta", value, "0.*1") for neuron in (MPEPSN, Block) for value in (-0.1, 1.1, NAN)],
    *[(ALIF, name, value, "0") for name in ("tau_m", "tau_adp") for value in (0.0, -1.0, NAN)],
    *[(ALIF, name, -1.0, "0") for name in ("beta", "tau_m_std", "tau_adp_std")],
    *[(SEAdLIF, name, value, "steps") for name in ("tau_u_range", "tau_w_range") for value in ([5.0, 3.0], [0.0, 3.0])],
    *[(SEAdLIF, "tau_u_range", value, "steps") for value in ([5.0], [1.0, 2.0, 3.0], [NAN, 2.0], [-1.0, 2.0])],
    *[(SEAdLIF, "q", value, "0") for value in (0.0, -1.0, NAN)],
    *[(GLIF, name, value, "0.*1") for name in ("tau", "v_threshold", "conduct") for value in (0.0, 1.0, 1.5, NAN)],
]


@pytest.mark.parametrize(("neuron", "setting", "value", "hint"), OTHERS)
def test_any_other_impossible_setting_is_named_with_what_is_possible(neuron, setting, value, hint):
    with refused(setting, hint):
        neuron(5, 3, **{setting: value})


@pytest.mark.parametrize("setting", ["beta", "tau_m_std", "tau_adp_std"])
def test_nan_is_refused_by_alif_too(setting):
    with refused(setting):
        ALIF(5, 3, **{setting: NAN})


@pytest.mark.parametrize("order", [1, 5])
def test_an_order_from_1_to_t_is_possible(order):
    for neuron in (MaskedPSN, SlidingPSN):
        assert neuron(5, order=order).order == order
        assert neuron(5).order == 5
    assert SlidingPSN(order=order).order == order
