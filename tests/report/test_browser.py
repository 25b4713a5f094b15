"""The report in a real browser: it opens without an error, searches, switches items, and fits a phone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import demandcast as dc
from demandcast.forecast.forecast import Forecast
from demandcast.panel.panel import Panel
from demandcast.report.page import write_report

from .browser import Browser, find_axe, find_browser
from .conftest import HOSTILE

pytestmark = pytest.mark.skipif(
    find_browser() is None, reason="no Chromium on this machine; install the package chromium"
)
ITEMS = 120


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture
def page(tmp_path: Path, forecast: Forecast, panel: Panel, result: Any) -> Path:
    """A forecast and a backtest of four series, one of them with a hostile name."""
    return write_report(tmp_path / "r.html", forecast=forecast, panel=panel, result=result)


@pytest.fixture
def many(tmp_path: Path, panel: Panel) -> Path:
    """A forecast of 120 series in three regions, by the last values; the first is forecast tenfold."""
    wide = panel.select(np.resize(np.arange(4), ITEMS))
    wide = replace(
        wide,
        keys=pl.DataFrame({"town": [f"town {i:03d}" for i in range(ITEMS)]}),
        static_codes=(np.arange(ITEMS) % 3 + 1)[:, None],
        vocabularies={"region": ("north", "south", "west")},
        known=(np.arange(len(wide.target)) % 12 == 0).astype(np.float32)[:, None],
        known_names=("fair",),
    )
    wide = replace(wide, target=np.where(_ahead(wide), np.nan, wide.target))
    mean = wide.padded_history(6).copy()
    mean[0] *= 10
    levels = (0.1, 0.3, 0.5, 0.7, 0.9)
    quantiles = mean[..., None] * np.array([0.8, 0.9, 1, 1.1, 1.2], np.float32)
    forecast = Forecast.of(wide, levels, quantiles, mean, model="naive")
    return write_report(tmp_path / "many.html", forecast=forecast, panel=wide)


def _ahead(panel: Panel) -> np.ndarray[Any, Any]:
    """Rows of the steps ahead: values that came are taken out, covariates stay."""
    ahead = np.ones(len(panel.target), bool)
    for begin, length in zip(panel.begins, panel.lengths, strict=True):
        ahead[begin : begin + length] = False
    return ahead


def rows(browser: Browser) -> list[str]:
    found: list[str] = browser.run(
        "[...document.querySelectorAll('#item-table tbody th')].map((th) => th.textContent)"
    )
    return found


def test_the_page_opens_without_an_error(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert browser.errors == []
    assert browser.run("document.getElementById('problem').textContent") == ""
    charts = browser.run("document.querySelectorAll('[data-chart]').length")
    assert browser.run("document.querySelectorAll('[data-chart] > svg').length") == charts == 4
    assert browser.run("document.querySelectorAll('[data-chart] > svg path').length") > 10
    assert "NaN" not in browser.run("document.querySelector('main').innerHTML")


def test_a_hostile_name_is_text(browser: Browser, page: Path, panel: Panel) -> None:
    browser.open(page)
    assert panel.keys.row(1)[0] in rows(browser)
    assert browser.run("document.querySelectorAll('#items script').length") == 0


def test_search_filters_all_items(browser: Browser, many: Path) -> None:
    browser.open(many)
    assert len(rows(browser)) == 50  # of a page of the list
    browser.run("document.getElementById('search').focus()")
    browser.call("Input.insertText", text="TOWN 11")
    expected = ["town 011", *(f"town {i}" for i in range(110, 120))]
    assert sorted(rows(browser)) == expected
    assert browser.run("document.getElementById('count').textContent") == "11 of 120 items"


def test_choosing_an_item_draws_it(browser: Browser, many: Path) -> None:
    browser.open(many)
    assert browser.run("document.getElementById('item-title').textContent") == "town 000"
    browser.run("document.querySelectorAll('#item-table tbody button')[3].click()")
    name = rows(browser)[3]
    assert browser.run("document.getElementById('item-title').textContent") == name
    label = browser.run(
        "document.querySelector('[data-chart=item] svg').getAttribute('aria-label')"
    )
    assert label.startswith(name)


def test_keys_go_from_item_to_item_and_to_the_search(browser: Browser, many: Path) -> None:
    browser.open(many)
    order = rows(browser)
    for key, expected in (("j", order[1]), ("j", order[2]), ("k", order[1])):
        browser.press(key, key)
        assert browser.run("document.getElementById('item-title').textContent") == expected
    browser.press("/", "/")
    assert browser.run("document.activeElement.id") == "search"


def test_a_chart_is_read_by_arrow_keys(browser: Browser, many: Path) -> None:
    browser.open(many)
    browser.run("document.querySelector('[data-chart=item] svg').focus()")
    readout = "document.querySelector('[data-chart=item] .readout').textContent"
    first = browser.run(readout)
    assert first.startswith("Jan 2004: median ")
    browser.press("ArrowRight")
    assert browser.run(readout).startswith("Feb 2004: median ")
    assert first.endswith(" · fair 1")
    assert browser.run(readout).endswith(" · fair 0")


def test_known_covariates_are_drawn_below_the_item(browser: Browser, many: Path) -> None:
    browser.open(many)
    bars = "document.querySelectorAll('[data-chart=item] rect.lane').length"
    assert browser.run(bars) == 3  # each January of two years of history, and the first month ahead


def test_sorting_and_filtering_by_group(browser: Browser, many: Path) -> None:
    browser.open(many)
    assert rows(browser)[0] == "town 000"  # the largest forecast first
    browser.run("document.querySelector('#item-table .sort').click()")
    assert rows(browser)[:2] == ["town 000", "town 001"]
    browser.run("document.querySelector('#group-table tbody button').click()")
    shown = {int(name.split()[1]) % 3 for name in rows(browser)}
    assert len(shown) == 1
    assert browser.run("document.getElementById('count').textContent") == "40 of 120 items"


def test_the_item_to_look_at_leads_to_its_chart(browser: Browser, many: Path) -> None:
    browser.open(many)
    listed = "[...document.querySelectorAll('#attention tbody button')].map((b) => b.textContent)"
    assert browser.run(listed) == ["town 000"]
    browser.press("j", "j")
    browser.run("document.querySelector('#attention tbody button').click()")
    assert browser.run("document.getElementById('item-title').textContent") == "town 000"


def test_the_download_is_of_the_items_listed(browser: Browser, many: Path) -> None:
    browser.open(many)
    browser.run(
        "window.kept = null; URL.createObjectURL = (blob) => { window.kept = blob; return '#'; };"
        "document.getElementById('search').value = 'town 007';"
        "document.getElementById('search').dispatchEvent(new Event('input'));"
        "document.getElementById('download').click()"
    )
    lines = browser.run("window.kept.text()").splitlines()
    assert lines[0] == "town,month,mean,median,80_low,80_high,40_low,40_high"
    assert len(lines) == 1 + 6
    assert lines[1].startswith("town 007,2004-01,")


def test_both_views_and_every_model_can_be_shown(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.run(
        "document.getElementById('view').value = '1';"
        "document.getElementById('view').dispatchEvent(new Event('change'))"
    )
    models = browser.run("[...document.getElementById('model').options].map((o) => o.value)")
    assert models == ["deepar", "seasonal_naive", "drift"]
    for model in models:
        browser.run(
            f"document.getElementById('model').value = '{model}';"
            "document.getElementById('model').dispatchEvent(new Event('change'))"
        )
        label = browser.run(
            "document.querySelector('[data-chart=item] svg').getAttribute('aria-label')"
        )
        assert f"by {model}." in label
    assert browser.errors == []


@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_shows_it_without_scrolling_sideways(
    browser: Browser, many: Path, dark: bool
) -> None:
    browser.open(many, width=390, height=800, dark=dark)
    assert browser.run("document.documentElement.scrollWidth") == 390
    ground = browser.run("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(20, 24, 29)" if dark else "rgb(255, 255, 255)")


def test_every_control_has_a_name(browser: Browser, page: Path) -> None:
    browser.open(page)
    nameless = browser.run(
        "[...document.querySelectorAll('button, select, input, svg[tabindex]')].filter((e) => "
        "!(e.textContent.trim() || e.getAttribute('aria-label') || (e.labels && e.labels.length)))"
        ".map((e) => e.outerHTML)"
    )
    assert nameless == []


@pytest.mark.skipif(find_axe() is None, reason="axe-core-python is not installed")
@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing_serious(browser: Browser, page: Path, dark: bool) -> None:
    browser.open(page, dark=dark)
    browser.run("for (const d of document.querySelectorAll('details')) d.open = true")
    assert browser.inaccessible() == []


@pytest.fixture
def ordered(tmp_path: Path, panel: Panel) -> Path:
    """Orders of 60 items: item i has 10 i units of demand and i on hand; the first has a hostile name, four are out."""
    wide = panel.select(np.resize(np.arange(4), 60))
    keys = [HOSTILE, *(f"town {i:02d}" for i in range(1, 60))]
    wide = replace(wide, keys=pl.DataFrame({"town": keys}))
    wide = replace(wide, target=np.where(_ahead(wide), np.nan, wide.target))
    paths = np.repeat(np.repeat(10.0 * np.arange(60)[:, None, None], 80, 1), 2, 2)
    forecast = Forecast.from_samples(paths.astype(np.float32), (0.1, 0.5, 0.9), wide, model="known")
    stock = wide.keys.with_columns(
        on_hand=pl.Series(np.arange(60)), maximum=pl.Series([None] * 56 + [100.0] * 4)
    )
    orders = dc.order(forecast, stock, lead_time=0, service=0.9)
    return write_report(tmp_path / "orders.html", forecast=forecast, panel=wide, orders=orders)


def cells(browser: Browser, line: int) -> list[str]:
    found: list[str] = browser.run(
        f"[...document.querySelectorAll('#order-table tbody tr')[{line}].children].map((c) => c.textContent)"
    )
    return found


def test_orders_are_listed_with_their_reason_and_risk(browser: Browser, ordered: Path) -> None:
    browser.open(ordered)
    assert browser.errors == []
    titles = browser.run(
        "[...document.querySelectorAll('#order-table thead th')].map((t) => t.textContent)"
    )
    assert titles == [
        "Item", "On hand", "Order ↓", "Up to", "Demand", "Risk", "Served", "Left", "Short", "Why",
    ]  # fmt: skip
    assert cells(browser, 0)[:4] == ["town 55", "55", "495", "550"]
    assert cells(browser, 0)[5:] == ["0 %", "100 %", "0", "0", "service"]
    assert browser.run("document.querySelectorAll('#order-table tbody tr').length") == 50
    assert browser.run("document.getElementById('order-page').textContent") == "Page 1 of 2"
    assert "Order 14,030 units of 59 of 60 items" in browser.run(
        "document.getElementById('orders').textContent"
    )
    assert "NaN" not in browser.run("document.getElementById('orders').innerHTML")
    assert browser.run("document.querySelectorAll('#orders script').length") == 0


def test_orders_are_searched_sorted_and_filtered_by_reason(browser: Browser, ordered: Path) -> None:
    browser.open(ordered)
    browser.run(
        "const why = document.getElementById('order-why');"
        "why.value = [...why.options].find((o) => o.textContent === 'limit').value;"
        "why.dispatchEvent(new Event('change'))"
    )
    assert browser.run("document.getElementById('order-count').textContent") == "4 of 60 items"
    assert cells(browser, 0)[0] == "town 56"
    assert cells(browser, 0)[5] == "100 %"  # runs out for sure
    browser.run("document.querySelectorAll('#order-table .sort')[1].click()")
    assert cells(browser, 0)[:2] == ["town 59", "59"]
    browser.run("document.getElementById('order-search').focus()")
    browser.call("Input.insertText", text="57")
    assert browser.run("document.getElementById('order-count').textContent") == "1 of 60 items"
    browser.run("document.querySelector('#order-table tbody button').click()")
    assert browser.run("document.getElementById('item-title').textContent") == "town 57"


def test_the_orders_listed_are_downloaded(browser: Browser, ordered: Path) -> None:
    browser.open(ordered)
    browser.run(
        "window.kept = null; URL.createObjectURL = (blob) => { window.kept = blob; return '#'; };"
        "document.getElementById('order-search').value = '0';"
        "document.getElementById('order-search').dispatchEvent(new Event('input'));"
        "document.getElementById('order-download').click()"
    )
    lines = browser.run("window.kept.text()").splitlines()
    assert lines[0] == (
        "town,on_hand,order,order_up_to,expected_demand,p_stock_out,fill_rate,expected_held,expected_lost,why"
    )
    assert lines[1] == "town 50,50,450,500,500,0,1,0,0,service"


@pytest.mark.skipif(find_axe() is None, reason="axe-core-python is not installed")
def test_axe_finds_nothing_serious_in_orders(browser: Browser, ordered: Path) -> None:
    browser.open(ordered)
    browser.run("for (const d of document.querySelectorAll('details')) d.open = true")
    assert browser.inaccessible() == []


def test_orders_fit_a_phone(browser: Browser, ordered: Path) -> None:
    browser.open(ordered, width=390, height=800)
    assert browser.run("document.documentElement.scrollWidth") == 390
