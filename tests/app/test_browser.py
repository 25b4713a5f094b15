"""The app in a real browser: from a file to an order, with nothing serious for axe-core and no error of the console."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
import uvicorn

from demandcast.app.web import Address, create_app
from demandcast.app.workspace import Workspace
from demandcast.frames.examples import retail
from demandcast.serve.server import bind

from ..report.browser import Browser, find_axe, find_browser

pytestmark = pytest.mark.skipif(
    find_browser() is None, reason="no Chromium on this machine; install the package chromium"
)
IDLE = "document.documentElement.dataset.busy === 'false'"


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """The app in a thread, and its address that opens once."""
    (tmp_path / "own").mkdir()
    bound = bind("127.0.0.1", 0)
    app = create_app(Workspace(tmp_path / "own"), Address("token", "code"))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    yield f"http://127.0.0.1:{bound.getsockname()[1]}/start/code"
    server.should_exit = True
    thread.join(20)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    opened = Browser(tmp_path / "profile")
    (tmp_path / "downloads").mkdir()
    opened.call(
        "Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path / "downloads")
    )
    yield opened
    opened.close()


def does(browser: Browser, script: str) -> None:
    """Do something on the page, and wait for the work that it begins."""
    version = browser.run("document.documentElement.dataset.version")
    browser.run(script)
    browser.wait(f"{IDLE} && document.documentElement.dataset.version > {version}")


def click(selector: str) -> str:
    return f"document.querySelector({selector!r}).click();"


def choose(selector: str, value: str) -> str:
    return (
        f"{{ const s = document.querySelector({selector!r}); s.value = {value!r};"
        " s.dispatchEvent(new Event('change')); }"
    )


def test_from_a_file_to_an_order(browser: Browser, address: str, tmp_path: Path) -> None:
    sales = retail(n_items=3, n_days=70, seed=3).frame.drop("in_stock", "category")
    ahead = pl.col("date") > sales["date"].max() - pl.duration(days=7)
    units = pl.when(ahead).then(None).otherwise("units").alias("units")
    sales.with_columns(units, pl.col("promo").cast(pl.Int8)).write_csv(tmp_path / "sales.csv")

    browser.open(address)
    browser.choose_file("#picker", tmp_path / "sales.csv")
    browser.wait(f"{IDLE} && document.querySelectorAll('#columns select').length === 5")
    for column in ("price", "promo"):
        does(browser, choose(f"[aria-label='Meaning of {column}']", "known"))
    assert browser.run("document.getElementById('horizon').value") == "7"
    findings = browser.inaccessible() if find_axe() else []

    does(browser, click("#to-forecast") + click("#forecast-form .primary"))
    line = browser.run("document.getElementById('forecast-line').textContent")
    assert " units, " in line
    assert browser.run("document.getElementById('report').getAttribute('src')").startswith(
        "report?"
    )
    findings += browser.inaccessible() if find_axe() else []

    browser.run(click("a[href='#what-if']"))
    promotion = choose(".change [name=column]", "promo")
    does(browser, promotion + click("#what-if-form .primary"))
    assert browser.run("document.getElementById('what-if-line').textContent").startswith(
        "promo = 1: +"
    )
    assert browser.run("document.querySelectorAll('#what-if-chart svg path').length") >= 2
    findings += browser.inaccessible() if find_axe() else []

    browser.run(click("a[href='#orders']") + click("#orders-form .primary"))
    browser.wait("document.querySelectorAll('#orders-faults button').length === 2")
    fields = "lead_time.value = 2; cost_under.value = 3; cost_over.value = 1;"
    does(browser, fields + "[...document.querySelectorAll('#orders-faults button')].pop().click()")
    assert browser.run("document.getElementById('orders-line').textContent").startswith("Order ")

    downloads = tmp_path / "downloads"
    for name in ("forecast", "orders", "what-if"):
        browser.run(click(f"a[href='download/{name}.csv']"))
    end = time.monotonic() + 30
    names = [f"sales-{name}.csv" for name in ("forecast", "orders", "what-if")]
    while not all((downloads / name).exists() for name in names) and time.monotonic() < end:
        time.sleep(0.05)
    forecast, orders, difference = (pl.read_csv(downloads / name) for name in names)
    assert (forecast.height, orders.height) == (21, 3)
    assert (difference["difference"] != 0).any()

    browser.run("window.before = true")
    browser.call("Page.reload")
    browser.wait("!window.before && document.documentElement?.dataset.ready === ''")
    assert browser.run("document.getElementById('orders-line').textContent").startswith("Order ")
    browser.resize(390, 800, dark=True)
    findings += browser.inaccessible() if find_axe() else []
    for step in ("table", "forecast", "what-if", "orders"):
        browser.run(click(f"a[href='#{step}']"))
        assert browser.run("document.documentElement.scrollWidth") == 390, step
    assert findings == []
    assert browser.errors == []
