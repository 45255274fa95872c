"""Annotations that carry a range.

A constructor that takes `tau: PositiveFloat` tells the reader, and the config check (snnrepro.config.check) reads
the same word from the source, so that a wrong value is refused before torch is imported.
"""

from typing import Annotated, Literal

PositiveInt = Annotated[int, "above 0"]
NonNegativeInt = Annotated[int, "0 or above"]
PositiveFloat = Annotated[float, "above 0"]
AtLeastOne = Annotated[float, "1 or above"]
AboveOne = Annotated[float, "above 1"]
NonNegativeFloat = Annotated[float, "0 or above"]
Fraction = Annotated[float, "from 0 to 1"]

SurrogateName = Literal["atan", "sigmoid", "triangle", "rectangle", "fast_sigmoid", "exponential"]
Reset = Literal["soft", "hard", "none"]
Precision = Literal["amp", "16-true", "16-mixed", "bf16-true", "bf16-mixed", "32-true", "64-true"]
