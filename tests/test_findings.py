"""docs/findings.md is what the committed records give, and every figure in it comes from them."""

import re
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from findings import TEMPLATE, page, with_front
from findings_data import ROOT, Found, correlation
from findings_plots import PICTURES

from snnrepro.errors import UserError

PNG = b"\x89PNG"
PAGE = ROOT / "docs" / "findings.md"


@pytest.mark.slow
def test_the_page_and_its_pictures_are_what_the_records_give(tmp_path):
    """If not: python scripts/findings.py."""
    found = Found(ROOT / "results")
    assert page(TEMPLATE.read_text(), found) == PAGE.read_text()
    readme = (ROOT / "README.md").read_text()
    assert with_front(readme, found) == readme
    for name, draw in PICTURES.items():
        draw(found, tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").read_bytes().startswith(PNG)
        assert (PAGE.parent / "pictures" / f"findings_{name}.png").is_file()


def test_every_verdict_on_the_page_leads_to_a_row_of_the_report():
    report = (ROOT / "results" / "REPORT.md").read_text()
    names = re.findall(r"REPORT\.md#([^)]+)\)", PAGE.read_text() + (ROOT / "README.md").read_text())
    assert names
    assert [name for name in names if f'<a id="{name}"></a>' not in report] == []


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (
            "[[ours small/seq_fashion_mnist/psn_over_lof]]",
            "names nothing; did you mean small/seq_fashion_mnist/psn_over_lif",
        ),
        ("[[table speeds]]", "names nothing; did you mean speed"),
        ("[[figure speed]]", "unknown field [[figure speed]]"),
    ],
)
def test_a_field_that_names_nothing_is_one_line(field, message, tmp_path):
    with pytest.raises(UserError) as caught:
        page(f"words {field}", Found(tmp_path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_config_does_not_stand_for_several(tmp_path):
    for folder in (ROOT / "results" / "small" / "seq_fashion_mnist").glob("sliding_psn-*"):
        shutil.copytree(folder, tmp_path / "small" / "seq_fashion_mnist" / folder.name)
    found = Found(tmp_path)
    assert found.group("small/seq_fashion_mnist", "sliding_psn", order=8).first["config"]["neuron"]["order"] == 8
    assert found.group("small/seq_fashion_mnist", "sliding_psn", order=3) is None
    with pytest.raises(UserError, match="sliding_psn has 6 configs"):
        found.group("small/seq_fashion_mnist", "sliding_psn")


def test_the_rank_correlation_is_one_for_the_same_order():
    assert correlation([1.0, 2.0, 3.0], [10.0, 20.0, 21.0]) == pytest.approx(1)
    assert correlation([1.0, 2.0, 3.0], [3.0, 2.0, 1.0]) == pytest.approx(-1)
