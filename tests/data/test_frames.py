"""Frames of events: bin for bin and event for event as tonic's and spikingjelly's, and as each event counts alone.

Shapes: a recording of E events is four arrays `[E]`; frames are `[T, C, H, W]`.
"""

import numpy as np
import pytest
import tonic.transforms
from event_writers import some_events
from hypothesis import given, settings
from hypothesis import strategies as st
from spikingjelly.datasets import utils as spikingjelly

from snnrepro.data.event_sources import SOURCES
from snnrepro.data.frames import (
    CHANNEL_OF,
    Binning,
    Events,
    Grid,
    edges,
    frames_of,
    frames_reference,
    in_order,
)
from snnrepro.errors import UserError

WHOLE = {name: Grid(source.sensor, source.sensor, CHANNEL_OF["both"]) for name, source in SOURCES.items()}
# Every how manyeth recording of the real data: all gestures, 22 digits seen, 21 heard.
TAKEN = {"dvs_gesture": 1, "nmnist": 50, "spoken_digits_spikes": 20}


@pytest.fixture(scope="module", params=list(TAKEN))
def real(request, real_data) -> tuple[list[Events], Grid]:
    """Real recordings and their whole sensor in two polarities."""
    found = SOURCES[request.param].find(real_data(request.param))
    taken = [*found.parts["train"], *found.parts["test"]][:: TAKEN[request.param]]
    return [in_order(found.read(recording))[0] for recording in taken], WHOLE[request.param]


def to_tonic(events: Events, grid: Grid, **settings) -> np.ndarray:
    """tonic's frames of a copy: it overwrites polarities."""
    table = np.zeros(len(events.t), [("t", int), ("x", int), ("y", int), ("p", int)])
    for name, column in zip("txyp", events, strict=True):
        table[name] = column
    return tonic.transforms.ToFrame(sensor_size=(*grid.sensor[::-1], 2), **settings)(table)


@pytest.mark.parametrize("steps", [1, 4, 10])
def test_bins_of_equal_number_and_time_are_tonics_and_spikingjellys(real, steps):
    recordings, grid = real
    for events in recordings:
        for by, tonics in (("number", "n_event_bins"), ("time", "n_time_bins")):
            dropped = frames_of(events, Binning(steps, by, remainder="drop"), grid)
            assert np.array_equal(dropped, to_tonic(events, grid, **{tonics: steps}))
            theirs = spikingjelly.integrate_events_by_fixed_frames_number(events._asdict(), by, steps, *grid.sensor)
            kept = frames_of(events, Binning(steps, by, remainder="last"), grid)
            assert np.array_equal(kept, theirs)
            assert kept.sum() == len(events.t)


def test_bins_of_a_duration_are_tonics_then_cut_or_padded(real):
    recordings, grid = real
    for events in recordings:
        width = int(events.t[-1] - events.t[0]) * 2 // 9  # five bins, the last of them not full
        whole = to_tonic(events, grid, time_window=width)
        padded = to_tonic(events, grid, time_window=width, include_incomplete=True)
        assert (len(whole), len(padded)) == (4, 5)
        for steps, theirs in ((4, whole), (5, padded), (2, whole[:2])):
            assert np.array_equal(frames_of(events, Binning(steps, "duration", width), grid), theirs)
        longer = frames_of(events, Binning(8, "duration", width), grid)
        assert np.array_equal(longer[:5], padded)
        assert not longer[5:].any()
        theirs = spikingjelly.integrate_events_by_fixed_duration(events._asdict(), width, *grid.sensor)
        assert np.array_equal(longer[:5], theirs)


def test_bins_of_a_duration_begin_at_the_first_event_or_at_zero(real):
    recordings, grid = real
    for events in recordings:
        late = events._replace(t=events.t - events.t[0] + 12_345)
        width = int(late.t[-1]) // 3 + 1
        theirs = to_tonic(late, grid, time_window=width, start_time=0, include_incomplete=True)
        ours = frames_of(late, Binning(3, "duration", width, start="zero"), grid)
        assert np.array_equal(ours, theirs)
        assert ours.sum() == len(late.t)
        assert np.array_equal(
            frames_of(late, Binning(3, "duration", width), grid), frames_of(events, Binning(3, "duration", width), grid)
        )


def test_bins_of_a_count_are_tonics_then_cut_or_padded(real):
    recordings, grid = real
    for events in recordings:
        count = len(events.t) * 2 // 9
        whole = to_tonic(events, grid, event_count=count)
        padded = to_tonic(events, grid, event_count=count, include_incomplete=True)
        for steps, theirs in ((len(whole), whole), (2, whole[:2]), (len(padded), padded)):
            assert np.array_equal(frames_of(events, Binning(steps, "count", bin_events=count), grid), theirs)
        assert not frames_of(events, Binning(len(padded) + 2, "count", bin_events=count), grid)[len(padded) :].any()


def test_smaller_frames_add_up_blocks_of_pixels(real):
    recordings, grid = real
    height, width = grid.sensor
    for events in recordings:
        whole = frames_of(events, Binning(4), grid)
        for h, w in ((height, width // 2), ((height + 1) // 2, width // 2), ((height + 1) // 2, width), (1, 1)):
            blocks = whole.reshape(4, 2, h, height // h, w, width // w).sum((3, 5))
            assert np.array_equal(frames_of(events, Binning(4), grid._replace(size=(h, w))), blocks)
        odd = grid._replace(size=(max(1, height * 3 // 8), width * 3 // 8))
        small = frames_of(events, Binning(4), odd)
        assert np.array_equal(small, frames_reference(events, Binning(4), odd))
        assert np.array_equal(small.sum((2, 3)), whole.sum((2, 3)))  # none is lost, none counts twice


def test_polarities_are_two_channels_their_sum_or_one_of_them(real):
    recordings, grid = real
    for events in recordings:
        on, off = (events.p == 1).sum(), (events.p == 0).sum()
        frames = {word: frames_of(events, Binning(4), grid._replace(channel_of=c)) for word, c in CHANNEL_OF.items()}
        assert np.array_equal(frames["both"].sum((0, 2, 3)), [off, on])
        assert np.array_equal(frames["merged"], frames["both"].sum(1, keepdims=True))
        assert np.array_equal(frames["off"], frames["both"][:, :1])
        assert np.array_equal(frames["on"], frames["both"][:, 1:])


@st.composite
def cases(draw):
    """A recording with many events at one time, any way of binning it, any sensor and size."""
    sensor = draw(st.tuples(st.integers(1, 7), st.integers(1, 7)))
    size = tuple(draw(st.integers(1, n)) for n in sensor)
    n = draw(st.integers(1, 40))
    column = [draw(st.lists(st.integers(0, top - 1), min_size=n, max_size=n)) for top in (60, *sensor[::-1], 2)]
    t = np.sort(np.array(column[0], np.int64)) - draw(st.integers(-20, 20))
    kinds = (np.int16, np.int16, np.uint8)
    events = Events(t, *(np.array(c, kind) for c, kind in zip(column[1:], kinds, strict=True)))
    binning = Binning(
        draw(st.integers(1, 9)),
        draw(st.sampled_from(["number", "time", "duration", "count"])),
        draw(st.integers(1, 70)),
        draw(st.integers(1, 50)),
        draw(st.sampled_from(["first_event", "zero"])),
        draw(st.sampled_from(["last", "drop"])),
    )
    return events, binning, Grid(sensor, size, CHANNEL_OF[draw(st.sampled_from(sorted(CHANNEL_OF)))])


def step_of(i: int, t: np.ndarray, binning: Binning) -> int:
    """The step of event i by its definition; -1 for none. Divides by 0 where the recording is too short."""
    if binning.by == "duration":
        step = (t[i] - (t[0] if binning.start == "first_event" else 0)) // binning.bin_us
    elif binning.by == "count":
        step = i // binning.bin_events
    elif binning.by == "number":
        step = i // (len(t) // binning.num_steps)
    else:
        step = int(t[i] - t[0]) // (int(t[-1] - t[0]) // binning.num_steps)
    if 0 <= step < binning.num_steps:
        return int(step)
    rest = binning.by in ("number", "time") and binning.remainder == "last"
    return binning.num_steps - 1 if rest else -1


@settings(max_examples=400, deadline=None, derandomize=True)
@given(cases())
def test_a_frame_is_what_each_event_adds_alone(case):
    events, binning, grid = case
    expected = np.zeros((binning.num_steps, grid.channels, *grid.size), int)
    try:
        for i, (x, y, p) in enumerate(zip(*events[1:], strict=True)):
            step, channel = step_of(i, events.t, binning), grid.channel_of[p]
            if step >= 0 and channel >= 0:
                at = int(y) * grid.size[0] // grid.sensor[0], int(x) * grid.size[1] // grid.sensor[1]
                expected[step, channel, *at] += 1
    except ZeroDivisionError:
        with pytest.raises(UserError, match=r"too (few|short) for \d time-steps: lower dataset.num_steps"):
            frames_of(events, binning, grid)
        return
    assert np.array_equal(frames_of(events, binning, grid), expected)
    assert np.array_equal(frames_reference(events, binning, grid), expected)


def at_times(*t: int) -> np.ndarray:
    return np.array(t, np.int64)


def test_an_event_on_the_edge_of_two_bins_belongs_to_the_later():
    t = at_times(100, 109, 110, 110, 119, 120)
    assert edges(t, Binning(2, "duration", 10)).tolist() == [0, 2, 5]
    assert edges(t, Binning(3, "duration", 10)).tolist() == [0, 2, 5, 6]
    assert edges(t, Binning(2, "duration", 60, start="zero")).tolist() == [0, 0, 5]
    assert edges(t, Binning(2, "time", remainder="drop")).tolist() == [0, 2, 5]
    assert edges(t, Binning(2, "time", remainder="last")).tolist() == [0, 2, 6]


def test_bins_by_number_are_equal_but_for_what_is_left_over():
    t = np.arange(23)
    assert np.diff(edges(t, Binning(5))).tolist() == [4, 4, 4, 4, 7]
    assert np.diff(edges(t, Binning(5, remainder="drop"))).tolist() == [4] * 5
    assert np.diff(edges(t, Binning(23))).tolist() == [1] * 23
    assert np.diff(edges(t, Binning(4, "count", bin_events=10))).tolist() == [10, 10, 3, 0]


def refusal(events: Events, binning: Binning, grid: Grid = WHOLE["nmnist"]) -> str:
    with pytest.raises(UserError) as caught:
        frames_of(events, binning, grid)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_too_little_to_bin_is_refused():
    none, three = some_events(0, 34), some_events(3, 34)
    for by in ("number", "time", "duration", "count"):
        assert refusal(none, Binning(1, by, 10, 10)) == "holds no event"
    assert refusal(three, Binning(4)) == "holds 3 events, too few for 4 time-steps: lower dataset.num_steps"
    short = three._replace(t=at_times(5, 5, 8))
    assert refusal(short, Binning(4, "time")) == "lasts 3 µs, too short for 4 time-steps: lower dataset.num_steps"
    assert refusal(short._replace(t=at_times(5, 5, 5)), Binning(1, "time")).startswith("lasts 0 µs")


@pytest.mark.parametrize("index", [0, 7, 9])
@pytest.mark.parametrize(
    ("column", "value"),
    [("x", 34), ("x", -1), ("x", -(2**15)), ("y", 34), ("y", -1), ("y", 2**15 - 1), ("p", 2), ("p", 255)],
)
def test_an_event_outside_the_sensor_is_refused_even_in_a_bin_that_is_not_used(column, value, index):
    events = some_events(10, 34)
    getattr(events, column)[index] = value
    x, y, p = (int(c[index]) for c in events[1:])
    expected = f"event {index} lies at x={x}, y={y}, polarity {p}, outside a sensor of 34 x 34"
    for binning in (Binning(3), Binning(3, remainder="drop"), Binning(1, "count", bin_events=2)):
        for channels in CHANNEL_OF.values():
            assert refusal(events, binning, Grid((34, 34), (17, 17), channels)) == expected


def test_the_height_and_the_width_of_a_sensor_are_not_mixed_up():
    events = Events(at_times(0), np.array([6], np.int16), np.array([2], np.int16), np.array([1], np.uint8))
    frames = frames_of(events, Binning(1), Grid((3, 7), (3, 7), (0, 1)))
    assert np.argwhere(frames).tolist() == [[0, 1, 2, 6]]
    assert refusal(events, Binning(1), Grid((7, 3), (7, 3), (0, 1))).endswith("outside a sensor of 3 x 7")


@pytest.mark.parametrize(("width", "size"), [(700, 350), (1280, 1280), (2**15 - 1, 3)])
def test_the_units_of_a_wide_sensor_are_added_up(width, size):
    x = np.arange(width, dtype=np.int16)
    events = Events(np.arange(width), x, x, np.zeros(width, np.uint8))
    expected = np.bincount(np.arange(width) * size // width)
    for count in (frames_of, frames_reference):
        frames = count(events, Binning(1), Grid((width, width), (size, size), CHANNEL_OF["merged"]))
        assert np.array_equal(frames.sum((0, 1, 2)), expected)
        assert np.array_equal(frames.sum((0, 1, 3)), expected)


def test_events_out_of_order_are_sorted_and_those_of_one_time_keep_their_order():
    events = some_events(500, 34)
    mixed = np.random.default_rng(0).permutation(500)
    shuffled = Events(events.t[mixed] // 4000, *(column[mixed] for column in events[1:]))
    found, ordered = in_order(shuffled)
    assert not ordered
    rank = sorted(range(500), key=lambda i: shuffled.t[i])  # Python's sort is stable
    assert all(np.array_equal(a, b[rank]) for a, b in zip(found, shuffled, strict=True))
    again, ordered = in_order(found)
    assert ordered
    assert again is found
    for n in (0, 1):
        assert in_order(some_events(n, 34))[1]


@pytest.mark.parametrize("n", [2**16 - 1, 2**16, 70_000])
@pytest.mark.parametrize("by", ["number", "count"])
def test_no_number_of_events_overflows_a_pixel(n, by):
    zeros = np.zeros(2 * n, np.int16)
    events = Events(np.arange(2 * n), zeros + 3, zeros + 2, zeros.astype(np.uint8))
    frames = frames_of(events, Binning(2, by, bin_events=n), Grid((4, 5), (4, 5), (0, 0)))
    assert frames[:, 0, 2, 3].tolist() == [n, n]
    assert frames.sum() == 2 * n
