"""What a reader of the page sees and does, in words of Playwright."""

import page_data
import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect

LIF, PSN, _, MPE_PSN, BLOCK = (
    f"group:digits-dense/{neuron}-{place:08x}" for place, neuron in enumerate(page_data.NEURONS[:5])
)
PLOTS = ".plot"


def runs_rows(shown):
    return shown.locator("table.runs > tbody > tr:not(.detail)")


def column(shown, table: str, key: str) -> list[str]:
    """What the rows of a table (`runs` or `claims`) show in a column."""
    return shown.evaluate(
        """([id, key]) => {
            const table = document.getElementById(id).parentElement.querySelector("table");
            const shown = [...table.tBodies[0].rows].filter((row) => !row.matches(".detail"));
            const place = [...table.querySelectorAll("th")].findIndex((head) => head.dataset.column === key);
            return shown.map((row) => row.cells[place].innerText);
        }""",
        [table, key],
    )


def sort_by(shown, key: str) -> str | None:
    head = shown.locator(f'th[data-column="{key}"]').first
    head.locator("button").click()
    return head.get_attribute("aria-sort")


def check_boxes(shown, *keys: str) -> None:
    for key in keys:
        shown.locator(f'input[data-entry="{key}"]').check()


def drawn(shown, section: str):
    """The plots of a section, after each has come into view and stands."""
    plots = shown.locator(f"section:has(#{section}) {PLOTS}")
    for plot in plots.all():
        plot.scroll_into_view_if_needed()
        expect(plot.locator("svg")).to_be_visible()
    return plots


def marks(plot) -> int:
    return plot.locator(".mark-symbol.role-mark path").count()
