"""The app over HTTP: what it shows is what the library says, and nobody but its user reaches it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from starlette.testclient import TestClient

import demandcast as dc
from demandcast.app.web import Address, create_app
from demandcast.app.worker import Worker
from demandcast.app.workspace import PATHS, Workspace
from demandcast.cli.order import PATHS as PATHS_OF_THE_COMMAND
from demandcast.frames.examples import retail

HERE = "http://127.0.0.1:8321"
TOKEN = "token"
SALES = retail(n_items=3, n_days=80, seed=3, price_changes=0.5).frame.drop("in_stock")
LAST = SALES["date"].max() - pl.duration(days=7)
TABLE = SALES.with_columns(
    pl.when(pl.col("date") > LAST).then(None).otherwise("units").alias("units"),
    pl.col("promo").cast(pl.Int8),
)  # the last week is ahead
ROLES = {"key": ["item"], "time": ["date"], "target": "units", "known": ["price", "promo"]}


class Page:
    """A client that sends what the page sends, and waits for work to end."""

    def __init__(self, client: TestClient, workspace: Workspace, worker: Worker) -> None:
        self.client, self.workspace, self.worker = client, workspace, worker

    def state(self) -> dict[str, Any]:
        return dict(self.client.get(f"/{TOKEN}/api/state").json())

    def ended(self) -> dict[str, Any]:
        self.worker.wait(60)
        return self.state()

    def post(self, path: str, **content: Any) -> dict[str, Any]:
        answer = self.client.post(f"/{TOKEN}/api/{path}", json=content)
        assert answer.status_code == 200, answer.text
        return self.ended()

    def send(self, content: bytes, name: str = "sales.csv", slot: str = "table") -> Any:
        return self.client.put(f"/{TOKEN}/api/files/{slot}?name={name}", content=content)

    def open(self, frame: pl.DataFrame = TABLE, **options: Any) -> dict[str, Any]:
        assert self.send(frame.write_csv().encode()).status_code == 200
        state = self.ended()
        return self.post("reading", **options) if options else state

    def download(self, name: str) -> bytes:
        answer = self.client.get(f"/{TOKEN}/download/{name}")
        assert answer.status_code == 200, answer.text
        return bytes(answer.content)


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    workspace = Workspace(tmp_path)
    app = create_app(workspace, Address(TOKEN, "code"), upload_mb=1)
    with TestClient(app, base_url=HERE, follow_redirects=False) as client:
        yield Page(client, workspace, app.state.worker)


def panel_of(page: Page) -> dc.Panel:
    assert page.workspace.table is not None
    return page.workspace.table.panel


# Who may come in ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        (f"/{TOKEN}/", {}, 200),
        (f"/{TOKEN}/", {"host": "localhost:8321"}, 200),
        (f"/{TOKEN}/", {"host": "[::1]:8321"}, 200),
        (f"/{TOKEN}/", {"host": "evil.example:8321"}, 421),  # a name that points here
        (f"/{TOKEN}/", {"host": "127.0.0.1.evil.example"}, 421),
        (f"/{TOKEN}/", {"host": ""}, 421),
        (f"/{TOKEN}/", {"host": "[::1"}, 421),
        (f"/{TOKEN}/", {"origin": "https://evil.example"}, 403),
        (f"/{TOKEN}/", {"origin": "null"}, 403),
        (f"/{TOKEN}/", {"origin": HERE}, 200),
        ("/", {}, 403),
        ("/wrong/", {}, 403),
        (f"/{TOKEN}x/api/state", {}, 403),
        ("/start/wrong", {}, 403),
        ("/start", {}, 403),
        ("//", {}, 403),
        (f"/{TOKEN}/static/app.js", {}, 200),
        (f"/{TOKEN}/static/web.py", {}, 404),
        (f"/{TOKEN}/static/..%2f__init__.py", {}, 404),
        (f"/{TOKEN}/docs", {}, 404),
        (f"/{TOKEN}/download/passwords.csv", {}, 404),
    ],
)
def test_only_who_knows_the_address_comes_in(
    page: Page, path: str, headers: dict[str, str], status: int
) -> None:
    answer = page.client.get(path, headers=headers)
    assert answer.status_code == status
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("path", ["api/reading", "api/forecast", "api/stop", "api/example"])
def test_no_other_page_starts_work(page: Page, path: str) -> None:
    headers = {"origin": "http://127.0.0.1:9999", "content-type": "application/json"}
    assert page.client.post(f"/{TOKEN}/{path}", content="{}", headers=headers).status_code == 403
    assert page.worker.job is None


def test_the_code_for_the_browser_opens_the_app_once(page: Page) -> None:
    first, second = (page.client.get("/start/code") for _ in range(2))
    assert (first.status_code, first.headers["location"]) == (303, f"/{TOKEN}/")
    assert second.status_code == 403
    assert TOKEN not in second.text


def test_the_page_loads_nothing_from_elsewhere(page: Page) -> None:
    answer = page.client.get(f"/{TOKEN}/")
    assert "script-src 'self'; style-src 'self'" in answer.headers["content-security-policy"]
    for name in ("index.html", "app.css", "app.js"):
        text = (Path(dc.__file__).parent / "app" / name).read_text("utf-8")
        assert "//" not in text.replace("  //", "").replace("// The", "").replace("\n//", "")
    assert "<script>" not in answer.text
    assert "style=" not in answer.text


def test_secrets_are_long_and_differ() -> None:
    one, other = Address.random(), Address.random()
    assert len({one.token, one.code, other.token, other.code}) == 4
    assert len(one.token) >= 32


# The table -------------------------------------------------------------------------------------------


def test_a_table_is_read_and_a_column_is_corrected(page: Page) -> None:
    state = page.open()
    roles = {c["name"]: c["role"] for c in state["table"]["columns"]}
    assert (roles["item"], roles["date"], roles["units"]) == ("key", "time", "target")
    assert state["table"]["panel"]["series"] == 3
    assert state["table"]["columns"][2]["cells"][0] == str(TABLE["date"][0])
    state = page.post("reading", **ROLES)
    expected = dc.read_panel(TABLE, **ROLES)
    assert state["table"]["panel"]["horizon"] == 7  # as far as the covariates reach
    assert panel_of(page).schema == expected.schema
    assert np.array_equal(panel_of(page).target, expected.target, equal_nan=True)


def test_a_fault_comes_with_its_mends_and_one_of_them_mends_it(page: Page) -> None:
    state = page.open(pl.concat([TABLE, TABLE.head(2)]))
    assert state["table"]["panel"] is None
    assert {c["name"]: c["role"] for c in state["table"]["columns"]}["item"] == "key"
    (finding,) = state["table"]["findings"]
    ways = [way["arguments"] for way in finding["ways"]]
    assert {"duplicates": "sum"} in ways
    assert {"key": None} in ways  # for the person to choose
    state = page.post("reading", duplicates="sum")
    assert state["table"]["panel"]["series"] == 3


def test_a_column_that_is_not_found_can_be_chosen(page: Page) -> None:
    frame = TABLE.select("item", "units", when=pl.int_range(pl.len()) + 100)
    state = page.open(frame)
    assert state["table"]["panel"] is None
    (finding,) = state["table"]["findings"]
    assert [way["arguments"] for way in finding["ways"]] == [{"time": None}]
    assert page.post("reading", time=["when"])["table"]["panel"]["time"] == "when"


def test_a_file_that_is_no_table_is_a_finding_without_the_folder_of_its_copy(page: Page) -> None:
    page.send(b"\0\1\2", "../../etc/odd name*.csv")
    (finding,) = page.ended()["table"]["findings"]
    assert finding["text"].startswith("odd name_.csv holds binary data")
    assert [p.name for p in page.workspace.folder.rglob("*.csv")] == ["odd name_.csv"]


@pytest.mark.parametrize(
    "options",
    [
        {"sql": "select 1"}, {"covariates": "/etc/passwd"}, {"static_table": "/etc/passwd"}, {"nothing": 1},
        {"key": "item"}, {"key": [1]}, {"gaps": 3}, {"wide": "yes"}, {"decimal": True},
    ],
)  # fmt: skip
def test_other_options_are_refused(page: Page, options: dict[str, Any]) -> None:
    page.open()
    before = page.workspace.options
    answer = page.client.post(f"/{TOKEN}/api/reading", json=options)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]
    assert page.workspace.options == before


def test_files_are_bounded_and_those_refused_leave_nothing(page: Page) -> None:
    for content in (b"x" * ((1 << 20) + 1), iter([b"x" * (1 << 19)] * 3), b""):
        answer = page.client.put(f"/{TOKEN}/api/files/table?name=a.csv", content=content)
        assert answer.status_code == 400
    assert list(page.workspace.folder.iterdir()) == []
    assert page.send(b"a", slot="elsewhere").status_code == 400


def test_another_table_takes_the_place_of_the_first_and_its_copy(page: Page) -> None:
    page.open(**ROLES)
    page.send(b"item,on_hand\n", "stock.csv", "stock")
    page.send(TABLE.write_csv().encode(), "other.csv")
    assert page.ended()["table"]["name"] == "other.csv"
    assert list(page.workspace.files) == ["table"]
    assert page.workspace.options == {}
    assert [p.name for p in page.workspace.folder.rglob("*.csv")] == ["other.csv"]


def test_a_table_named_on_the_command_line_is_read_where_it_is(tmp_path: Path) -> None:
    own = tmp_path / "own.csv"
    TABLE.write_csv(own)
    (tmp_path / "folder").mkdir()
    workspace = Workspace(tmp_path / "folder", files={"table": own})
    with TestClient(create_app(workspace, Address(TOKEN, "code")), base_url=HERE) as client:
        client.app.state.worker.wait(60)  # type: ignore[attr-defined]
        assert client.get(f"/{TOKEN}/api/state").json()["table"]["panel"]["series"] == 3
        client.put(f"/{TOKEN}/api/files/table?name=a.csv", content=TABLE.write_csv().encode())
        client.app.state.worker.wait(60)  # type: ignore[attr-defined]
    assert own.exists()


# What the library says -----------------------------------------------------------------------------------


def test_the_forecast_is_that_of_the_library(page: Page) -> None:
    page.open(**ROLES)
    state = page.post("forecast", horizon=7, model="seasonal_naive")
    assert state["job"]["state"] == "done", state["job"]
    panel = dc.read_panel(TABLE, **ROLES)
    expected = dc.local.SeasonalNaive(horizon=7).predict(panel).to_frame()
    assert_frame_equal(pl.read_parquet(io.BytesIO(page.download("forecast.parquet"))), expected)
    text = pl.read_csv(io.BytesIO(page.download("forecast.csv")), try_parse_dates=True)
    assert_frame_equal(text, expected, check_dtypes=False, rel_tol=1e-6)
    sheet = pl.read_excel(io.BytesIO(page.download("forecast.xlsx")))
    assert sheet["mean"].to_list() == pytest.approx(expected["mean"].to_list())
    report = page.client.get(f"/{TOKEN}/report")
    assert "sandbox allow-scripts allow-downloads" in report.headers["content-security-policy"]
    assert "Forecast of sales.csv" in report.text
    assert "seasonal naive" in report.text


def test_what_if_is_that_of_the_library(page: Page) -> None:
    page.open(**ROLES)
    page.post("forecast", horizon=7, model="seasonal_naive", measure=False)
    ahead = [step["value"] for step in page.state()["forecast"]["ahead"]]
    assert ahead == [str(day) for day in TABLE["date"].unique().sort().tail(7)]
    first = ahead[2]
    change = {"column": "price", "sign": "*=", "value": "0.8", "first": first, "where": ["item", "item_0001"]}  # fmt: skip
    state = page.post("what-if", changes=[change], effect="history")
    assert state["job"]["state"] == "done", state["job"]
    run = page.workspace.run
    assert run is not None
    text = f'price*=0.8 where date>={first} and item="item_0001"'
    answer = run.forecast.what_if(text, effect="history")
    assert state["question"]["total"]["difference"] == answer.total()["difference"]
    assert state["question"]["question"] == f"price \u00d7 0.8, date >= {first}, item = item_0001"
    found = pl.read_parquet(io.BytesIO(page.download("what-if.parquet")))
    assert_frame_equal(found, answer.to_frame())
    state = page.post("forecast", horizon=6, model="seasonal_naive", measure=False)
    assert state["question"] is None  # it was of the earlier forecast


def test_orders_are_those_of_the_library(page: Page) -> None:
    page.open(**ROLES)
    page.post("forecast", horizon=7, model="seasonal_naive", measure=False)
    template = pl.read_csv(io.BytesIO(page.download("stock.csv")))
    stock = template.with_columns(on_hand=pl.Series([1, 2, 3]), lead_time=pl.Series([2, 1, 2]))
    assert page.send(stock.write_csv().encode(), "stock.csv", "stock").status_code == 200
    state = page.post("orders", rule={"cost_under": 3, "cost_over": 1})
    assert state["job"]["state"] == "done", state["job"]
    run = page.workspace.run
    assert run is not None
    forecast = run.model.predict(panel_of(page), n_samples=PATHS)
    expected = dc.order(forecast, stock, cost_under=3, cost_over=1)
    found = pl.read_parquet(io.BytesIO(page.download("orders.parquet")))
    assert_frame_equal(found, expected.to_frame())
    assert state["orders"]["units"] == expected.order.sum()
    assert PATHS == PATHS_OF_THE_COMMAND


def test_orders_beyond_the_forecast_name_the_steps_that_suffice(page: Page) -> None:
    page.open(**ROLES)
    page.post("forecast", horizon=3, model="seasonal_naive", measure=False)
    rule = {"rule": {"lead_time": 4, "service": 0.9}, "without_stock": True}
    state = page.post("orders", **rule)
    assert state["job"]["state"] == "failed"
    (way,) = state["job"]["error"]["ways"]
    assert way["arguments"] == {"horizon": 5}
    page.post("forecast", horizon=5, model="seasonal_naive", measure=False)
    assert page.post("orders", **rule)["job"]["state"] == "done"


def test_covariates_that_end_early_are_refused_before_the_fit(page: Page) -> None:
    page.open(**ROLES)
    state = page.post("forecast", horizon=9, model="zero_shot")
    assert state["job"]["state"] == "failed"
    assert state["job"]["error"]["option"] == "future"
    assert "reach 7 of the 9 steps" in state["job"]["error"]["message"]


def test_work_that_fails_leaves_what_was_there(page: Page) -> None:
    page.open(**ROLES)
    page.post("forecast", horizon=7, model="seasonal_naive", measure=False)
    before = page.workspace.run
    state = page.post("forecast", horizon=9, model="zero_shot")
    assert page.workspace.run is before
    assert state["forecast"]["horizon"] == 7
    state = page.post("reading", **{**ROLES, "target": "nothing"})
    assert state["table"]["panel"] is None
    assert state["forecast"]["stale"] is True
    assert page.download("forecast.csv")


def test_there_is_nothing_to_download_before_it_was_made(page: Page) -> None:
    for name in ("forecast.csv", "report.html"):
        assert page.client.get(f"/{TOKEN}/download/{name}").status_code == 400
    page.open(**ROLES)
    page.post("forecast", horizon=7, model="seasonal_naive", measure=False)
    assert page.client.get(f"/{TOKEN}/download/orders.csv").status_code == 400


def test_formulas_in_names_stay_text_in_csv(page: Page) -> None:
    page.open(TABLE.with_columns(item=pl.lit("=1+1")).unique("date"), **ROLES)
    page.post("forecast", horizon=2, model="seasonal_naive", measure=False)
    assert page.download("forecast.csv").splitlines()[1].startswith(b"'=1+1,")


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("forecast", {"horizon": "7"}), ("forecast", {}), ("forecast", {"horizon": 7, "odd": 1}), ("what-if", []),
        ("orders", {"rule": {"lead_time": "x"}}), ("orders", {"rule": {"service": 2}}), ("stop", {"how": "never"}), ("reading", [1]),
    ],
)  # fmt: skip
def test_a_request_of_another_form_is_refused(page: Page, path: str, content: Any) -> None:
    answer = page.client.post(f"/{TOKEN}/api/{path}", json=content)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]
    assert page.worker.job is None


def test_results_are_sent_once(page: Page) -> None:
    state = page.open()
    again = page.client.get(f"/{TOKEN}/api/state?seen={state['version']}").json()
    assert "table" not in again
    assert again["version"] == state["version"]
