"""The page of runs and claims in a headless Chromium, one for all tests."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import page_data
import pytest

from snnrepro.ledger.page import page as page_of


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("chromium is not installed: the page cannot be shown")
    with sync_api.sync_playwright() as play:
        started = play.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory):
    """Give the file of a data set's page: each is made once."""
    folder, made = tmp_path_factory.mktemp("page"), {}

    def write(name: str, data: dict[str, Any]) -> Path:
        if name not in made:
            made[name] = folder / f"{name}.html"
            made[name].write_text(page_of(data), encoding="utf-8")
        return made[name]

    return write


@pytest.fixture
def show(browser, written):
    """Open a page, small data unless given; at the end nothing was asked of the network, nothing went wrong."""
    contexts, wrong = [], []

    def load(
        name: str = "small", data: dict[str, Any] | None = None, *, width: int = 1280, hash: str = "", scheme="light"
    ):
        file = written(name, data or page_data.whole()).as_uri()
        contexts.append(browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme))
        shown = contexts[-1].new_page()
        shown.on("console", lambda message: wrong.append(f"{message.type}: {message.text}"))
        shown.on("pageerror", lambda error: wrong.append(str(error)))
        shown.on("request", lambda request: wrong.append(request.url) if request.url.split("#")[0] != file else None)
        shown.goto(file + hash)
        assert shown.evaluate("window.reportReady") > 0
        return shown

    yield load
    for context in contexts:
        context.close()
    assert wrong == []
