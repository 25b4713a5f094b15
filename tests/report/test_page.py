"""The report is one file that loads nothing, shows the forecast's numbers, and trusts no key."""

from __future__ import annotations

import base64
import gzip
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from demandcast.automl.auto import Auto
from demandcast.automl.validation import BLEND_LEVELS
from demandcast.errors import ConfigError, FileError
from demandcast.evaluate.metrics import quantile_coverage
from demandcast.forecast.explain import Explanation
from demandcast.forecast.forecast import Forecast
from demandcast.panel.panel import Note, Panel
from demandcast.report.attention import items_to_look_at
from demandcast.report.columns import MISSING, Columns
from demandcast.report.page import write_report
from demandcast.report.view import View

from .conftest import make_forecast

HORIZON = 6  # of the fixtures
FOUR_DIGITS = 5e-4  # what the page keeps of a number, of the largest of its row
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
        return self.unpack()[0]

    def unpack(self) -> tuple[Any, bytes]:
        """The header and the columns, as `page.js` reads them."""
        content = gzip.decompress(base64.b64decode(self.scripts[0]))
        length = int.from_bytes(content[:4], "little")
        return json.loads(content[4 : 4 + length]), content[4 + length :]

    def column(self, ref: dict[str, Any]) -> np.ndarray[Any, Any]:
        kind = {"i32": "<i4", "f32": "<f4"}[ref["kind"]]
        return np.frombuffer(self.unpack()[1], kind, ref["length"], ref["at"])

    def rounded(self, ref: dict[str, Any]) -> np.ndarray[Any, Any]:
        rows, width = ref["rows"], ref["width"]
        content = np.frombuffer(self.unpack()[1], np.uint8, 2 * rows * width, ref["at"])
        low, high = content.reshape(2, rows, width).astype(np.int64)
        whole = np.where(high > 127, high - 256, high) * 256 + low
        return np.where(whole == MISSING, np.nan, whole * self.column(ref["unit"])[:, None])

    def names(self, view: int = 0) -> list[str]:
        (key,) = self.data["views"][view]["keys"]
        codes = range(len(key["names"])) if key["codes"] is None else self.column(key["codes"])
        return [key["names"][code] for code in codes]


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
    assert key in page.names()
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
    fan = view["fans"]["deepar"]

    def close(found: Any, expected: Any) -> None:
        unit = np.nanmax(np.abs(expected), axis=1, keepdims=True) * FOUR_DIGITS
        assert (np.isnan(found) == np.isnan(expected)).all()
        assert (np.abs(np.nan_to_num(found - expected)) <= unit).all()

    close(page.rounded(fan["median"]), forecast.median)
    close(page.rounded(fan["mean"]), forecast.mean)
    assert view["bands"] == [0.8, 0.4]
    close(page.rounded(fan["bands"][0][1]), forecast.quantile(0.9))
    close(page.rounded(fan["bands"][1][0]), forecast.quantile(0.3))
    close(page.rounded(view["actual"]), panel.future_target(HORIZON))
    close(page.rounded(view["past"]), panel.padded_history(24))
    last = int(page.column(view["cutoff"])[0]) - view["firstStep"]
    assert view["labels"][last : last + 2] == ["2003-12", "2004-01"]
    totals = page.column(view["items"]["total"])
    np.testing.assert_allclose(totals, forecast.mean.sum(1), rtol=1e-6)


def test_calibration_is_that_of_the_metrics(page: Page, result: Any) -> None:
    drift = result.forecasts["drift"][0]
    levels, shares = page.data["calibration"]["drift"]
    expected = quantile_coverage(result.actuals[0], drift.quantiles, drift.levels)
    assert levels == list(drift.levels)
    np.testing.assert_allclose(shares, expected, rtol=1e-5)
    assert len(page.data["steps"]["drift"]) == drift.horizon


def test_sums_and_errors_of_items_are_of_the_values_that_came(page: Page, result: Any) -> None:
    view = page.data["views"][1]
    order = [result.forecasts["deepar"][0].keys["town"].to_list().index(n) for n in page.names(1)]
    came, median = result.actuals[0][order], result.forecasts["deepar"][0].median[order]
    items = view["items"]
    np.testing.assert_allclose(page.column(items["size"]), np.nansum(came, 1), rtol=1e-5)
    missed = np.nansum(np.abs(came - median), 1)
    np.testing.assert_allclose(page.column(items["missed"]), missed, rtol=1e-4)
    assert next(iter(view["fans"])) == "deepar"


def test_rounding_keeps_whole_numbers_and_four_digits() -> None:
    columns = Columns(4)
    values = np.array([[0, 7, np.nan], [31_999, 3, 1], [123_456, 0.4, 99], [0.012345, 0, -0.5]])
    page = Page("")
    page.scripts = [columns.pack({"ref": columns.add_rounded(values)})]
    found = page.rounded(page.data["ref"])
    np.testing.assert_array_equal(found[:2], values[:2])
    np.testing.assert_allclose(found[2], [123_500, 0, 100])
    np.testing.assert_allclose(found[3], [0.0123, 0, -0.5], atol=1e-4)


def test_a_large_page_holds_fewer_bands_then_fewer_items(
    tmp_path: Path, panel: Panel, result: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("demandcast.report.packing.VALUES", 4 * (24 + 6 + 3 * 6 * 4))
    small = read(write_report(tmp_path / "r.html", result=result)).data["views"][0]
    assert (small["bands"], small["models"]) == ([0.8], ["deepar", "seasonal_naive", "drift"])
    monkeypatch.setattr("demandcast.report.packing.VALUES", 200)
    page = read(write_report(tmp_path / "r.html", result=result))
    view = page.data["views"][0]
    places = page.column(view["place"])
    totals = page.column(view["items"]["total"])
    assert view["models"] == ["deepar", "seasonal_naive"]
    assert 0 < (places >= 0).sum() < len(places)
    assert totals[places >= 0].min() > totals[places < 0].max()
    assert view["past"]["rows"] == (places >= 0).sum()


def test_items_to_look_at_name_the_item_and_the_reason(tmp_path: Path, panel: Panel) -> None:
    many = panel.select(np.repeat(np.arange(4), 5))
    many = replace(many, keys=pl.DataFrame({"town": [f"t{i}" for i in range(20)]}))
    recent = many.padded_history(6)
    mean = recent.copy()
    mean[3] *= 4
    quantiles = np.repeat(mean[..., None], 3, axis=2)
    quantiles[17, :, 0], quantiles[17, :, 2] = 0, 5 * mean[17]
    forecast = Forecast.of(
        replace(many, extents=many.lengths), (0.1, 0.5, 0.9), quantiles, mean, model="m"
    )
    found = items_to_look_at(View.of("f", {"m": forecast}, replace(many, extents=many.lengths)))
    reasons = {item.row: " ".join(item.reasons) for item in found}
    assert set(reasons) == {3, 17}
    assert reasons[3].startswith("+300 % against the last 6 months: ")
    assert reasons[17] == "Very uncertain: the 80 % band is ± 250 % wide."


def test_an_item_far_from_what_came_is_to_be_looked_at(tmp_path: Path, panel: Panel) -> None:
    came = np.nan_to_num(panel.future_target(6), nan=1.0)
    mean = came.copy()
    mean[2] *= 0.5
    quantiles = np.repeat(mean[..., None], 3, axis=2)
    forecast = Forecast.of(panel, (0.1, 0.5, 0.9), quantiles, mean, model="m")
    (item,) = items_to_look_at(View.of("f", {"m": forecast}, panel, actual=came))
    assert item.row == 2
    assert item.reasons[0].startswith("Too low: forecast ")


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


def test_a_forecast_alone_says_that_nothing_was_measured(
    tmp_path: Path, forecast: Forecast
) -> None:
    page = read(write_report(tmp_path / "r.html", forecast=forecast))
    assert "Its accuracy was not measured" in page.words
    assert page.data["calibration"] == {}
    assert page.data["views"][0]["past"]["width"] == 0
    for word in ("wQL", "MASE", "WAPE", "Error of an item"):  # terms that the page does not use
        assert word not in page.words


def test_a_forecast_by_auto_shows_what_was_measured(tmp_path: Path, panel: Panel) -> None:
    model = Auto(HORIZON, include=["ets", "theta"], budget="100 steps").fit(panel, progress=False)
    page = read(
        write_report(
            tmp_path / "r.html",
            forecast=model.predict(panel),
            panel=panel,
            model=model,
            command="demandcast forecast guests.csv",
        )
    )
    board = model.leaderboard()
    for name in board["model"]:
        assert str(name) in page.words
    assert "accurate than repeating the last season" in page.words
    assert "demandcast forecast guests.csv" in page.words
    view = page.data["views"][0]
    assert model.held_out is not None
    missed = page.column(view["items"]["missed"])
    median = model.held_out.quantiles[:, BLEND_LEVELS.index(0.5)]
    np.testing.assert_allclose(
        missed.sum(), np.abs(model.held_out.actual - median).sum(), rtol=1e-5
    )
    last = page.rounded(view["heldOut"]["median"])
    assert last.shape == (panel.n_series, HORIZON)
    assert set(page.column(view["heldOut"]["cutoff"])) == set(panel.ends() - HORIZON)
    assert list(page.data["calibration"]) == ["auto", "seasonal_naive"]


def test_totals_below_zero_are_not_compared_in_percent(tmp_path: Path, panel: Panel) -> None:
    below = replace(panel, target=-panel.target)
    page = read(write_report(tmp_path / "r.html", forecast=make_forecast(below), panel=below))
    assert "sum of the means" in page.words
    assert "against the 6 months before" not in page.words


def test_a_page_is_the_same_each_time(tmp_path: Path, forecast: Forecast, panel: Panel) -> None:
    texts = [
        write_report(tmp_path / name, forecast=forecast, panel=panel).read_bytes()
        for name in ("a.html", "b.html")
    ]
    assert texts[0] == texts[1]


def test_notes_hold_no_arguments_of_python(
    tmp_path: Path, forecast: Forecast, panel: Panel
) -> None:
    note = Note(
        kind="guess", count=1, series=0, example="",
        done="columns ['town'] are taken as the key; key=[...] changes it",
    )  # fmt: skip
    other = replace(note, kind="stock-outs", done="zeros; panel.stock_outs() lists them; as demand")
    noted = replace(panel, notes=(note, other))
    words = read(write_report(tmp_path / "r.html", forecast=forecast, panel=noted)).words
    assert "Guess: columns ['town'] are taken as the key." in words
    assert "Stock-outs: zeros; as demand." in words
    assert "key=" not in words


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
    assert view["labels"][-6 if len(view["labels"]) > 6 else 0] == first
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


def test_the_parts_of_a_forecast_are_drawn_and_add_up(
    forecast: Forecast, panel: Panel, tmp_path: Path
) -> None:
    half = forecast.mean.astype(np.float64) / 2
    parts = {
        "base": 3 * half,
        "trend": 0 * half,
        "season": 0 * half,
        "<b>": -half,
        "rest": 0 * half,
    }
    explanation = Explanation(forecast, parts, ("nothing was learned",))
    write_report(tmp_path / "a.html", forecast=forecast, panel=panel, explanation=explanation)
    text = (tmp_path / "a.html").read_text("utf-8")
    section = text[text.index('id="parts"') :]
    section = section[: section.index("</section>")]
    assert "<b>" not in section
    assert "&lt;b&gt;" in section
    assert "nothing was learned." in section
    assert section.count("<rect") == 2 * HORIZON
    heights = [float(h) for h in re.findall(r'height="([\d.]+)" fill="var\(--line\)', section)]
    total = 3 * half.sum(0)
    np.testing.assert_allclose(heights / np.max(heights), total / total.max(), atol=0.01)
    Page(text)
