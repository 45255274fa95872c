"""Events to frames: which events make which time-step, and how many fall on each pixel.

Shapes: a recording has E events, arrays `[E]`: t in µs, never falling; x, y in pixels; p is 0 or 1. Frames are
`[T, C, H, W]`; a cochlea is a sensor of one row (x is the unit, y is 0).
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from snnrepro.compiled import compiled
from snnrepro.errors import UserError

Array = NDArray[np.generic]


class Events(NamedTuple):
    """One recording: t int64 in µs, x and y int16, p uint8, each `[E]`."""

    t: NDArray[np.int64]
    x: NDArray[np.int16]
    y: NDArray[np.int16]
    p: NDArray[np.uint8]


class Binning(NamedTuple):
    """How a recording becomes T time-steps.

    by: `number`, T bins of equally many events; `time`, T bins of equal duration over the recording; `duration`, bins
    of bin_us µs; `count`, bins of bin_events events. The last two cut a longer recording after T bins and leave the
    last bins of a shorter one empty. start: where `duration` begins, at the first event or at the recording's own
    zero. remainder: what `number` and `time` leave over by rounding down goes to the last bin (spikingjelly's rule) or
    is dropped (tonic's).
    """

    num_steps: int
    by: Literal["number", "time", "duration", "count"] = "number"
    bin_us: int | None = None
    bin_events: int | None = None
    start: Literal["first_event", "zero"] = "first_event"
    remainder: Literal["last", "drop"] = "last"


class Grid(NamedTuple):
    """The pixels of a frame: sensor and frame as (H, W); which channel (-1: none) polarity 0 and 1 count in."""

    sensor: tuple[int, int]
    size: tuple[int, int]
    channel_of: tuple[int, int]

    @property
    def channels(self) -> int:
        return max(self.channel_of) + 1


CHANNEL_OF = {"both": (0, 1), "merged": (0, 0), "off": (0, -1), "on": (-1, 0)}


def in_order(events: Events) -> tuple[Events, bool]:
    """The events by time, and whether they were so already; events of one time keep their order."""
    if len(events.t) < 2 or bool((events.t[1:] >= events.t[:-1]).all()):
        return events, True
    order = np.argsort(events.t, kind="stable")
    return Events(events.t[order], events.x[order], events.y[order], events.p[order]), False


def edges(t: NDArray[np.int64], binning: Binning) -> NDArray[np.int64]:
    """Bin k holds the events edges[k] up to, not including, edges[k + 1]: `[T + 1]`.

    Raises UserError where there is no event, or (by `number`, `time`) too few events or µs for T bins.
    """
    steps, n = binning.num_steps, len(t)
    if n == 0:
        raise UserError("holds no event")
    if binning.by == "number":
        if n < steps:
            raise UserError(f"holds {n} events, too few for {steps} time-steps: lower dataset.num_steps")
        found = np.arange(steps + 1, dtype=np.int64) * (n // steps)
    elif binning.by == "time":
        width = int(t[-1] - t[0]) // steps
        if width == 0:
            raise UserError(f"lasts {t[-1] - t[0]} µs, too short for {steps} time-steps: lower dataset.num_steps")
        found = np.searchsorted(t, t[0] + width * np.arange(steps + 1)).astype(np.int64)
    elif binning.by == "duration":
        assert binning.bin_us is not None
        zero = int(t[0]) if binning.start == "first_event" else 0
        return np.searchsorted(t, zero + binning.bin_us * np.arange(steps + 1)).astype(np.int64)
    else:
        assert binning.bin_events is not None
        return np.minimum(np.arange(steps + 1, dtype=np.int64) * binning.bin_events, n)
    if binning.remainder == "last":
        found[-1] = n
    return found


def frames_of(events: Events, binning: Binning, grid: Grid) -> NDArray[np.uint16] | NDArray[np.uint32]:
    """Counts `[T, C, H, W]` of the events of each bin on each pixel, in a dtype that none can overflow.

    A smaller frame takes pixel (y, x) of the sensor to (y*H'//H, x*W'//W), so that every event counts once.
    Raises UserError for an event outside the sensor, and as `edges` does.
    """
    bounds = edges(events.t, binning)
    _check_inside(events, grid)
    fullest = int(np.diff(bounds).max())
    out = np.zeros((binning.num_steps, grid.channels, *grid.size), np.uint16 if fullest < 2**16 else np.uint32)
    row, column = (np.arange(n, dtype=np.int64) * m // n for n, m in zip(grid.sensor, grid.size, strict=True))
    # Where row y of polarity p begins in a frame; below 0 for a polarity that does not count.
    channel = np.array(grid.channel_of)[:, None]
    begins = np.where(channel < 0, -1, (channel * grid.size[0] + row) * grid.size[1])
    _accumulate(events.x, events.y, events.p, bounds, column, begins.ravel(), out.reshape(binning.num_steps, -1))
    return out


def _check_inside(events: Events, grid: Grid) -> None:
    height, width = grid.sensor
    # As unsigned numbers, those below zero are the largest.
    if (
        events.x.view(np.uint16).max() < width
        and events.y.view(np.uint16).max() < height
        and events.p.max(initial=0) < 2
    ):
        return
    fine = (events.x >= 0) & (events.x < width) & (events.y >= 0) & (events.y < height) & (events.p < 2)
    i = int(np.argmin(fine))
    raise UserError(
        f"event {i} lies at x={events.x[i]}, y={events.y[i]}, polarity {events.p[i]}, outside a sensor of "
        f"{width} x {height}"
    )


@compiled
def _accumulate(x: Array, y: Array, p: Array, bounds: Array, column: Array, begins: Array, out: Array) -> None:
    """Count the events of every bin; all lie inside the sensor. Unsigned indices spare the look at negative ones."""
    height = np.uint64(len(begins) // 2)
    for step in range(len(bounds) - 1):
        frame = out[step]
        for i in range(bounds[step], bounds[step + 1]):
            first = begins[np.uint64(p[i]) * height + np.uint64(y[i])]
            if first >= 0:
                frame[np.uint64(first + column[np.uint64(x[i])])] += 1


def frames_reference(events: Events, binning: Binning, grid: Grid) -> NDArray[np.uint32]:
    """`frames_of` as its definition reads: one bin at a time, one index for each event."""
    bounds = edges(events.t, binning)
    out = np.zeros((binning.num_steps, grid.channels, *grid.size), np.uint32)
    for step in range(binning.num_steps):
        chosen = slice(bounds[step], bounds[step + 1])
        channel = np.array(grid.channel_of)[events.p[chosen]]
        y = events.y[chosen].astype(int) * grid.size[0] // grid.sensor[0]
        x = events.x[chosen].astype(int) * grid.size[1] // grid.sensor[1]
        counted = channel >= 0
        np.add.at(out[step], (channel[counted], y[counted], x[counted]), 1)
    return out
