"""What holds of the papers' claims, and how the recorded runs compare.

    python scripts/report.py                         of runs/ and results/: results/REPORT.md, report.html, plots
    python scripts/report.py runs/digits-dense       of the runs below a folder, into runs/report
    python scripts/report.py --latex                 a table of the runs over their seeds; also --markdown, --csv
    python scripts/report.py --latex --claims        the claims with their verdicts instead
    python scripts/report.py --wandb --offline       the recorded runs as Weights & Biases runs, grouped by identity

report.html needs no network: filter and sort the runs, compare some, see every claim with the records behind it.
"""

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

from snnrepro.command import Parser, ended
from snnrepro.config.check import CONFIGS
from snnrepro.errors import UserError, did_you_mean, printable
from snnrepro.ledger.columns import COLUMNS
from snnrepro.ledger.formats import TextTable
from snnrepro.ledger.groups import groups
from snnrepro.ledger.runs import Records
from snnrepro.ledger.summaries import DISTURBED, DISTURBED_MEANS, FEW, claims_summary, runs_summary, runs_values
from snnrepro.ledger.tables import show
from snnrepro.writing import written_whole

ROOT = CONFIGS.parent


def records_of(folders: list[Path]) -> Records:
    """Raises UserError where there is nothing to report on."""
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder} is no folder: name one that has run.json files below it")
    records = Records(folders)
    for file, why in records.broken:
        print(printable(f"passed over, {why}: {file}"), file=sys.stderr)
    if not records.runs:
        where = ", ".join(map(str, folders)) or "runs and results"
        readable = " that can be read" if records.broken else ""
        raise UserError(f"no run.json{readable} below {where}; `make train` writes the first")
    return records


def judged_claims(records: Records, *, allow_dirty: bool) -> list[Any]:
    from rich.console import Console
    from rich.progress import track

    from snnrepro.judging import judged
    from snnrepro.ledger.claims import read_claims

    claims = read_claims(CONFIGS / "experiment")
    return [
        judged(claim, records, allow_dirty=allow_dirty)
        for claim in track(
            claims, description="judging", transient=True, console=Console(stderr=True), disable=not sys.stderr.isatty()
        )
    ]


def table(records: Records, arguments: argparse.Namespace) -> str:
    """The table that --markdown, --latex or --csv asks for."""
    if arguments.claims:
        text = claims_summary(judged_claims(records, allow_dirty=arguments.allow_dirty))
    else:
        found = groups(records.runs)
        metrics = arguments.metrics or ([column.metric for column in COLUMNS] if arguments.csv else FEW)
        text = runs_values(found, metrics) if arguments.csv else runs_summary(found, metrics)
    if not text.rows:
        raise UserError(f"none of the {len(records.runs)} runs has completed")
    return text.latex() if arguments.latex else text.csv() if arguments.csv else text.markdown()


def report(records: Records, out: Path, arguments: argparse.Namespace) -> None:
    """Write REPORT.md, report.html and, where wanted, the pictures, and print what is in them."""
    from rich.console import Console
    from rich.progress import Progress

    from snnrepro.ledger.page import page
    from snnrepro.ledger.page_data import page_data
    from snnrepro.ledger.plots import pictures
    from snnrepro.ledger.record import git_state
    from snnrepro.ledger.report_text import report_text
    from snnrepro.pricing import prices

    judged = judged_claims(records, allow_dirty=arguments.allow_dirty)
    out.mkdir(parents=True, exist_ok=True)
    given = " ".join(map(shlex.quote, sys.argv[1:]))
    made = {**git_state(), "command": f"python scripts/report.py {given}" if given else "make report"}
    written = {
        out / "REPORT.md": report_text(records, judged, prices(records.runs), out),
        out / "report.html": page(page_data(records, judged, out, made)),
    }
    for file, text in written.items():
        with written_whole(file) as partial:
            partial.write_text(text, encoding="utf-8")
    drawn = 0
    if not arguments.no_plots:
        with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
            task = progress.add_task("drawing", total=None)
            for drawn, total in pictures(records.runs, out):
                progress.update(task, completed=drawn, total=total)
    runs = runs_summary(groups(records.runs), intervals=False)
    printed(runs, "runs, means over the seeds of each config")
    if any(cell.endswith(DISTURBED) for row in runs.rows for cell in row):
        print(DISTURBED_MEANS)
    states = [one.verdict.state for one in judged]
    print(f"{len(judged)} claims: " + ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states)))
    plots = f", plots of {drawn} folder{'s' if drawn > 1 else ''} of runs" if drawn else ""
    print(f"written: {', '.join(map(str, written))}{plots}")


def printed(text: TextTable, title: str) -> None:
    from rich.table import Table

    shown = Table(title=title, title_justify="left")
    for place, column in enumerate(text.columns):
        shown.add_column(column, justify="right" if place in text.numbers else "left", overflow="fold")
    for row in text.rows:
        shown.add_row(*row)
    show(shown)


def parsed() -> argparse.Namespace:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, help="default: runs and results")
    parser.add_argument("--out", type=Path, help="folder to write to (default: results; of named folders runs/report)")
    parser.add_argument("--allow-dirty", action="store_true", help="runs from uncommitted changes decide too")
    parser.add_argument("--no-plots", action="store_true", help="REPORT.md and report.html alone: seconds")
    form = parser.add_mutually_exclusive_group()
    for name, note in (("markdown", ""), ("latex", " (with booktabs)"), ("csv", "")):
        form.add_argument(f"--{name}", action="store_true", help=f"print a table as {name}{note}, write nothing")
    form.add_argument("--wandb", action="store_true", help="write the runs as Weights & Biases runs")
    parser.add_argument("--claims", action="store_true", help="in that table the claims, not the runs")
    known = [column.metric for column in COLUMNS]
    parser.add_argument("--metrics", metavar="A,B,...", help=f"columns of that table, of {', '.join(known)}")
    parser.add_argument("--project", help="of --wandb (default: snnrepro)")
    parser.add_argument("--entity", help="of --wandb: a user or team")
    parser.add_argument("--offline", action="store_true", help="of --wandb: into OUT/wandb, for `wandb sync`")
    arguments = parser.parse_intermixed_args()
    printing = arguments.markdown or arguments.latex or arguments.csv
    if (arguments.claims or arguments.metrics) and not printing:
        parser.error("--claims and --metrics go with --markdown, --latex or --csv")
    if arguments.out and printing:
        parser.error("--out goes with the report and with --wandb; a table is printed")
    if (arguments.project or arguments.entity or arguments.offline) and not arguments.wandb:
        parser.error("--project, --entity and --offline go with --wandb")
    arguments.metrics = arguments.metrics.split(",") if arguments.metrics else None
    for name in arguments.metrics or []:
        if name not in known:
            parser.error(f"unknown metric {name!r}{did_you_mean(name, known)}")
    return arguments


def main() -> None:
    arguments = parsed()
    default = [folder for folder in (Path("runs"), ROOT / "results") if folder.is_dir()]
    records = records_of(arguments.folders or default)
    out = arguments.out or (Path("runs/report") if arguments.folders else ROOT / "results")
    if arguments.markdown or arguments.latex or arguments.csv:
        print(table(records, arguments), end="")
    elif arguments.wandb:
        from report_wandb import upload

        judged = judged_claims(records, allow_dirty=arguments.allow_dirty)
        upload(records.runs, claims_summary(judged), out, arguments)
    else:
        report(records, out, arguments)


if __name__ == "__main__":
    sys.exit(ended(main))
