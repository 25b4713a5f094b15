"""`demandcast order`: the contract of its options and columns, and exit code 2 where it cannot order."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from demandcast.cli.main import main

Run = Callable[..., tuple[int, str, str]]
COLUMNS = [
    "store", "item", "order", "order_up_to", "expected_demand", "safety_stock", "p_stock_out",
    "fill_rate", "expected_held", "expected_lost", "cost", "why",
]  # fmt: skip


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`demandcast order sales.csv --stock stock.csv`, to its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    days = np.datetime64("2024-01-01") + np.arange(60)
    rng = np.random.default_rng(0)
    keys = [("s2", "01"), ("s1", "01"), ("s1", "1")]
    pl.concat(
        pl.DataFrame({"store": s, "item": i, "date": days, "units": rng.poisson(4, 60)})
        for s, i in keys
    ).write_csv("sales.csv")
    stock = {"store": ["s1", "s1", "s2"], "item": ["1", "01", "01"], "on_hand": [1, 2, 99]}
    pl.DataFrame(stock).with_columns(arriving_1=1, on_order=0).write_csv("stock.csv")

    def go(*words: object) -> tuple[int, str, str]:
        named = ["order", "sales.csv", "--stock", "stock.csv", "--model", "seasonal_naive"]
        code = main([*named, *map(str, words)])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return go


COSTS = ("--lead-time", 2, "--cost-under", 1, "--cost-over", 0.2)


def test_a_row_an_item_in_the_order_of_the_table(run: Run) -> None:
    code, out, err = run(*COSTS, "--review", 2, "--json")
    assert code == 0, err
    rows = json.loads(out)
    assert list(rows[0]) == COLUMNS
    assert [(r["store"], r["item"]) for r in rows] == [("s2", "01"), ("s1", "01"), ("s1", "1")]
    assert (rows[0]["order"], rows[0]["why"]) == (0, "enough")
    assert rows[1]["order"] > 0
    for path in ("order.csv", "order.parquet"):
        assert run(*COSTS, "--review", 2, "--out", path)[0] == 0
        assert run(*COSTS, "--review", 2, "--out", path)[0] == 0  # an output may be replaced
    text = pl.read_csv("order.csv", schema_overrides={"item": pl.String})
    assert text.columns == COLUMNS
    assert text["order"].to_list() == [r["order"] for r in rows]
    assert pl.read_parquet("order.parquet")["item"].to_list() == ["01", "01", "1"]


def test_reorder_points_are_a_rule_of_the_command(run: Run) -> None:
    words = ("--lead-time", 2, "--service", 0.9, "--rule", "s,Q", "--quantity", 20, "--json")
    code, out, err = run(*words)
    assert code == 0, err
    rows = json.loads(out)
    assert list(rows[0]) == [*COLUMNS, "reorder_point", "quantity"]
    assert [r["order"] for r in rows] == [0, 20, 40]
    assert all(r["reorder_point"] >= r["expected_demand"] for r in rows)
    moment = json.loads(run(*words, "--continuous")[1])
    assert all(a["reorder_point"] < b["reorder_point"] for a, b in zip(moment, rows, strict=True))


def test_a_new_item_is_ordered_by_the_history_of_the_one_it_replaces(run: Run) -> None:
    """03 has no row of sales; 01 of s1 has none of stock: it is known for its history only."""
    stock = {"store": ["s1", "s1", "s2"], "item": ["1", "03", "01"], "on_hand": [1, 2, 99]}
    new = pl.DataFrame(stock).with_columns(predecessor_item=pl.Series([None, "01", None]))
    new.with_columns(order_days=pl.Series([None, None, "Mon"])).write_csv("stock.csv")
    code, out, err = run(*COSTS, "--json")
    assert code == 0, err
    rows = json.loads(out)
    assert [(r["store"], r["item"]) for r in rows] == [("s2", "01"), ("s1", "1"), ("s1", "03")]
    assert (rows[0]["why"], rows[0]["order"]) == ("calendar", 0)
    assert rows[2]["order"] > 0
    said = " ".join(err.split())
    assert "successors: 60 in 1 series (e.g. s1/03 after s1/01)" in said
    assert "no row in the stock table: not ordered" in said
    assert "s2/01, whose next one is Mon 2024-03-04" in said
    code, _, err = run(*COSTS, "--delivery-days", "Tues, Fry")
    assert (code, "'Fry' is neither a weekday" in " ".join(err.split())) == (2, True)


def test_auto_is_chosen_by_the_costs_of_the_order(run: Run) -> None:
    words = (
        "--model",
        "auto",
        "--set",
        "metric=cost",
        "--set",
        "include=tsb",
        "--budget",
        "5 steps",
    )
    code, _, err = run(*COSTS, *words)
    assert code == 0, err
    assert "would have cost" in " ".join(err.split())
    code, _, err = run("--lead-time", 2, "--service", 0.9, *words)
    assert (code, "cost_under is not given" in err) == (2, True)


def test_a_saved_model_orders_without_a_fit(run: Run) -> None:
    saved = [
        "forecast",
        "sales.csv",
        "--horizon",
        "3",
        "--model",
        "seasonal_naive",
        "--save",
        "run",
    ]
    assert main([*saved, "--out", "f.csv"]) == 0
    words = ["order", "sales.csv", "--stock", "stock.csv", "--run", "run", "--service", "0.9"]
    assert main([*words, "--lead-time", "2", "--backorders", "--out", "o.csv"]) == 0
    fresh = run("--service", 0.9, "--lead-time", 2, "--backorders", "--out", "p.csv")
    assert fresh[0] == 0
    assert Path("o.csv").read_text() == Path("p.csv").read_text()
    assert main([*words, "--lead-time", "3"]) == 2


def test_the_report_lists_the_orders(run: Run) -> None:
    code, out, err = run(*COSTS, "--report", "orders.html", "--json")
    assert code == 0, err
    page = Path("orders.html").read_text()
    assert "Orders for sales.csv" in page
    units = sum(row["order"] for row in json.loads(out))
    assert f"Order {units} units of 2 of 3 items" in page
    code, _, err = run(*COSTS, "--report", "stock.csv")
    assert (code, "stock.csv" in err) == (2, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--service", 0.9), "or give --lead-time 2"),
        (("--lead-time", 2), "--cost-under 3 --cost-over 1 (costs of a unit), --service 0.95 or --fill-rate 0.98"),
        (("--lead-time", -1, "--service", 0.9), "lead_time is -1"),
        (("--lead-time", 2, "--service", 1), "service is 1.0"),
        ((*COSTS, "--stock", "none.csv"), "no file at none.csv"),
        ((*COSTS, "--out", "stock.csv"), "is read as --stock, and would be overwritten"),
        ((*COSTS, "--run", "run"), "leave --model, --set and --budget out"),
        ((*COSTS, "--spend", -4), "spend is -4"),
        ((*COSTS, "--quantity", 4), "leave it out, or give --rule s,Q or --rule s,S"),
        ((*COSTS, "--rule", "sQ"), "did you mean"),
        ((*COSTS, "--rule", "s,S"), "or give --quantity 12 or --fixed-cost 5 (of placing one order)"),
    ],
)  # fmt: skip
def test_what_cannot_be_ordered_ends_in_2(run: Run, words: tuple[object, ...], said: str) -> None:
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert err.count("error: ") == 1
    assert said in err
    assert "Traceback" not in err


def test_a_lead_time_that_nothing_can_forecast_is_refused(run: Run) -> None:
    code, _, err = run("--lead-time", 5000, "--service", 0.9)
    assert (code, "at most 1,000 are forecast of this table" in err) == (2, True)


def test_an_item_that_ends_a_few_days_early_is_ordered_for_the_same_days(run: Run) -> None:
    table = pl.read_csv("sales.csv", schema_overrides={"item": pl.String})
    late = pl.col("date") > "2024-02-26"
    table.filter(~(late & (pl.col("store") == "s2"))).write_csv("sales.csv")
    code, out, err = run(*COSTS, "--json")
    assert code == 0, err
    assert len(json.loads(out)) == 3


def test_an_empty_table_beside_is_told_by_its_own_columns(run: Run) -> None:
    Path("leads.csv").write_text("lead_time\n")
    code, _, err = run(*COSTS, "--lead-times", "leads.csv")
    assert code == 2
    assert "leads.csv has a header line but no rows; give at least one row of lead_time" in err
    Path("stock.csv").write_text("store,item,on_hand\n")
    code, _, err = run(*COSTS)
    assert code == 2
    assert (
        "stock.csv has a header line but no rows; give at least one row of the key columns and on_hand"
        in " ".join(err.split())
    )
