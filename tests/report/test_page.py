"""The report is one file that loads nothing, shows the forecast's numbers, and trusts no key."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from demandcast.errors import ConfigError, FileError
from demandcast.evaluate.metrics import quantile_coverage
from demandcast.forecast.forecast import Forecast
from demandcast.panel.panel import Panel
from demandcast.report.page import write_report

SIX_DIGITS = 5e-6  # what the page keeps of a number
VOID = {"meta", "link", "br", "img", "input"}


class Page(HTMLParser):
    """The tags, the attributes, and what stands in each script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif self.open and self.open[-1] != "style":
            self.words += data

    @property
    def data(self) -> Any:
        return json.loads(self.scripts[0])


def read(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture
def page(tmp_path: Path, forecast: Forecast, panel: Panel, result: Any) -> Page:
    path = write_report(
        tmp_path / "r.html",
        forecast=forecast,
        panel=panel,
        result=result,
        title="Guests & <b>beds</b>",
        notes=["Ran for 3 s < 4 s."],
    )
    return read(path)


def test_every_tag_is_closed(page: Page) -> None:
    assert page.open == []


def test_nothing_is_loaded(page: Page, tmp_path: Path) -> None:
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|//[a-z0-9.-]+\.[a-z]{2,}|@import|url\(|import\(|fetch\(", text)
    for tag, attributes in page.seen:
        assert "src" not in attributes
        assert tag != "link" or attributes["href"] == "data:,"


def test_a_hostile_key_stays_text(page: Page, panel: Panel) -> None:
    assert len(page.scripts) == 2
    key = panel.keys.row(1)[0]
    assert key in {item["name"] for item in page.data["views"][0]["items"]}
    assert key in page.words  # in the note that names it
    assert "Guests & <b>beds</b>" in page.words
    assert not any(tag == "b" and "Guests" in str(attributes) for tag, attributes in page.seen)


@pytest.mark.parametrize("name", ["<img src=x onerror=alert(1)>", "a&b"])
def test_a_hostile_model_stays_text(tmp_path: Path, result: Any, name: str) -> None:
    result.forecasts = {name if m == "deepar" else m: f for m, f in result.forecasts.items()}
    result.forecasts[name] = [replace(result.forecasts[name][0], model=name)]
    result.models = tuple(result.forecasts)
    board = result.leaderboard().with_columns(pl.col("model").replace("deepar", name))
    result.leaderboard = lambda: board
    page = read(write_report(tmp_path / "r.html", result=result))
    assert f"{name} beats the seasonal naive by 20.0%" in page.words
    assert not any(tag == "img" for tag, _ in page.seen)


def test_the_numbers_are_the_forecast_s_own(page: Page, forecast: Forecast, panel: Panel) -> None:
    view = page.data["views"][0]
    assert (view["label"], view["target"], view["time"]) == ("Forecast", "guests", "month")
    item = next(item for item in view["items"] if item["name"] == "Bern")
    fan = item["models"]["deepar"]
    np.testing.assert_allclose(fan["median"], forecast.median[0], rtol=SIX_DIGITS)
    np.testing.assert_allclose(fan["mean"], forecast.mean[0], rtol=SIX_DIGITS)
    assert [band["share"] for band in fan["bands"]] == [0.8, 0.6, 0.4, 0.2]
    np.testing.assert_allclose(fan["bands"][0]["high"], forecast.quantile(0.9)[0], rtol=SIX_DIGITS)
    assert item["actual"][1] is None
    np.testing.assert_allclose(item["values"], panel.history(0)[-24:], rtol=SIX_DIGITS)
    assert (item["past"][-1], item["ahead"][0]) == ("2003-12", "2004-01")


def test_calibration_is_that_of_the_metrics(page: Page, result: Any) -> None:
    made = result.forecasts["drift"][0]
    levels, shares = page.data["calibration"]["drift"]
    expected = quantile_coverage(result.actuals[0], made.quantiles, made.levels)
    assert levels == list(made.levels)
    np.testing.assert_allclose(shares, expected, rtol=SIX_DIGITS)
    assert len(page.data["steps"]["drift"]) == made.horizon


def test_each_item_says_why_it_is_there_and_stands_once(page: Page) -> None:
    for view in page.data["views"]:
        names = [item["name"] for item in view["items"]]
        assert len(names) == len(set(names)) <= 12
    assert page.data["views"][0]["items"][0]["name"] == "Chur"
    assert page.data["views"][0]["items"][0]["why"] == "Largest"


def test_the_worst_item_has_the_largest_error(tmp_path: Path, panel: Panel) -> None:
    many = panel.select(np.repeat(np.arange(4), 5))
    many = replace(many, keys=pl.DataFrame({"town": [f"t{i}" for i in range(20)]}))
    exact = np.nan_to_num(many.future_target(6), nan=1.0)
    exact[3] += 50  # a small town
    quantiles = np.repeat(exact[..., None], 3, axis=2)
    forecast = Forecast.of(many, (0.1, 0.5, 0.9), quantiles, exact, model="m")
    items = read(write_report(tmp_path / "r.html", forecast=forecast, panel=many)).data["views"][0]
    worst = [i for i in items["items"] if i["why"] == "Largest scaled error"]
    assert worst[0]["name"] == "t3"
    assert len(items["items"]) == 12


def test_winner_and_losers_are_named(page: Page) -> None:
    assert "deepar beats the seasonal naive by 20.0%" in page.words
    assert "drift loses to the seasonal naive" in page.words
    marks = [attributes.get("class") for tag, attributes in page.seen if tag == "tr"]
    assert [m for m in marks if m] == ["beats", "naive", "loses"]


def test_a_naive_winner_is_said(tmp_path: Path, result: Any) -> None:
    board = result.leaderboard()[1:]
    result.leaderboard = lambda: board
    result.models = ("seasonal_naive", "drift")
    page = read(write_report(tmp_path / "r.html", result=result))
    assert "No model beats the seasonal naive" in page.words


def test_a_forecast_alone_promises_nothing(tmp_path: Path, forecast: Forecast) -> None:
    page = read(write_report(tmp_path / "r.html", forecast=forecast))
    assert "stands alone" in page.words
    assert page.data["calibration"] == {}
    assert all(item["past"] == [] for item in page.data["views"][0]["items"])


@pytest.mark.parametrize(
    ("freq", "zone", "first"),
    [
        ("h", "Europe/Zurich", "1970-01-18 01:00"),
        ("D", None, "1971-02-13"),
        ("YS", None, "2378-01"),
        ("1", None, "408"),
    ],
)
def test_times_are_the_user_s(
    tmp_path: Path, forecast: Forecast, freq: str, zone: str | None, first: str
) -> None:
    other = replace(forecast, schema=replace(forecast.schema, freq=freq), time_zone=zone)
    view = read(write_report(tmp_path / "r.html", forecast=other)).data["views"][0]
    assert view["items"][0]["ahead"][0] == first
    assert view["time"] == ("month (Europe/Zurich)" if zone else "month")


def test_nothing_to_show_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"forecast=model\.predict"):
        write_report(tmp_path / "r.html")


def test_the_file_is_whole_or_absent(tmp_path: Path, forecast: Forecast) -> None:
    write_report(tmp_path / "new" / "r.html", forecast=forecast)
    (tmp_path / "taken").mkdir()
    with pytest.raises(FileError, match="the report was not written"):
        write_report(tmp_path / "taken", forecast=forecast)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["new", "taken"]
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["r.html"]
