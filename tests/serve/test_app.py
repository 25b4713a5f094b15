"""Over HTTP a forecast is what `predict` gives, to the bit, and a bad request is an error that says what to mend."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from starlette.testclient import TestClient

import demandcast as dc
from demandcast.forecast.forecast import Forecast
from demandcast.frames.examples import retail
from demandcast.serve.app import create_app
from demandcast.serve.limits import Limits
from demandcast.serve.served import Served, find_models
from demandcast.serve.tables import reading_options

SALES = retail(n_items=6, n_days=70, seed=3).frame.select("item", "date", "units", "price")
HISTORY = SALES.filter(pl.col("date") <= pl.col("date").max() - pl.duration(days=7))
AHEAD = SALES.filter(pl.col("date") > HISTORY["date"].max()).with_columns(
    units=pl.lit(None, SALES["units"].dtype)
)
CSV = {"content-type": "text/csv"}


def as_csv(frame: pl.DataFrame) -> bytes:
    return frame.write_csv().encode()


def as_parquet(frame: pl.DataFrame) -> bytes:
    body = io.BytesIO()
    frame.write_parquet(body)
    return body.getvalue()


def as_arrow(frame: pl.DataFrame) -> bytes:
    body = io.BytesIO()
    frame.write_ipc_stream(body)
    return body.getvalue()


def as_json(frame: pl.DataFrame) -> bytes:
    return frame.write_json().encode()


KINDS: dict[str, tuple[Callable[[pl.DataFrame], bytes], Callable[[bytes], pl.DataFrame]]] = {
    "text/csv": (as_csv, lambda body: pl.read_csv(body, try_parse_dates=True)),
    "application/vnd.apache.parquet": (as_parquet, lambda body: pl.read_parquet(io.BytesIO(body))),
    "application/vnd.apache.arrow.stream": (as_arrow, lambda body: pl.read_ipc_stream(io.BytesIO(body))),
    "application/json": (as_json, lambda body: pl.DataFrame(json.loads(body)["forecast"])),
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved run that reads a covariate known ahead."""
    panel = dc.read_panel(
        HISTORY, key="item", time="date", target="units", freq="D", known=["price"]
    )
    path = tmp_path_factory.mktemp("runs") / "weekly"
    dc.trees.LightGBM(horizon=7, trees=8).fit(panel).save(path)
    return path


def wait_until_ready(client: TestClient) -> None:
    while not client.get("/v2/health/ready").json()["ready"]:
        time.sleep(0.01)


@pytest.fixture(scope="module")
def client(run: Path) -> Iterator[TestClient]:
    models = find_models(["zero_shot", "naive=seasonal_naive", "willemain", str(run)])
    with TestClient(create_app(models), raise_server_exceptions=False) as client:
        wait_until_ready(client)
        yield client


def assert_equal(answer: pl.DataFrame, forecast: Forecast, steps: int | None = None) -> None:
    """The numbers of an answer are those of a forecast, to the bit."""
    expected = forecast.to_frame()
    if steps is not None:
        expected = expected.filter(pl.int_range(pl.len()) % forecast.horizon < steps)
    assert answer.columns == expected.columns
    assert answer["item"].to_list() == expected["item"].to_list()
    assert answer["date"].cast(pl.String).to_list() == expected["date"].cast(pl.String).to_list()
    for name in expected.columns[2:]:
        got = answer[name].cast(pl.Float64).cast(pl.Float32).to_numpy()
        np.testing.assert_array_equal(got, expected[name].to_numpy())


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_is_answered_in_its_kind_by_the_numbers_of_predict(
    kind: str, client: TestClient
) -> None:
    write, read = KINDS[kind]
    table = HISTORY.select("item", "date", "units")
    answer = client.post(
        "/forecast", params={"model": "zero_shot", "horizon": "5", "levels": "0.1,0.5,0.975", "freq": "D"},
        content=write(table), headers={"content-type": kind},
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith(kind)
    panel = dc.read_panel(table, freq="D")
    forecast = dc.models.ZeroShot(horizon=5).predict(panel, levels=(0.1, 0.5, 0.975))
    assert_equal(read(answer.content), forecast)
    notes = answer.json()["notes"] if "json" in kind else answer.headers["x-demandcast-notes"]
    assert "key" in str(notes)


def test_a_saved_run_reads_what_is_known_ahead_and_forecasts_fewer_steps_too(
    client: TestClient, run: Path
) -> None:
    table = pl.concat([HISTORY, AHEAD])
    query = {"model": "weekly", "known": "price", "key": "item"}
    forecast = dc.load(run).predict(dc.read_panel(table, key="item", known=["price"]))
    for steps in (None, 3):
        asked = query if steps is None else {**query, "horizon": str(steps)}
        answer = client.post("/forecast", params=asked, content=as_csv(table), headers=CSV)
        assert answer.status_code == 200, answer.text
        assert_equal(pl.read_csv(answer.content, try_parse_dates=True), forecast, steps)


def test_concurrent_requests_are_not_mixed_up(client: TestClient) -> None:
    def ask(i: int) -> tuple[int, pl.DataFrame]:
        own = HISTORY.filter(pl.col("item") == HISTORY["item"].unique(maintain_order=True)[i % 6])
        answer = client.post(
            "/forecast", params={"model": "willemain", "horizon": "4", "key": "item", "target": "units"},
            content=as_csv(own.select("item", "date", "units").tail(30 + i)), headers=CSV,
        )  # fmt: skip
        assert answer.status_code == 200, answer.text
        return i, pl.read_csv(answer.content, try_parse_dates=True)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(24)))
    for i, frame in answers:
        own = HISTORY.filter(pl.col("item") == HISTORY["item"].unique(maintain_order=True)[i % 6])
        panel = dc.read_panel(own.select("item", "date", "units").tail(30 + i), key="item")
        assert_equal(frame, dc.local.Willemain(horizon=4).predict(panel))


STARTS = {
    "S": ("2026-01-01T00:00:05", "2026-01-01T00:00:09"),
    "minute": ("2026-01-01T00:05:00Z", "2026-01-01T00:09:00+00:00"),
    "H": ("2026-01-01T05:00:00+02:00", "2026-01-01T09:00:00+02:00"),
    "day": ("2026-01-28", "2026-02-01T00:00:00"),
    "W": ("2026-01-07", "2026-02-04T00:00:00"),
    "M": ("2026-01-31", "2026-05-31T00:00:00"),
    "month": ("2025-11-01", "2026-03-01T00:00:00"),
    "Q": ("2025-02-01", "2026-02-01T00:00:00"),
    "Y": ("2020-06-30", "2024-06-30T00:00:00"),
}


def kserve(client: TestClient, inputs: list[dict[str, Any]], horizon: int = 2, **more: Any) -> Any:
    body = {"model": "naive", "inputs": inputs, "options": {"horizon": horizon, **more}}
    return client.post("/v1/timeseries/forecast", json=body)


def series(name: str, values: Any, frequency: str = "D", **more: Any) -> dict[str, Any]:
    return {"type": "univariate_time_series", "name": name, "series": values, "frequency": frequency, **more}  # fmt: skip


@pytest.mark.parametrize("frequency", STARTS)
def test_kserve_forecasts_begin_one_step_after_the_last_value(
    frequency: str, client: TestClient
) -> None:
    first, following = STARTS[frequency]
    given = series("a", [1.0, 2.0, None, 4.0], frequency, start_timestamp=first)
    answer = kserve(client, [given])
    assert answer.status_code == 200, answer.text
    (content,) = answer.json()["outputs"][0]["content"]
    assert content["start_timestamp"] == following
    assert content["frequency"] == frequency
    assert len(content["mean_forecast"]) == 2


def test_kserve_answers_every_input_in_order_by_the_numbers_of_predict(client: TestClient) -> None:
    rng = np.random.default_rng(0)
    a, b, c = rng.poisson(5, 30), rng.poisson(5, (12, 2)), rng.poisson(50, 40)
    many = {"type": "multivariate_time_series", "name": "b", "series": b.tolist(), "frequency": "M", "start_timestamp": "2024-01-01"}  # fmt: skip
    body = {
        "model": "zero_shot",
        "inputs": [
            series("a", a.tolist(), start_timestamp="2026-01-01"),
            many,
            series("c", c.tolist()),
        ],
        "options": {"horizon": 3, "quantiles": [0.05, 0.5]},
    }
    answer = client.post("/v1/timeseries/forecast", json=body).json()
    contents = [output["content"][0] for output in answer["outputs"]]
    assert [content["name"] for content in contents] == ["a", "b", "c"]
    assert "'c'" in str(answer["metadata"]["notes"])
    days = dc.read_panel(
        pl.concat(
            pl.DataFrame({"name": name, "time": pl.date_range(first, first + pl.duration(days=len(v) - 1), eager=True), "value": v})
            for name, first, v in (("a", pl.date(2026, 1, 1), a), ("c", pl.date(2000, 1, 1), c))
        ), key="name", freq="D", ended="keep",
    )  # fmt: skip
    forecast = dc.models.ZeroShot(horizon=3).predict(days, levels=(0.05, 0.5))
    for row, content in ((0, contents[0]), (1, contents[2])):
        np.testing.assert_array_equal(content["mean_forecast"], forecast.mean[row].astype(float))
        np.testing.assert_array_equal(content["quantiles"]["0.05"], forecast.quantiles[row, :, 0])
    assert np.shape(contents[1]["mean_forecast"]) == (3, 2)


def test_the_examples_of_the_openapi_page_work(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    posted = paths["/forecast"]["post"]
    query = {p["name"]: p["example"] for p in posted["parameters"] if "example" in p}
    for kind in ("text/csv", "application/json"):
        example = posted["requestBody"]["content"][kind]["example"]
        body = example if isinstance(example, str) else json.dumps(example)
        answer = client.post(
            "/forecast", params={**query, "model": "zero_shot"}, content=body, headers={"content-type": kind}
        )  # fmt: skip
        assert answer.status_code == 200, answer.text
    example = paths["/v1/timeseries/forecast"]["post"]["requestBody"]["content"]["application/json"]["example"]  # fmt: skip
    assert client.post("/v1/timeseries/forecast", json=example).status_code == 200
    page = client.get("/docs").text
    assert "https://" not in page


GOOD = as_csv(HISTORY.select("item", "date", "units"))
BAD: dict[str, tuple[dict[str, str], Any, dict[str, str], int, str]] = {
    "no model": ({"horizon": "3"}, GOOD, CSV, 400, "model=NAME"),
    "unknown model": ({"model": "x", "horizon": "3"}, GOOD, CSV, 404, "zero_shot"),
    "a path": ({"model": "../../etc/passwd", "horizon": "3"}, GOOD, CSV, 404, "no model"),
    "no horizon": ({"model": "naive"}, GOOD, CSV, 400, "horizon=28"),
    "horizon 0": ({"model": "naive", "horizon": "0"}, GOOD, CSV, 400, "whole number"),
    "long horizon": ({"model": "weekly", "horizon": "8"}, GOOD, CSV, 400, "7 steps"),
    "huge horizon": ({"model": "naive", "horizon": "9999999"}, GOOD, CSV, 413, "values"),
    "levels": ({"model": "naive", "horizon": "3", "levels": "0.9,0.1"}, GOOD, CSV, 400, "increas"),
    "no level": ({"model": "naive", "horizon": "3", "levels": "x"}, GOOD, CSV, 400, "numbers"),
    "unknown option": ({"model": "naive", "horizon": "3", "keys": "item"}, GOOD, CSV, 400, "'key'"),
    "a path as option": ({"model": "naive", "horizon": "3", "static_table": "/etc/passwd"}, GOOD, CSV, 400, "no parameter"),
    "no type": ({"model": "naive", "horizon": "3"}, GOOD, {}, 415, "text/csv"),
    "no body": ({"model": "naive", "horizon": "3"}, b"", CSV, 400, "no body"),
    "zeros": ({"model": "naive", "horizon": "3"}, b"\x00" * 99, CSV, 400, "binary"),
    "no parquet": ({"model": "naive", "horizon": "3"}, GOOD, {"content-type": "application/vnd.apache.parquet"}, 400, "parquet"),
    "no arrow": ({"model": "naive", "horizon": "3"}, GOOD, {"content-type": "application/vnd.apache.arrow.stream"}, 400, "Arrow"),
    "no json": ({"model": "naive", "horizon": "3"}, b"{", {"content-type": "application/json"}, 400, "JSON"),
    "deep json": ({"model": "naive", "horizon": "3"}, b"[" * 99999, {"content-type": "application/json"}, 400, "JSON"),
    "nan json": ({"model": "naive", "horizon": "3"}, b'[{"date": "2026-01-01", "units": NaN}]', {"content-type": "application/json"}, 400, "null"),
    "compressed": ({"model": "naive", "horizon": "3"}, GOOD, {**CSV, "content-encoding": "gzip"}, 415, "compressed"),
    "a fault": ({"model": "naive", "horizon": "3"}, b"item,date,units\na,2026-01-01,x\na,2026-01-02,3\n", CSV, 400, "'x'"),
    "no covariate": ({"model": "weekly", "target": "units"}, GOOD, CSV, 400, "price"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_request_is_an_error_that_says_what_to_mend(case: str, client: TestClient) -> None:
    query, body, headers, status, word = BAD[case]
    answer = client.post("/forecast", params=query, content=body, headers=headers)
    assert answer.status_code == status, answer.text
    assert word in answer.json()["error"]["message"]
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    ("inputs", "word"),
    [
        ([], "inputs"),
        ([series("a", [1.0]), series("a", [2.0])], "'a'"),
        ([series("a", [])], "no values"),
        ([series("a", [[1.0]])], "list of numbers"),
        ([series("a", [1.0], "decade")], "frequency"),
        ([series("a", [1.0], start_timestamp="yesterday")], "ISO 8601"),
        ([series("a", [1.0], "M", start_timestamp="2026-01-15")], "last day"),
        ([series("a", [1e300])], "float32"),
        ([{**series("a", [[1.0], [1.0, 2.0]]), "type": "multivariate_time_series"}], "one length"),
    ],
)
def test_a_bad_kserve_request_names_the_input(inputs: Any, word: str, client: TestClient) -> None:
    answer = kserve(client, inputs)
    assert answer.status_code == 400, answer.text
    assert word in answer.json()["error"]["message"]


def test_no_route_and_no_method_have_the_same_form(client: TestClient) -> None:
    for path, status in (("/nowhere", 404), ("/v2/models/x", 404), ("/forecast", 405)):
        answer = client.get(path)
        assert (answer.status_code, set(answer.json()["error"])) == (
            status,
            {"type", "message", "param"},
        )


def test_a_token_is_asked_for_everywhere_but_for_health() -> None:
    app = create_app({"naive": find_models(["naive=seasonal_naive"])["naive"]}, token="s3cret")
    with TestClient(app) as client:
        assert client.get("/v2/health/live").status_code == 200
        for headers in ({}, {"authorization": "Bearer other"}, {"authorization": "s3cret"}):
            for path in ("/v1/models", "/metrics", "/openapi.json", "/docs"):
                assert client.get(path, headers=headers).status_code == 401
        assert (
            client.get("/v1/models", headers={"authorization": "Bearer s3cret"}).status_code == 200
        )


def test_bodies_are_bounded_whatever_their_length_claims(run: Path) -> None:
    models = find_models(["naive=seasonal_naive"])
    with TestClient(create_app(models, limits=Limits(body_mb=1))) as client:

        def pieces() -> Iterator[bytes]:  # without a Content-Length
            for _ in range(40):
                yield b"x" * (1 << 15)

        for body in (b"x" * (1 << 21), pieces()):
            answer = client.post("/forecast", params={"horizon": "3"}, content=body, headers=CSV)
            assert answer.status_code == 413
        assert client.app.state.service.body_bytes == 0  # type: ignore[attr-defined]


def test_a_forecast_that_takes_too_long_is_a_timeout() -> None:
    models = find_models(["naive=seasonal_naive"])
    with TestClient(create_app(models, limits=Limits(seconds=1e-3))) as client:
        wait_until_ready(client)
        answer = client.post("/forecast", params={"horizon": "3"}, content=GOOD, headers=CSV)
        assert answer.status_code in (408, 504)


def test_a_fault_of_ours_says_nothing_of_the_data(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(dc.local.SeasonalNaive):
        def _forecast(self, panel: Any, ask: Any) -> Any:
            raise ZeroDivisionError("secret data")

    models = {"broken": Served("broken", Broken(horizon=2))}
    with TestClient(create_app(models), raise_server_exceptions=False) as client:
        wait_until_ready(client)
        answer = client.post("/forecast", content=GOOD, headers=CSV)
    assert answer.status_code == 500
    assert "secret" not in answer.text
    facts = next(record.facts for record in caplog.records if record.message == "failed")  # type: ignore[attr-defined]
    assert facts["error"] == "ZeroDivisionError"
    assert "test_app.py" in facts["where"]
    assert "secret" not in str(facts)


def test_a_table_is_read_as_the_saved_run_was_where_the_request_does_not_say() -> None:
    model = dc.local.SeasonalNaive(horizon=2)
    model.origin = {
        "table": {"options": {"key": ["item"], "gaps": "zero", "sheet": "x", "to": None}}
    }
    assert reading_options({}, model) == {"key": ["item"], "gaps": "zero"}
    assert reading_options({"gaps": "error"}, model) == {"key": ["item"], "gaps": "error"}
    for origin in (None, {}, {"table": None}, {"table": {"options": None}}):
        model.origin = origin
        assert reading_options({"gaps": "error"}, model) == {"gaps": "error"}
