"""What holds of the papers' claims, and how the recorded runs compare.

    python scripts/report.py                         of runs/ and results/: results/REPORT.md, report.html, plots
    python scripts/report.py runs/digits-dense       of the runs below a folder, into runs/report
    python scripts/report.py --latex                 a table of the runs over their seeds; also --markdown, --csv
    python scripts/report.py --latex --claims        the claims with their verdicts instead
    python scripts/report.py --wandb --offline       the recorded runs as Weights & Biases runs, grouped by identity

report.html needs no network: filter and sort the runs, compare some, see every claim with the records behind it.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from snnrepro.config.check import CONFIGS
from snnrepro.errors import UserError
from snnrepro.ledger.columns import COLUMNS
from snnrepro.ledger.formats import TextTable
from snnrepro.ledger.groups import groups
from snnrepro.ledger.runs import Records
from snnrepro.ledger.summaries import FEW, claims_summary, runs_summary, runs_values
from snnrepro.ledger.tables import show

ROOT = CONFIGS.parent


def records_of(folders: list[Path]) -> Records:
    """Raises UserError where there is nothing to report on."""
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder} is no folder: name one that has run.json files below it")
    records = Records(folders)
    if not records.runs:
        where = ", ".join(map(str, folders)) or "runs and results"
        broken = f" ({len(records.broken)} cannot be read)" if records.broken else ""
        raise UserError(f"no run.json below {where}{broken}; `make train` writes the first")
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
        text = runs_values(found) if arguments.csv else runs_summary(found, arguments.metrics)
    return text.latex() if arguments.latex else text.csv() if arguments.csv else text.markdown()


def report(records: Records, out: Path, *, allow_dirty: bool) -> None:
    """Write REPORT.md, report.html and the pictures, and print what is in them."""
    from snnrepro.ledger.page import page
    from snnrepro.ledger.page_data import page_data
    from snnrepro.ledger.plots import pictures
    from snnrepro.ledger.record import git_state
    from snnrepro.ledger.report_text import report_text
    from snnrepro.pricing import prices

    judged = judged_claims(records, allow_dirty=allow_dirty)
    out.mkdir(parents=True, exist_ok=True)
    made = {**git_state(), "command": "make report"}
    written = {
        out / "REPORT.md": report_text(records, judged, prices(records.runs), out),
        out / "report.html": page(page_data(records, judged, out, made)),
    }
    for file, text in written.items():
        partial = file.with_name(f"{file.name}.partial")
        partial.write_text(text, encoding="utf-8")
        partial.replace(file)
    drawn = pictures(records.runs, out)
    printed(runs_summary(groups(records.runs), intervals=False), "runs, means over the seeds of each config")
    states = [one.verdict.state for one in judged]
    print(f"{len(judged)} claims: " + ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states)))
    print(f"written: {', '.join(map(str, written))} and {len(drawn)} plots")


def printed(text: TextTable, title: str) -> None:
    from rich.markup import escape
    from rich.table import Table

    shown = Table(title=title, title_justify="left")
    for place, column in enumerate(text.columns):
        shown.add_column(column, justify="right" if place in text.numbers else "left", overflow="fold")
    for row in text.rows:
        shown.add_row(*map(escape, row))
    show(shown)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, help="default: runs and results")
    parser.add_argument("--out", type=Path, help="folder to write to (default: results; of named folders runs/report)")
    parser.add_argument("--allow-dirty", action="store_true", help="runs from uncommitted changes decide too")
    form = parser.add_mutually_exclusive_group()
    for name in ("markdown", "latex", "csv"):
        form.add_argument(f"--{name}", action="store_true", help=f"print a table as {name}, write nothing")
    form.add_argument("--wandb", action="store_true", help="write the runs as Weights & Biases runs")
    parser.add_argument("--claims", action="store_true", help="in that table the claims, not the runs")
    known = [column.metric for column in COLUMNS]
    parser.add_argument("--metrics", nargs="+", choices=known, default=FEW, metavar="METRIC", help=", ".join(known))
    parser.add_argument("--project", default="snnrepro", help="of --wandb")
    parser.add_argument("--entity", help="of --wandb: a user or team")
    parser.add_argument("--offline", action="store_true", help="of --wandb: into OUT/wandb, for `wandb sync`")
    arguments = parser.parse_args()
    if arguments.claims and not (arguments.markdown or arguments.latex or arguments.csv):
        sys.exit("error: --claims goes with --markdown, --latex or --csv; the report holds the claims anyway")
    default = [folder for folder in (Path("runs"), ROOT / "results") if folder.is_dir()]
    try:
        records = records_of(arguments.folders or default)
        for file, why in records.broken:
            print(f"passed over, {why}: {file}", file=sys.stderr)
        out = arguments.out or (Path("runs/report") if arguments.folders else ROOT / "results")
        if arguments.markdown or arguments.latex or arguments.csv:
            print(table(records, arguments), end="")
        elif arguments.wandb:
            from report_wandb import upload

            judged = judged_claims(records, allow_dirty=arguments.allow_dirty)
            upload(records.runs, claims_summary(judged), out, arguments)
        else:
            report(records, out, allow_dirty=arguments.allow_dirty)
    except (UserError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
