"""Run what a claim of the papers needs, and judge it.

    python scripts/reproduce.py                                          every claim and its state
    python scripts/reproduce.py claim=psn/seq_cifar10/psn/accuracy      run what it needs, print the verdict
    python scripts/reproduce.py claim=block/mnist/* --reduced           the small version: minutes, no verdict
    python scripts/reproduce.py claim=psu/* --list                      only judge the records there are
    python scripts/reproduce.py claim=NAME paths.data_dir=FOLDER        words that leave the run what it is

Claims stand in configs/experiment; snnrepro/ledger/claims.py says how they are judged. Records are looked for below
paths.runs_dir (runs) and results; a completed run is not run again, an interrupted one goes on.
"""

import argparse
import fnmatch
import itertools
import os
import re
import sys
from pathlib import Path
from typing import Any, NoReturn

from snnrepro.config.check import CONFIGS
from snnrepro.errors import UserError, did_you_mean
from snnrepro.ledger.claims import Claim, Verdict, read_claims
from snnrepro.ledger.tables import DASH, amount, show
from snnrepro.reproduce import HARMLESS, Needed, Records, experiments, macs, needed, rate, start

ROOT = Path(__file__).resolve().parents[1]


def chosen(patterns: list[str], claims: list[Claim]) -> list[Claim]:
    """The claims that `claim=` names, by name or pattern. Raises UserError for one that names none."""
    found: dict[str, Claim] = {}
    for pattern in patterns:
        matching = [claim for claim in claims if fnmatch.fnmatchcase(claim.name, pattern)]
        if not matching:
            raise UserError(f"no claim {pattern!r}{hint(pattern, [claim.name for claim in claims])}")
        found |= {claim.name: claim for claim in matching}
    return list(found.values())


def hint(pattern: str, names: list[str]) -> str:
    """What may have been meant: all claims of an experiment, near names, or the list."""
    if any(name.startswith(f"{pattern.rstrip('/')}/") for name in names):
        return f"; did you mean '{pattern.rstrip('/')}/*'?"
    near = did_you_mean(pattern, names) if "*" not in pattern else ""
    return near if "did you" in near else "; without claim= they are all listed"


def figure(value: float | None, claim: Claim, *, difference: bool = False) -> str:
    """A value in the claim's unit, as people read it."""
    if value is None:
        return DASH
    if claim.unit == "fraction":
        points = difference or claim.kind == "difference"
        return f"{100 * value:+.4g} points" if points else f"{100 * value:.2f} %"
    return f"{value:.4g} x" if claim.unit == "times" else amount(value, claim.unit)


def measured(verdict: Verdict, claim: Claim) -> str:
    joined = " > ".join(figure(value, claim) for value in verdict.ours)
    return f"{joined} ({verdict.seeds} seed{'s' if verdict.seeds > 1 else ''})" if verdict.ours else DASH


def listing(claims: list[Claim], records: Records) -> None:
    """A table of claims, and below it how they are counted and what the costs mean."""
    from rich.table import Table

    table = Table(title="claims", title_justify="left")
    table.add_column("claim", no_wrap=True)
    table.add_column("paper", no_wrap=True)
    for column in ("its value", "data", "cost", "state", "ours"):
        table.add_column(column, overflow="fold")
    known, states = experiments(), []
    for claim in claims:
        verdict = records.verdict(claim)
        states.append(verdict.state)
        row = known.get(claim.experiment)
        table.add_row(
            claim.name,
            (re.findall(r"arXiv [\d.]+", claim.source) or [DASH])[0],
            figure(claim.value, claim) if claim.kind != "ranking" else " > ".join(map(side, claim.runs)),
            row.dataset if row else DASH,
            DASH if verdict.state == "blocked" else duration(macs(claim, known), rate(records, claim.experiment)),
            verdict.state + (f": {verdict.why}" if verdict.why and verdict.state == "not run" else ""),
            measured(verdict, claim),
        )
    show(table)
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    print(f"{len(claims)} claims: {counts}")
    for file in records.broken:
        print(f"no record of a run, passed over: {file}", file=sys.stderr)
    if records.rates:
        print(
            "cost: training, about, at the median rate of the experiment's recorded runs, else of all "
            f"{len(records.rates)} ({', '.join(sorted({device for _, device, _ in records.rates}))})"
        )


def side(run: dict[str, Any]) -> str:
    return " ".join(str(value) if key == "neuron" else f"{key}={value}" for key, value in run.items())


def duration(cost: float | None, speed: float | None) -> str:
    """Seconds, minutes, hours or days of training; multiply-accumulates where no run tells a rate."""
    if cost is None:
        return DASH
    if speed is None:
        return f"{cost:.1e} MACs"
    seconds = cost / speed
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.2g} {unit}" if seconds / size < 100 else f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def run_claim(claim: Claim, records: Records, folders: list[Path], arguments: argparse.Namespace) -> Records:
    """Run what a claim lacks. Returns the records after it; raises UserError where a run does not complete."""
    seeds = arguments.seeds or (1 if arguments.reduced else claim.min_seeds)
    todo: list[tuple[Needed, int]] = []
    for part in needed(claim, reduced=arguments.reduced):
        done = records.completed(part)
        if "overwrite=true" in arguments.extra:
            done = set()
        unused = (seed for seed in itertools.count(part.first_seed) if seed not in done)
        todo += [(part, seed) for seed in itertools.islice(unused, max(0, seeds - len(done)))]
    for number, (part, seed) in enumerate(todo, 1):
        words = [*part.words, f"seed={seed}", *arguments.extra]
        print(f"\n{number} of {len(todo)}: python train.py {' '.join(words)}", flush=True)
        code = start(words)
        if code == 130:
            raise KeyboardInterrupt
        if code:
            raise UserError(f"{claim.name} cannot be judged: train.py ended with {code}, see above")
    return Records(folders) if todo else records


def verdict_of(claim: Claim, records: Records) -> None:
    from rich.table import Table

    verdict = records.verdict(claim)
    table = Table(title=claim.name, title_justify="left", show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    table.add_row("claim", f"{claim.statement} ({claim.source})")
    if claim.kind == "ranking":
        table.add_row("paper", " > ".join(map(side, claim.runs)))
    else:
        table.add_row(
            "paper",
            f"{figure(claim.value, claim)}, within {figure(claim.tolerance, claim, difference=True).lstrip('+')}",
        )
    table.add_row("ours", measured(verdict, claim))
    table.add_row("verdict", verdict.state + (f": {verdict.why}" if verdict.why else ""))
    show(table)


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as train.py does."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see --help")


def parse(words: list[str]) -> argparse.Namespace:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="claim=NAME or claim=PATTERN, and words for train.py")
    parser.add_argument("--reduced", action="store_true", help="run the experiment's reduced version; no verdict")
    parser.add_argument("--seeds", type=int, help="runs a side (default: what the claim needs; reduced: 1)")
    parser.add_argument("--list", action="store_true", help="run nothing, judge the records there are")
    arguments = parser.parse_intermixed_args(words)
    arguments.patterns = [word.partition("=")[2] for word in arguments.words if word.startswith("claim=")]
    arguments.extra = [word for word in arguments.words if not word.startswith("claim=")]
    for word in arguments.extra:
        if "=" not in word:
            raise UserError(f"cannot read {word!r}: write claim=NAME or key=value")
        if not word.startswith(HARMLESS):
            raise UserError(
                f"{word} would make another run than the one that is claimed: what may be set here is "
                f"{', '.join(key.rstrip('=.') for key in HARMLESS)}"
            )
    if arguments.seeds is not None and arguments.seeds < 1:
        raise UserError(f"--seeds must be above 0, got {arguments.seeds}")
    return arguments


def main() -> int:
    try:
        arguments = parse(sys.argv[1:])
        claims = read_claims(CONFIGS / "experiment")
        named = [word.partition("=")[2] for word in arguments.extra if word.startswith("paths.runs_dir=")]
        folders = [Path(named[-1] if named else "runs").expanduser(), ROOT / "results"]
        records = Records(folders)
        if arguments.patterns:
            claims = chosen(arguments.patterns, claims)
        if not arguments.patterns or arguments.list:
            listing(claims, records)
            return 0
        wrong = 0
        for claim in claims:
            if not claim.blocked:
                try:
                    records = run_claim(claim, records, folders, arguments)
                except UserError as error:
                    print(f"error: {error}", file=sys.stderr)
                    wrong += 1
            verdict_of(claim, records)
        return 1 if wrong else 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        return 130
    except BrokenPipeError:  # | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    sys.exit(main())
