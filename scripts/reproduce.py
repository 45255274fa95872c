"""Run what a claim of the papers needs, and judge it.

    python scripts/reproduce.py                                          every claim and its state
    python scripts/reproduce.py claim=psn/seq_cifar10/psn/accuracy      run what it needs, print the verdict
    python scripts/reproduce.py claim=block/mnist/* --reduced           the small version: minutes, no verdict
    python scripts/reproduce.py claim=psu/* --list                      only judge the records there are
    python scripts/reproduce.py claim=NAME paths.data_dir=FOLDER        words that leave the run what it is
    python scripts/reproduce.py --queue results/queue.yaml --jobs 2     a list of sweeps, gone on with whenever; --list

Claims stand in configs/experiment; snnrepro/ledger/verdicts.py says how they are judged. Records are looked for below
paths.runs_dir (runs) and results; a completed run is not run again, an interrupted one goes on.
"""

import argparse
import fnmatch
import itertools
import os
import re
import sys
from pathlib import Path

from reproduce_queue import run_queue

from snnrepro.command import Parser
from snnrepro.config.check import CONFIGS
from snnrepro.errors import UserError, did_you_mean, printable
from snnrepro.judging import Needed, completed, deciding, judged, needed
from snnrepro.ledger.claims import Claim, read_claims
from snnrepro.ledger.claims_table import interval, measured, papers, seeds, tolerance
from snnrepro.ledger.runs import Judged, Records
from snnrepro.ledger.tables import DASH, show
from snnrepro.ledger.verdicts import SMALLER
from snnrepro.reproduce import HARMLESS, experiments, macs, measuring, rate, rates, start

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


def ours(judged: Judged) -> str:
    """What was measured, over how many seeds; a claim of a benchmark has none."""
    claim, verdict = judged.claim, judged.verdict
    if not verdict.ours or claim.benchmark is not None:
        return measured(verdict, claim)
    return f"{measured(verdict, claim)} ({seeds(verdict)})"


def listing(claims: list[Claim], records: Records, *, allow_dirty: bool) -> None:
    """A table of claims, and below it how they are counted and what the costs mean."""
    from rich.table import Table

    table = Table(title="claims", title_justify="left")
    table.add_column("claim", no_wrap=True)
    table.add_column("paper", no_wrap=True)
    for column in ("its value", "data", "cost", "state", "ours"):
        table.add_column(column, overflow="fold")
    known, states, speeds = experiments(), [], rates(records)
    for claim in claims:
        found = judged(claim, records, allow_dirty=allow_dirty)
        state, why = found.verdict.state, found.verdict.why
        states.append(state)
        row = known.get(claim.experiment)
        table.add_row(
            claim.name,
            (re.findall(r"arXiv [\d.]+", claim.source) or [DASH])[0],
            papers(claim),
            row.dataset if row else DASH,
            DASH if state == "blocked" else duration(macs(claim, known), rate(speeds, claim.experiment)),
            state + (f": {why}" if why and state != "blocked" and why != SMALLER else ""),
            ours(found),
        )
    show(table)
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    print(f"{len(claims)} claims: {counts}")
    for file, why in records.broken:
        print(printable(f"passed over, {why}: {file}"), file=sys.stderr)
    if speeds:
        print(
            "cost: training, about, at the median rate of the experiment's recorded runs, else of all "
            f"{len(speeds)} ({', '.join(sorted({device for _, device, _ in speeds}))})"
        )


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
    if claim.benchmark is not None:
        state = judged(claim, records, allow_dirty=arguments.allow_dirty).verdict.state
        enough = {"reproduced", "not reproduced", *(["reduced"] if arguments.reduced else [])}
        if state in enough and "overwrite=true" not in arguments.extra:
            return records
        # A folder for each claim: the same benchmark's rows on another grid stay.
        out = folders[0] / "benchmarks" / claim.name.replace("/", "-")
        _started("scripts/benchmark.py", [*measuring(claim, reduced=arguments.reduced), "--out", str(out)], claim)
        return Records(folders)
    wanted = arguments.seeds or (1 if arguments.reduced else claim.min_seeds)
    todo: list[tuple[Needed, int]] = []
    for part in needed(claim, reduced=arguments.reduced):
        done = taken = completed(records, part)
        if not arguments.reduced:  # what decides nothing stays, and other seeds are run
            done = deciding(claim, records, part, allow_dirty=arguments.allow_dirty)
        if "overwrite=true" in arguments.extra:
            done = taken = set()
        unused = (seed for seed in itertools.count(part.first_seed) if seed not in taken)
        todo += [(part, seed) for seed in itertools.islice(unused, max(0, wanted - len(done)))]
    for number, (part, seed) in enumerate(todo, 1):
        words = [*part.words, f"seed={seed}", *arguments.extra]
        _started("train.py", words, claim, f"{number} of {len(todo)}: ")
    return Records(folders) if todo else records


def _started(script: str, words: list[str], claim: Claim, number: str = "") -> None:
    """Raises UserError where the script ends with an error, KeyboardInterrupt where it was interrupted."""
    print(f"\n{number}python {script} {' '.join(words)}", flush=True)
    code = start(words, script)
    if code == 130:
        raise KeyboardInterrupt
    if code:
        raise UserError(f"{claim.name} cannot be judged: {Path(script).name} ended with {code}, see above")


def verdict_of(found: Judged) -> None:
    from rich.table import Table

    claim, verdict = found.claim, found.verdict
    table = Table(title=claim.name, title_justify="left", show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    table.add_row("claim", f"{claim.statement} ({claim.source})")
    table.add_row("paper", f"{papers(claim)}, {tolerance(claim)}")
    between = interval(verdict, claim)
    table.add_row("ours", ours(found) + (f", 95 % interval over seeds {between}" if between else ""))
    table.add_row("verdict", verdict.state + (f": {verdict.why}" if verdict.why else ""))
    show(table)


def parse(words: list[str]) -> argparse.Namespace:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="claim=NAME or claim=PATTERN, and words for train.py")
    parser.add_argument("--reduced", action="store_true", help="run the experiment's reduced version; no verdict")
    parser.add_argument("--seeds", type=int, help="runs a side (default: what the claim needs; reduced: 1)")
    parser.add_argument("--list", action="store_true", help="run nothing, judge the records there are")
    parser.add_argument("--queue", type=Path, metavar="FILE", help="run what is left of a list of sweeps")
    parser.add_argument(
        "--jobs", type=int, default=1, help="of --queue: runs at a time (default: 1), sharing the cores"
    )
    parser.add_argument("--allow-dirty", action="store_true", help="runs from uncommitted changes decide too")
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
    if arguments.queue and (arguments.patterns or arguments.reduced or arguments.seeds or arguments.allow_dirty):
        raise UserError("--queue says itself what is run: it goes with --jobs and --list only")
    if arguments.jobs < 1:
        raise UserError(f"--jobs must be above 0, got {arguments.jobs}")
    if arguments.jobs > 1 and not arguments.queue:
        raise UserError("--jobs goes with --queue")
    if arguments.seeds is not None and arguments.seeds < 1:
        raise UserError(f"--seeds must be above 0, got {arguments.seeds}")
    return arguments


def main() -> int:
    try:
        arguments = parse(sys.argv[1:])
        if arguments.queue:
            return run_queue(arguments.queue, arguments.extra, arguments.jobs, only_list=arguments.list)
        claims = read_claims(CONFIGS / "experiment")
        named = [word.partition("=")[2] for word in arguments.extra if word.startswith("paths.runs_dir=")]
        folders = [Path(named[-1] if named else "runs").expanduser(), ROOT / "results"]
        records = Records(folders)
        if arguments.patterns:
            claims = chosen(arguments.patterns, claims)
        if not arguments.patterns or arguments.list:
            listing(claims, records, allow_dirty=arguments.allow_dirty)
            return 0
        wrong = 0
        for claim in claims:
            if not claim.blocked:
                try:
                    records = run_claim(claim, records, folders, arguments)
                except UserError as error:
                    print(f"error: {error}", file=sys.stderr)
                    wrong += 1
            verdict_of(judged(claim, records, allow_dirty=arguments.allow_dirty))
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
