"""Rows of a database, of the web and of object stores, and of whatever hands its rows over by Arrow."""

from __future__ import annotations

import http.server
import json
import re
import sqlite3
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from demandcast.cli import main
from demandcast.errors import ConfigError, DataError, FileError, MissingExtraError
from demandcast.frames import check, read_panel
from demandcast.frames.sql import Query, without_credentials

ROWS = [
    (k, f"2024-01-{d:02}", 10 * d + i) for i, k in enumerate(("007", "b")) for d in range(1, 15)
]
TABLE = pl.DataFrame(ROWS, schema=["item", "date", "units"], orient="row")
SQL = "select * from sales"


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    pytest.importorskip("adbc_driver_sqlite")
    monkeypatch.chdir(tmp_path)
    with sqlite3.connect(tmp_path / "sales.db") as made:
        made.execute("create table sales (item text, date text, units integer)")
        made.executemany("insert into sales values (?, ?, ?)", ROWS)
    made.close()
    return "sqlite:///sales.db"


def is_same(panel: Any) -> None:
    expected = read_panel(TABLE)
    assert panel.keys.equals(expected.keys)
    np.testing.assert_array_equal(panel.target, expected.target)
    assert panel.schema == expected.schema


def test_a_query_is_read_like_a_table(database: str, tmp_path: Path) -> None:
    is_same(read_panel(sql=SQL, connect=database))
    is_same(read_panel(sql=SQL, connect=f"sqlite:///{tmp_path}/sales.db"))
    report = check(sql=f"{SQL} where item = 'b'", connect=database, key="item")
    assert report.panel is not None
    assert report.panel.keys.rows() == [("b",)]


@pytest.mark.parametrize(
    ("sql", "connect", "words"),
    [
        ("selec 1", "sqlite:///sales.db", "syntax error"),
        ("select * from none", "sqlite:///sales.db", "no such table"),
        (SQL, "sqlite:///absent.db", "no database at absent.db"),
        ("select * from sales where 0", "sqlite:///sales.db", "no rows"),
    ],
)
def test_what_a_database_refuses_is_said(
    sql: str, connect: str, words: str, database: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=words):
        read_panel(sql=sql, connect=connect, key="item", time="date", target="units")
    assert not (tmp_path / "absent.db").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "no table is given"),
        ({"sql": SQL}, "connect is not given"),
        ({"connect": "sqlite:///x.db"}, "sql is not given"),
        ({"source": "a.csv", "sql": SQL, "connect": "sqlite:///x.db"}, "leave one of the two out"),
        ({"sql": SQL, "connect": "host=db password=hunter2"}, "no address"),
    ],
)
def test_half_a_query_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)) as refused:
        read_panel(**options)
    assert "hunter2" not in str(refused.value)


def test_a_query_runs_once_though_its_rows_have_faults(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    fetch = pl.read_database_uri

    def counted(*args: Any, **options: Any) -> pl.DataFrame:
        asked.append(args)
        return fetch(*args, **options)

    monkeypatch.setattr(pl, "read_database_uri", counted)
    report = check(sql=f"{SQL} union all {SQL}", connect=database)
    assert not report.ok
    assert len(asked) == 1


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://me:hunter2@db.example/sales",
        "postgresql://me:hun%21ter2@db.example/sales?sslmode=off&password=hunter2",
        "postgresql://me:a/b@hunter2@db.example/sales",
        "snowflake://me:hunter2@account/db#hunter2",
    ],
)
def test_credentials_are_never_shown(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = without_credentials(address)
    assert "hun" not in shown
    assert "@" in shown
    query = Query(SQL, address)
    assert "hun" not in repr(query) + str(query)
    monkeypatch.setitem(sys.modules, "adbc_driver_postgresql", None)
    with pytest.raises(MissingExtraError, match="pip install") as missing:
        read_panel(sql=SQL, connect=address)
    assert "hun" not in str(missing.value)

    def fail(*args: Any, **options: Any) -> None:
        raise RuntimeError(f"cannot connect to {address}: password hun!ter2 or hunter2 is wrong")

    monkeypatch.setattr(pl, "read_database_uri", fail)
    with pytest.raises(FileError) as failed:
        read_panel(sql=SQL, connect=address.replace("hun%21ter2", "hunter2"))
    assert "hunter2@" not in str(failed.value)
    assert failed.value.__suppress_context__


def test_a_missing_driver_names_the_extra(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(sys.modules):
        if name.startswith("adbc_driver_sqlite"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "adbc_driver_sqlite", None)
    with pytest.raises(MissingExtraError, match=re.escape("pip install 'demandcast[sql]'")):
        read_panel(sql=SQL, connect=database)


def test_commands_take_a_query(
    database: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    query = ["--sql", SQL, "--connect", database]
    assert main(["check", *query]) == 0
    assert f"backtest --sql '{SQL}' --connect {database} --horizon" in capsys.readouterr().err
    ahead = ["--horizon", "2", "--model", "seasonal_naive"]
    assert (
        main(["forecast", *query, *ahead, "--out", "f.csv", "--save", "run", "--report", "r.html"])
        == 0
    )
    by_query = pl.read_csv("f.csv", infer_schema=False)
    TABLE.write_csv("t.csv")
    assert main(["forecast", "t.csv", *ahead, "--out", "g.csv"]) == 0
    assert by_query.equals(pl.read_csv("g.csv", infer_schema=False))
    assert main(["predict", "run", *query, "--out", "p.csv"]) == 0
    assert by_query.equals(pl.read_csv("p.csv", infer_schema=False))
    monkeypatch.setenv("DEMANDCAST_CONNECT", database)
    assert main(["check", "--sql", SQL]) == 0
    capsys.readouterr()
    for words, said in (
        (["check"], "no table is given"),
        (["check", "t.csv", "--sql", SQL], "leave one of the two out"),
        (["check", "t.csv", "--connect", database], "leave one of the two out"),
    ):
        assert main(words) == 2
        assert said in capsys.readouterr().err


def test_a_saved_run_holds_no_credentials(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pl, "read_database_uri", lambda *args, **options: TABLE)
    query = ["--sql", SQL, "--connect", "postgresql://me:hunter2@db/sales"]
    words = ["--horizon", "2", "--model", "seasonal_naive", "--save", "run", "--report", "r.html"]
    assert main(["forecast", *query, *words]) == 0
    assert (
        main(
            [
                "backtest",
                *query,
                "--horizon",
                "2",
                "--models",
                "drift",
                "--folds",
                "1",
                "--out",
                "b",
            ]
        )
        == 0
    )
    for path in [*Path("run").rglob("*"), *Path("b").rglob("*"), Path("r.html")]:
        assert path.is_dir() or b"hunter2" not in path.read_bytes()
    assert "***@db/sales" in json.loads(Path("run/config.json").read_text())["table"]["source"]


# Addresses


class Served(http.server.SimpleHTTPRequestHandler):
    """Files with the ranges that readers of object stores ask for."""

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            return self.send_error(404)
        content = path.read_bytes()
        asked = re.match(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        first, last = 0, len(content) - 1
        if asked and asked[1]:
            first, last = int(asked[1]), min(int(asked[2] or last), last)
        elif asked:  # the last bytes
            first = max(0, len(content) - int(asked[2]))
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        for name, value in (("Content-Length", last - first + 1), ("ETag", '"1"'), ("Accept-Ranges", "bytes"),
                            ("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")):  # fmt: skip
            self.send_header(name, str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[first : last + 1])
        return None

    do_HEAD = do_GET

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sales").mkdir()
    TABLE.write_csv(tmp_path / "sales" / "t.csv")
    TABLE.write_parquet(tmp_path / "sales" / "t.parquet")
    with http.server.HTTPServer(("127.0.0.1", 0), Served) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_addresses_are_read_like_files(
    ending: str, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_same(read_panel(f"{server}/sales/t.{ending}"))
    is_same(read_panel((tmp_path / "sales" / f"t.{ending}").as_uri()))
    store = {
        "ENDPOINT_URL": server,
        "ALLOW_HTTP": "true",
        "ACCESS_KEY_ID": "x",
        "SECRET_ACCESS_KEY": "x",
    }
    for name, value in (store | {"REGION": "eu-central-1"}).items():
        monkeypatch.setenv(f"AWS_{name}", value)
    is_same(read_panel(f"s3://sales/t.{ending}"))


def test_an_address_that_is_not_there_is_said_without_its_token(server: str) -> None:
    with pytest.raises(
        FileError, match=r"absent\.csv\?\*\*\* cannot be fetched.*check the address"
    ) as absent:
        read_panel(f"{server}/absent.csv?token=hunter2")
    assert "hunter2" not in str(absent.value)
    with pytest.raises(FileError, match="plain text"):
        read_panel("s3://sales/t.xlsx")


# Arrow


class OnlyStream:
    """Rows by the Arrow C stream, and nothing else."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self._frame = frame

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._frame.__arrow_c_stream__(requested_schema)


def test_an_arrow_stream_is_a_table() -> None:
    is_same(read_panel(OnlyStream(TABLE)))
    past = TABLE.filter(pl.col("date") < "2024-01-13").with_columns(price=pl.lit(1.0))
    ahead = (
        TABLE.filter(pl.col("date") >= "2024-01-13").drop("units").with_columns(price=pl.lit(2.0))
    )
    panel = read_panel(OnlyStream(past), known="price", future=OnlyStream(ahead))
    assert panel.known[:, 0].tolist() == [1.0] * 12 + [2.0] * 2 + [1.0] * 12 + [2.0] * 2


def test_relations_and_narwhals_frames_are_tables() -> None:
    duckdb = pytest.importorskip("duckdb")
    nw = pytest.importorskip("narwhals")
    connection = duckdb.connect()
    connection.register("sales", TABLE.to_arrow())
    is_same(read_panel(connection.sql(SQL)))
    is_same(read_panel(connection.sql(SQL).to_arrow_table()))
    for frame in (TABLE, TABLE.lazy(), TABLE.to_pandas(), TABLE.to_arrow()):
        is_same(read_panel(nw.from_native(frame)))
