"""The page of runs and claims in a headless Chromium: what its readers do, and what no record may do to them."""

import itertools
import json
import re
import statistics

import page_data
import pytest
from page_data import ERROR, HOSTILE, VERDICTS
from shown_page import BLOCK, LIF, MPE_PSN, PSN, column, drawn, expect, marks, runs_rows, sort_by

from snnrepro.config.check import CONFIGS
from snnrepro.ledger.page import page as page_of

ACCURACY, ENERGY = "test/accuracy", "test/energy_pj_per_sample"
RESULTS = CONFIGS.parent / "results"


# ------------------------------------------------------------------------------------------------- what records hold


@pytest.mark.slow
def test_html_in_any_field_stays_text_everywhere_and_nothing_is_loaded(show):
    data = page_data.whole(2000, hostile=True)
    data["runs"][0]["link"] = "javascript:window.hacked=1"
    data["runs"][1]["link"] = "https://elsewhere.example/run.json"
    shown = show("hostile", data)
    assert runs_rows(shown).count() == 100
    shown.locator("td > .opener").first.click()
    shown.locator(".runs .opener").first.click()
    shown.locator(".runs .seed .opener").first.click()
    for place in (0, 6, 7):
        shown.locator(".runs input[data-entry]").nth(place).check()
    assert drawn(shown, "compare").count() == 3
    plot = drawn(shown, "pareto").first
    assert marks(plot) > 100
    plot.locator(".mark-symbol.role-mark path").last.hover()
    expect(shown.locator("#tip")).to_contain_text(HOSTILE)
    assert HOSTILE in plot.locator(".role-axis").first.text_content() or HOSTILE[:12] in plot.text_content()
    assert shown.locator("h1").text_content() == "Runs and claims" + HOSTILE
    assert shown.locator("img, iframe, object, a[href^='javascript'], a[href^='http']").count() == 0
    assert shown.locator("script").count() == 4  # data, bundle, the page's own, and the bundle as it runs
    assert shown.evaluate("window.hacked") is None


def test_the_policy_allows_two_scripts_and_a_style_by_hash_and_nothing_else(written):
    html = written("small", page_data.whole()).read_text("utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)[1]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert "unsafe" not in policy
    assert [len(re.findall("sha256-", rules[kind])) for kind in ("script-src", "style-src")] == [2, 1]


def test_no_text_can_end_the_data(written):
    html = written("hostile", page_data.whole(2000, hostile=True)).read_text("utf-8")
    assert html.count("</script") == 3
    inside = html.split('id="data">')[1].split("</script")[0]
    assert not set(inside) & set("<>&\u2028\u2029")
    assert json.loads(inside)["runs"][3]["neuron"] == "psn" + HOSTILE


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_json_lacks_is_refused(value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        page_of({**page_data.empty(), "runs": [{"metrics": {ACCURACY: value}}]})


def test_without_runs_and_claims_sentences_stand_for_tables(show):
    shown = show("empty", page_data.empty())
    for text in (
        "No claim has been read",
        "No run has been recorded",
        "No speed-up",
        "No counter",
        "Every record could be read",
    ):
        expect(shown.get_by_text(text)).to_be_visible()
    assert shown.locator("table, svg").count() == 0


# ------------------------------------------------------------------------------------------------- claims


def test_a_verdicts_button_filters_the_claims_and_counts_them(show):
    shown = show()
    button = shown.locator("#verdicts button", has_text="not reproduced")
    assert button.inner_text() == "2 not reproduced"
    button.click()
    assert column(shown, "claims", "verdict") == ["not reproduced"] * 2
    assert button.get_attribute("aria-pressed") == "true"
    button.click()
    assert len(column(shown, "claims", "verdict")) == 10


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_verdicts_differ_in_word_shape_and_lightness(show, scheme):
    shown = show(scheme=scheme)
    signs = shown.locator("#verdicts button svg")
    shapes = signs.evaluate_all("all => all.map((one) => one.innerHTML)")
    colours = signs.evaluate_all("all => all.map((one) => getComputedStyle(one).fill)")
    assert [words.split(" ", 1)[1] for words in shown.locator("#verdicts button").all_inner_texts()] == list(VERDICTS)
    assert len(set(shapes)) == 5
    lightness = sorted(_lightness(colour) for colour in colours)
    assert min(b - a for a, b in itertools.pairwise(lightness)) > 10


def _lightness(colour: str) -> float:
    """CIE L*, from 0 to 100."""
    linear = [
        v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4
        for v in (int(c) / 255 for c in re.findall(r"\d+", colour))
    ]
    y = sum(w * v for w, v in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    return 116 * y ** (1 / 3) - 16 if y > 0.008856 else 903.3 * y


def test_claims_are_sorted_by_numbers_as_numbers_and_empty_ones_come_last(show):
    shown = show()
    assert sort_by(shown, "value") == "ascending"
    assert [text.split(" %")[0] for text in column(shown, "claims", "value")][::2] == [
        "8",
        "9.5",
        "88.23",
        "100",
        "1,234.5",
    ]
    assert sort_by(shown, "value") == "descending"
    assert column(shown, "claims", "value")[0].startswith("1,234.5 %")
    for _ in range(2):
        sort_by(shown, "ours")
        assert column(shown, "claims", "ours")[-4:] == ["–"] * 4


def test_claims_are_found_by_paper_and_by_all_words_of_a_text(show):
    shown = show()
    section = shown.locator("section:has(#claims)")
    section.get_by_label("Paper").select_option("psu")
    assert set(column(shown, "claims", "paper")) == {"psu"}
    section.get_by_label("Search claims").fill("STATEMENT 5: table")
    assert column(shown, "claims", "name") == ["psu/seq_cifar10/5/accuracy"]


def test_a_claims_row_opens_to_its_source_command_and_every_record(show):
    data = page_data.whole()
    shown = show()
    button = shown.locator("td > .opener").first
    assert button.get_attribute("aria-expanded") == "false"
    button.click()
    assert button.get_attribute("aria-expanded") == "true"
    detail = shown.locator("section:has(#claims) tr.detail")
    claim = data["claims"][0]
    for text in (claim["statement"], claim["source"], claim["command"]):
        expect(detail).to_contain_text(text)
    hrefs = detail.locator("a").evaluate_all("all => all.map((one) => one.getAttribute('href'))")
    assert hrefs == [data["runs"][place]["link"] for place in claim["runs"]] + claim["links"]
    button.click()
    assert detail.count() == 0


# ------------------------------------------------------------------------------------------------- runs


def test_a_hundred_rows_are_drawn_until_all_are_asked_for(show):
    shown = show("several", page_data.whole(450))
    assert runs_rows(shown).count() == 100
    expect(shown.get_by_text("450 of 450 runs in 150 configs")).to_be_visible()
    shown.get_by_role("button", name="Show all 150 rows").click()
    assert runs_rows(shown).count() == 150


def test_filters_list_what_exists_and_narrow_together(show):
    shown = show()
    runs = page_data.whole()["runs"]
    section = shown.locator("section:has(#runs)")
    options = section.get_by_label("Data set").locator("option").all_inner_texts()
    assert options == ["all", *sorted({run["dataset"] for run in runs})]
    assert section.get_by_label("Status").locator("option").all_inner_texts() == [
        "all",
        "completed",
        "failed",
        "running",
    ]
    section.get_by_label("Data set").select_option("seq_cifar10")
    section.get_by_label("Neuron").select_option("lif")
    assert column(shown, "runs", "id") == ["psn/seq_cifar10/lif-00000006"]
    section.get_by_label("Paper").select_option("psu")
    assert runs_rows(shown).count() == 0
    expect(shown.get_by_text("0 of 60 runs in 0 configs")).to_be_visible()


def test_the_search_looks_in_names_errors_and_differing_config(show):
    shown = show()
    search = shown.get_by_label("Search runs")
    search.fill("not finite")
    assert column(shown, "runs", "seed") == ["1 of 3"]
    search.fill("neuron.tau=4 digits")
    assert column(shown, "runs", "neuron") == ["psu", "sliding_psn"]


def test_runs_are_sorted_both_ways_with_empty_ones_last(show):
    shown = show()
    shown.get_by_label("Single runs").check()
    known = sorted(
        100 * run["metrics"][ACCURACY] for run in page_data.whole()["runs"] if run["metrics"][ACCURACY] is not None
    )
    for order, expected in (("ascending", known), ("descending", known[::-1])):
        assert sort_by(shown, f"metric:{ACCURACY}") == order
        cells = column(shown, "runs", f"metric:{ACCURACY}")
        assert cells == [f"{value:.2f}" for value in expected] + ["–"] * 2
    sort_by(shown, f"metric:{ENERGY}")
    assert column(shown, "runs", f"metric:{ENERGY}")[-4:] == ["32.4 µJ"] * 3 + ["–"]
    sort_by(shown, "seed")
    assert column(shown, "runs", "seed") == [f"seed {seed}" for seed in range(3) for _ in range(20)]


def test_seeds_are_folded_to_mean_and_range_of_the_completed_and_unfold(show):
    shown = show()
    runs = page_data.whole()["runs"]
    for place, kept in ((0, (0, 1, 2)), (1, (3, 5)), (2, (6, 8))):  # 4 has failed, 7 is still running
        known = [100 * runs[number]["metrics"][ACCURACY] for number in kept]
        text = f"{statistics.mean(known):.2f} [{min(known):.2f}, {max(known):.2f}]"
        assert column(shown, "runs", f"metric:{ACCURACY}")[place] == text + (" n = 2" if len(kept) == 2 else "")
    button = shown.get_by_role("button", name="seeds of digits-dense/psn-00000001")
    button.click()
    assert column(shown, "runs", "seed")[1:5] == ["n = 3", "seed 0", "seed 1", "seed 2"]
    button.click()
    assert column(shown, "runs", "seed")[1:3] == ["n = 3", "n = 3"]
    shown.get_by_label("Single runs").check()
    assert runs_rows(shown).count() == 60


def test_every_number_leads_to_its_record(show):
    shown = show()
    runs = page_data.whole()["runs"]
    hrefs = (
        runs_rows(shown).first.locator("td.number a").evaluate_all("all => all.map((one) => one.getAttribute('href'))")
    )
    ends = sorted(runs[:3], key=lambda run: run["metrics"][ACCURACY])
    assert hrefs[:2] == [ends[0]["link"], ends[-1]["link"]]
    shown.get_by_label("Single runs").check()
    hrefs = runs_rows(shown).nth(8).locator("a").evaluate_all("all => all.map((one) => one.getAttribute('href'))")
    assert hrefs == [runs[8]["link"]] * 7  # its name and six metrics


def test_failures_and_what_qualifies_a_number_are_told_in_words(show):
    shown = show()
    assert column(shown, "runs", "status")[1].split("\n") == ["2 completed, 1 failed", ERROR]
    notes = column(shown, "runs", "notes")
    assert notes[0] == "–"
    assert notes[5] == "measured beside other work (1 of 3)"
    assert (notes[6], notes[7], notes[12]) == ("dirty", "reduced", "partial data")


# ------------------------------------------------------------------------------------------------- hands and eyes


def test_a_telephone_scrolls_tables_in_their_boxes_and_has_room_for_thumbs(show):
    shown = show(width=360, hash="#chosen=" + "&chosen=".join((PSN, BLOCK, LIF, MPE_PSN)))
    shown.locator("td > .opener").first.click()
    shown.locator(".runs .opener").first.click()
    shown.locator(".runs .seed .opener").first.click()
    drawn(shown, "compare")
    drawn(shown, "pareto")
    assert shown.evaluate("document.scrollingElement.scrollWidth") <= 360
    assert shown.locator(".scroll").first.evaluate("box => box.scrollWidth > box.clientWidth")
    heights = shown.locator("button, select, input[type=search], label.toggle, label.box, nav a, summary").evaluate_all(
        "all => all.filter((one) => one.checkVisibility()).map((one) => [one.offsetHeight, one.textContent])"
    )
    assert len(heights) > 40
    assert [text for height, text in heights if height < 40] == []


def test_the_keyboard_alone_skips_sorts_opens_and_chooses(show):
    shown = show()
    shown.keyboard.press("Tab")
    expect(shown.locator("a.skip").first).to_be_focused()
    shown.keyboard.press("Enter")
    expect(shown.locator("#main")).to_be_focused()
    seen = []
    for _ in range(80):
        shown.keyboard.press("Tab")
        focus = shown.evaluate(
            """() => {
                const { dataset, parentElement } = document.activeElement;
                return dataset.entry ?? parentElement.dataset.column ?? "";
            }"""
        )
        assert shown.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        seen.append(focus)
        if focus == "id":
            shown.keyboard.press("Enter")
            assert column(shown, "runs", "id")[0] == "digits-dense/block-00000004"
        if focus == BLOCK:
            shown.keyboard.press("Space")
            expect(shown.locator("#chosen")).to_contain_text("1 chosen")
            shown.keyboard.press("Tab")
            shown.keyboard.press("Space")
            break
    assert seen.count("id") == 1
    assert seen[-1] == BLOCK
    assert column(shown, "runs", "seed")[:3] == ["n = 3", "seed 0", "seed 1"]


def test_every_control_has_a_name_and_every_table_a_label(show):
    shown = show(hash=f"#chosen={PSN}&chosen={BLOCK}")
    nameless = shown.locator("button, select, input, a").evaluate_all(
        """all => all.filter((one) => !(one.ariaLabel || one.textContent.trim() || one.labels?.length))
            .map((one) => one.outerHTML)"""
    )
    assert nameless == []
    regions = shown.locator(".scroll").evaluate_all("all => all.map((one) => one.ariaLabel)")
    assert len(regions) == shown.locator("table").count() > 10
    assert all(regions)
