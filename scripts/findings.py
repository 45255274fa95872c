"""docs/findings.md: what holds of the papers' claims, in words, with every figure taken from a committed record.

    python scripts/findings.py             write docs/findings.md, its pictures, and the front table of README.md
    python scripts/findings.py --check     say whether both texts are what the records give; exit 1 where not

The words stand in scripts/findings_template.md. `[[ours NAME]]` becomes what was measured of a claim, `[[row NAME]]`
its verdict with a link to its row of results/REPORT.md, `[[table NAME]]` a table of scripts/findings_tables.py,
`[[value NAME ...]]` a figure of scripts/findings_values.py.
"""

import argparse
import re
import sys
from pathlib import Path

from findings_data import ROOT, Found
from findings_plots import PICTURES
from findings_tables import TABLES, front, row
from findings_values import VALUES

from snnrepro.command import Parser, ended
from snnrepro.errors import UserError, did_you_mean
from snnrepro.ledger.claims_table import ours
from snnrepro.writing import written_whole

README = ROOT / "README.md"
FRONT = re.compile(r"(?<=<!-- verdicts -->\n).*(?=\n<!-- end of verdicts -->)", re.DOTALL)
TEMPLATE = Path(__file__).with_name("findings_template.md")
PAGE = ROOT / "docs" / "findings.md"
FIELD = re.compile(r"\[\[(\w+) ([^\]]+)\]\]")


def page(template: str, found: Found) -> str:
    """The template with its fields filled. Raises UserError for a field that names nothing that was measured."""

    def filled(match: re.Match[str]) -> str:
        kind, name = match.groups()
        known: dict[str, list[str]] = {
            "ours": list(found.claims),
            "row": list(found.claims),
            "table": list(TABLES),
            "value": list(VALUES),
        }
        if kind not in known:
            raise UserError(f"{TEMPLATE.name}: unknown field {match.group()}{did_you_mean(kind, list(known))}")
        key = name.partition(" ")[0]
        if key not in known[kind]:
            raise UserError(f"{TEMPLATE.name}: {match.group()} names nothing{did_you_mean(key, known[kind])}")
        if kind == "table":
            return TABLES[name](found)
        if kind == "value":
            return VALUES[key](found, *name.split()[1:])
        one = found.claims[name]
        return row(one) if kind == "row" else ours(one.verdict, one.claim)

    return FIELD.sub(filled, template)


def with_front(readme: str, found: Found) -> str:
    """README.md with its table of verdicts made anew. Raises UserError where it has no place for one."""
    if not FRONT.search(readme):
        raise UserError("README.md has no lines <!-- verdicts --> and <!-- end of verdicts --> for its table")
    return FRONT.sub(lambda _: front(found), readme)


def parsed() -> argparse.Namespace:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    return parser.parse_args()


def main() -> None:
    arguments = parsed()
    found = Found(ROOT / "results")
    written = {
        PAGE: page(TEMPLATE.read_text(encoding="utf-8"), found),
        README: with_front(README.read_text(encoding="utf-8"), found),
    }
    for file, text in written.items():
        if arguments.check and text != file.read_text(encoding="utf-8"):
            raise UserError(f"{file.relative_to(ROOT)} is not what the records give: python scripts/findings.py")
    if arguments.check:
        return
    for file, text in written.items():
        with written_whole(file) as partial:
            partial.write_text(text, encoding="utf-8")
    for name, draw in PICTURES.items():
        draw(found, PAGE.parent / "pictures" / f"findings_{name}.png")
    print(f"written: {', '.join(str(file.relative_to(ROOT)) for file in written)} and {len(PICTURES)} pictures")


if __name__ == "__main__":
    sys.exit(ended(main))
