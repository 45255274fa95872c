"""How a script beside train.py reads its command line and ends: a mistake is one line, never a traceback."""

import argparse
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from snnrepro.errors import UserError


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; see {self.prog} --help\n")


def ended(work: Callable[[], None]) -> int:
    """Do the work; the exit code: 1 for a user's mistake or a full machine, 130 for Ctrl-C, 0 where `| head` left."""
    try:
        work()
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (UserError, OSError, MemoryError, RuntimeError) as error:
        from snnrepro.ledger.record import explain

        line = explain(error)
        if line is None:
            raise
        print(f"error: {line}", file=sys.stderr)
        return 1
    return 0
