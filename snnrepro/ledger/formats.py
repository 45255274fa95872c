"""A table of texts as Markdown, LaTeX or CSV, with whatever the texts hold left text."""

import csv
import io
from collections.abc import Sequence
from typing import NamedTuple

LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "–": "--",
    "†": r"\textdagger{}",
    "µ": r"\textmu{}",
}
MARKDOWN = {
    "\\": "\\\\",
    "|": "\\|",
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    "*": "\\*",
    "`": "\\`",
    "\n": " ",
}


class TextTable(NamedTuple):
    """Columns, and rows of as many texts; numbers: which columns are set flush right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: frozenset[int] = frozenset()

    def markdown(self) -> str:
        rule = ["---:" if place in self.numbers else "---" for place in range(len(self.columns))]
        lines = [map(markdown, self.columns), rule, *(map(markdown, row) for row in self.rows)]
        return "".join(f"| {' | '.join(line)} |\n" for line in lines)

    def latex(self) -> str:
        """A booktabs tabular, to be put into a table."""
        places = "".join("r" if place in self.numbers else "l" for place in range(len(self.columns)))
        lines = [f"\\begin{{tabular}}{{{places}}}", "\\toprule"]
        lines += [_latex_row(self.columns), "\\midrule", *map(_latex_row, self.rows)]
        return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"]) + "\n"

    def csv(self) -> str:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(self.rows)
        return text.getvalue()


def markdown(text: str) -> str:
    """A text as Markdown that shows just this, also within a table: no markup, and no link."""
    return "".join(MARKDOWN.get(letter, letter) for letter in text).replace("](", "]\\(")


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join("".join(LATEX.get(letter, letter) for letter in cell) for cell in cells) + r" \\"
