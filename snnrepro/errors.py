"""Errors that are the user's to mend: one line that says what is wrong and what to do."""

import os
import re
import unicodedata

SECRET = re.compile("KEY|TOKEN|SECRET|PASSWORD", re.IGNORECASE)  # in the names of variables
SHORTEST_SECRET = 8  # characters; a shorter value stands in ordinary words


class UserError(Exception):
    """A mistake in a config, an argument or a data file; shown as one line, without a traceback.

    Its text is made safe to print, since names of files and keys from elsewhere stand in it.
    """

    def __str__(self) -> str:
        return without_secrets(printable(super().__str__()))


class DataNotFoundError(UserError):
    """A data set that is not in the data folder."""


class NonCausalError(UserError):
    """A neuron that looks at later inputs was asked to work step by step."""


class NonFiniteLossError(UserError):
    """The training loss became NaN or infinite."""


def require_positive(**values: float) -> None:
    """Raise UserError for the first of `values` (name=number) that is not above zero."""
    for name, value in values.items():
        if not value > 0:
            raise UserError(f"{name} must be above 0, got {value}")


def first_line(error: BaseException) -> str:
    """What an error says, on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def did_you_mean(word: str, known: list[str]) -> str:
    """Near matches of `word` as the end of an error line: '; did you mean …?', or the choices there are."""
    from difflib import get_close_matches

    near = get_close_matches(word, known, n=3, cutoff=0.6)
    if near:
        return f"; did you mean {' or '.join(near)}?"
    return f"; there are: {', '.join(sorted(known))}" if known else ""


def printable(text: str) -> str:
    """A text that a terminal just shows: without escapes, changes of direction, separators other than line breaks."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter == "\n" or unicodedata.category(letter) not in ("Cc", "Cf", "Cs", "Zl", "Zp") else "\ufffd"
        for letter in text
    )


def without_secrets(text: str) -> str:
    """A text with the names of the environment's keys, tokens, secrets and passwords in place of their values."""
    for name, value in sorted(os.environ.items(), key=lambda pair: -len(pair[1])):
        if len(value) >= SHORTEST_SECRET and SECRET.search(name):
            text = text.replace(value, f"<{name}>")
    return text
