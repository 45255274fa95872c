"""Runs compared on the page: side by side, over epochs and time-steps, on Pareto plots and speed-up maps."""

import csv
import re
import statistics
from urllib.parse import parse_qs

import page_data
from shown_page import BLOCK, MPE_PSN, PSN, check_boxes, column, drawn, expect, marks, sort_by

from snnrepro.config.check import CONFIGS
from snnrepro.judging import judged
from snnrepro.ledger.claims import read_claims
from snnrepro.ledger.page_data import page_data as page_data_of
from snnrepro.ledger.runs import Records

ACCURACY, ENERGY = "test/accuracy", "test/energy_pj_per_sample"
RESULTS = CONFIGS.parent / "results"


def test_the_projects_own_records_are_shown_compared_and_plotted(show):
    records = Records([RESULTS])
    claims = [
        judged(claim, records) for claim in read_claims(CONFIGS / "experiment") if claim.benchmark or claim.blocked
    ]
    data = page_data_of(records, claims, RESULTS, {"commit": None, "dirty": None, "command": "make report"})
    chosen = [run["group"] for run in data["runs"] if run["neuron"] in ("psn", "lif") and run["rates"]]
    shown = show(
        "own", data, hash="".join(f"&chosen=group:{group}" for group in dict.fromkeys(chosen)).replace("&", "#", 1)
    )
    expect(shown.get_by_text(f"{len(data['runs'])} of {len(data['runs'])} runs")).to_be_visible()
    curves, rates, over_time = drawn(shown, "compare").all()
    assert min(marks(plot) for plot in (curves, rates, over_time)) > 0
    assert drawn(shown, "pareto").count() == 2
    with (RESULTS / "benchmarks" / "neurons_cpu.csv").open() as file:
        cells = {(row["T"], row["N"]) for row in csv.DictReader(file)}
    assert shown.locator("section:has(#speedups) .ratio").count() == len(cells) > 8
    assert shown.locator("section:has(#counters) details").count() == len({row["net"] for row in data["counters"]}) > 20


def config_rows(shown) -> list[list[str]]:
    table = shown.get_by_role("region", name="Config")
    texts = [row.locator("th, td").all_inner_texts() for row in table.locator("tbody tr").all()]
    return [[" ".join(text.split()) for text in row] for row in texts]


def test_two_chosen_are_compared_in_exactly_the_keys_that_differ(show):
    shown = show()
    check_boxes(shown, PSN)
    expect(shown.locator("#chosen")).to_contain_text("tick another")
    assert shown.get_by_role("region", name="Config").count() == 0
    check_boxes(shown, BLOCK)
    assert config_rows(shown) == [
        ["loss.smoothing", "0.1", "≠ differs: (not set)"],
        ["neuron.name", "psn", "≠ differs: block"],
    ]
    expect(shown.get_by_text("Keys that differ: 2 of 6.")).to_be_visible()
    shown.get_by_label("All keys").check()
    assert [row[0] for row in config_rows(shown)] == sorted(
        page_data.whole()["configs"]["common"] | {"neuron.name": "", "neuron.tau": ""}
    )
    metrics = shown.get_by_role("region", name="Metrics").locator("tbody tr")
    assert "best" in metrics.first.locator("td").nth(1).inner_text()
    assert "best" not in metrics.first.locator("td").nth(0).inner_text()


def test_curves_and_firing_rates_of_the_chosen_are_drawn(show):
    shown = show(hash=f"#chosen={PSN}&chosen={BLOCK}&chosen=run:digits-dense/mpe_psn-00000003/seed1")
    curves, rates, over_time = drawn(shown, "compare").all()
    assert over_time.locator(".mark-line path").count() == 2  # the third has no rates over time
    assert marks(over_time) > 4
    assert curves.locator(".mark-line path").count() == 4  # two with a curve, each judged and on train
    assert curves.locator(".mark-area path").count() == 2
    assert marks(rates) == 9  # three layers of each
    expect(shown.get_by_text("No curve was recorded for digits-dense/mpe_psn-00000003/seed1.")).to_be_visible()
    dashes = curves.locator(".mark-line path").evaluate_all(
        "all => all.map((one) => one.getAttribute('stroke-dasharray'))"
    )
    colours = curves.locator(".mark-line path").evaluate_all("all => all.map((one) => one.getAttribute('stroke'))")
    assert (len(set(dashes)), len(set(colours))) == (2, 2)


def test_choices_survive_filters_and_are_cleared(show):
    shown = show()
    check_boxes(shown, PSN, BLOCK)
    shown.locator("section:has(#runs)").get_by_label("Neuron").select_option("lif")
    assert len(config_rows(shown)) == 2
    shown.locator("#chosen").get_by_role("button", name="Clear").click()
    assert shown.get_by_role("region", name="Config").count() == 0
    assert shown.locator("#chosen").is_hidden()
    shown.locator("section:has(#runs)").get_by_label("Neuron").select_option("psn")
    assert not shown.locator(f'input[data-entry="{PSN}"]').is_checked()


def test_runs_whose_numbers_do_not_compare_are_compared_with_a_warning(show):
    shown = show(hash=f"#chosen={PSN}&chosen=group:psn/seq_cifar10/psn-00000007")
    warnings = " ".join(shown.locator(".warning").all_inner_texts())
    assert "different protocols" in warnings
    assert "different data sets" in warnings
    assert "different devices" not in warnings


def test_the_address_restores_filters_order_and_choices(show):
    shown = show()
    runs = shown.locator("section:has(#runs)")
    runs.get_by_label("Data set").select_option("digits")
    shown.get_by_label("Search runs").fill("psn")
    sort_by(shown, f"metric:{ACCURACY}")
    sort_by(shown, f"metric:{ACCURACY}")
    check_boxes(shown, PSN, MPE_PSN)
    shown.locator("#verdicts button", has_text="blocked").click()
    expect(shown).to_have_url(re.compile("claims_verdict=blocked"))
    hash = shown.evaluate("location.hash")
    assert parse_qs(hash[1:])["runs_sort"] == [f"metric:{ACCURACY}:down"]
    again = show(hash=hash)
    for table, key in (("runs", "id"), ("claims", "name")):
        assert column(again, table, key) == column(shown, table, key) != []
    assert again.get_by_label("Search runs").input_value() == "psn"
    assert config_rows(again) == config_rows(shown) != []


def test_the_pareto_front_is_that_of_the_means(show):
    shown = show()
    setting = shown.get_by_label("Data set and architecture")
    assert setting.locator("option:checked").inner_text() == "digits · dense · validated protocol (22 runs)"
    plots = drawn(shown, "pareto")
    assert plots.count() == 2
    points: dict[str, list[tuple[float, float]]] = {}
    for run in page_data.whole()["runs"]:
        values = run["metrics"][ENERGY], run["metrics"][ACCURACY]
        if run["dataset"] == "digits" and run["status"] == "completed" and None not in values:
            points.setdefault(run["group"], []).append(values)
    means = {group: tuple(map(statistics.mean, zip(*pairs, strict=True))) for group, pairs in points.items()}
    front = {
        g for g, (x, y) in means.items() if not any((a <= x and b > y) or (a < x and b >= y) for a, b in means.values())
    }
    shown.locator("section:has(#pareto) details").first.locator("summary").click()
    table = shown.locator("section:has(#pareto) details").first.locator("tbody tr")
    assert table.count() == len(means) == 8
    assert {
        row.locator("th").inner_text() for row in table.all() if row.locator("td").last.inner_text() == "yes"
    } == front
    assert marks(plots.first) == len(means) + sum(len(pairs) for pairs in points.values() if len(pairs) > 1)


def test_a_click_on_a_point_opens_its_record_or_compares_it(show):
    shown = show()
    drawn(shown, "pareto").first.locator(".mark-symbol.role-mark").last.locator("path").last.click()
    section = shown.locator("section:has(#pareto)")
    assert section.locator('a[href^="../runs/digits-dense/"]:visible').count() == 3
    section.get_by_role("button", name="Add to the comparison").click()
    expect(shown.locator("#chosen")).to_contain_text("1 chosen")
    section.get_by_role("button", name="Leave out of the comparison").click()
    assert shown.locator("#chosen").is_hidden()


def test_plots_show_the_runs_that_pass_the_filter_of_one_setting(show):
    shown = show()
    shown.locator("section:has(#runs)").get_by_label("Neuron").select_option("psu")
    names = shown.get_by_label("Data set and architecture").locator("option").all_inner_texts()
    assert names == [
        "seq_cifar10 · psn_seq_cifar · paper protocol (3 runs)",
        "shd · psu_shd · paper protocol · partial data (3 runs)",
        "digits · dense · validated protocol (2 runs)",
    ]
    shown.get_by_label("Data set and architecture").select_option(label=names[1])
    assert marks(drawn(shown, "pareto").first) == 4  # a mean and its three seeds


def test_a_speed_up_is_a_number_with_a_sign_and_its_record(show):
    shown = show()
    section = shown.locator("section:has(#speedups)")
    assert section.locator("thead th").all_inner_texts() == ["T \\ N", "256", "4,096", "65,536"]
    cells = section.locator("tbody tr").first.locator("td").all_inner_texts()
    assert [cell.split()[0] for cell in cells] == ["▲", "▼", "▼"]
    assert "1.39 ×" in cells[0]
    section.get_by_label("Pass").focus()
    shown.keyboard.press("ArrowDown")
    expect(section.get_by_label("Pass")).to_have_value("forward+backward")
    expect(section.get_by_label("Pass")).to_be_focused()
    assert section.locator("tbody a").first.get_attribute("href") == "benchmarks/neurons_cpu.csv"


def test_counters_stand_in_one_table_a_net_and_broken_records_are_named(show):
    shown = show()
    nets = shown.locator("section:has(#counters) h3").all_inner_texts()
    assert nets == ["dense-lif", "dense-psn"]
    row = shown.locator("section:has(#counters) tbody tr").first.locator("th, td").all_inner_texts()
    assert row == ["snnrepro", "837 M", "295.7 M", "0", "67.09 M", "–", "2.4 mJ", "–"]
    foot = shown.locator("footer")
    for text in ("1 record", "runs/x/run.json", "not JSON: line 1", "decides nothing", "python scripts/report.py"):
        expect(foot).to_contain_text(text)
