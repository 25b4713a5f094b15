"""What one person works on: a table, how it is read, its forecast, a question about it, and orders.

No HTTP here: each method is a piece of work that the library does, in the worker's thread. What came out replaces
what was there only when it is whole, so that nothing is lost where work fails or is cancelled.
"""

from __future__ import annotations

import contextlib
import math
import re
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from demandcast import registry
from demandcast.decide import next_order
from demandcast.decide.calendar import Now
from demandcast.decide.orders import Orders, decide
from demandcast.decide.rules import Policy
from demandcast.decide.scale import forecast_items
from demandcast.decide.stock_table import read_stock, take_histories
from demandcast.errors import ConfigError, DataError, FileError, way
from demandcast.evaluate.backtest import backtest
from demandcast.forecast.changes import Assignment, Change, Condition
from demandcast.forecast.forecast import DEFAULT_LEVELS, Forecast, escape_formulas
from demandcast.forecast.what_if import Effect, WhatIf, what_if
from demandcast.forecaster import Forecaster, fit
from demandcast.frames.check import Report, check
from demandcast.frames.examples import retail
from demandcast.frames.opened import Table
from demandcast.frames.roles import find_roles
from demandcast.frames.sheets import write_frame
from demandcast.frames.source import open_table
from demandcast.frames.steps_ahead import require_known
from demandcast.panel.horizon import usual_folds
from demandcast.panel.panel import Panel
from demandcast.reading import NamedColumns, Reading
from demandcast.report.page import write_report

Say = Callable[[str], None]
Slot = Literal["table", "future", "covariates", "static_table", "stock"]
SLOTS = ("table", "future", "covariates", "static_table", "stock")
BESIDE = ("future", "covariates", "static_table")  # tables that `read_panel` reads beside the first
MINE = ("sql", "connect", *BESIDE)  # options that the page does not set by text
PATHS = 400  # of each item for orders, as `demandcast order` draws
ROLES = ("key", "time", "target", "known", "past", "static", "available")
ROWS = 8  # of the table that are shown
SIGNS = {"=": "=", "*=": "\u00d7", "+=": "+"}  # of a change, as people write them


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A table that was opened and read, or could not be read.

    Attributes:
        name: Of the file.
        options: Of `read_panel`, as the person set them.
        sample: Its first rows as they stand in the file; None if it cannot be opened.
        report: What `check` found.
        roles: Column -> its role, as far as it is known.
    """

    name: str
    options: dict[str, Any]
    sample: Table | None
    report: Report
    roles: dict[str, str]

    @property
    def panel(self) -> Panel:
        """The panel.

        Raises:
            DataError: The table cannot be read as it is.
        """
        if self.report.panel is None:
            raise DataError("the table is not read yet; correct what its page shows first")
        return self.report.panel


@dataclass(frozen=True, kw_only=True)
class ForecastAsked:
    """What a person asks for a forecast.

    Attributes:
        horizon: Steps.
        model: A name of the registry.
        budget: Of `auto`.
        measure: Whether to measure the accuracy by a backtest.
    """

    horizon: int
    model: str = "zero_shot"
    budget: str = "1m"
    measure: bool = True


@dataclass(frozen=True, kw_only=True)
class Run:
    """A forecast.

    Attributes:
        asked: What was asked for.
        table: What was forecast.
        model: That was fitted.
        forecast: Of its steps.
        report: The page.
        seconds: That it took.
    """

    asked: ForecastAsked
    table: Opened
    model: Forecaster
    forecast: Forecast
    report: Path
    seconds: float


@dataclass(frozen=True, kw_only=True)
class ChangeAsked:
    """A change of one covariate at the steps ahead.

    Attributes:
        column: The covariate.
        sign: "=" sets it, "*=" multiplies it, "+=" adds.
        value: A number or a category.
        first, last: The steps at which it holds, as times; "" for no limit.
        where: A key or static column, and the value it has.
    """

    column: str
    sign: Literal["=", "*=", "+="]
    value: str
    first: str = ""
    last: str = ""
    where: tuple[str, str] | None = None

    def change(self, time: str) -> Change:
        """Return the change for a panel whose times are called `time`."""
        if not self.value.strip():
            raise ConfigError(
                f"{self.column} has no new value; write one, such as 1 or 0.9", option="value"
            )
        conditions = [
            Condition(time, sign, (limit,))
            for sign, limit in ((">=", self.first), ("<=", self.last))
            if limit
        ]
        if self.where is not None:
            conditions.append(Condition(self.where[0], "=", (self.where[1],)))
        where = "".join(f", {c.column} {c.sign} {c.values[0]}" for c in conditions)
        text = f"{self.column} {SIGNS[self.sign]} {self.value}{where}"
        assignment = Assignment(self.column, self.sign, self.value.strip())
        return Change(text, (assignment,), tuple(conditions))


@dataclass(frozen=True, kw_only=True)
class QuestionAsked:
    """Changes whose effect is asked for, and who says it: the model or the history."""

    changes: tuple[ChangeAsked, ...]
    effect: Effect = "model"


@dataclass(frozen=True, kw_only=True)
class OrdersAsked:
    """The rule of orders, and whether to count no stock where no table of stock is given."""

    rule: Policy
    without_stock: bool = False


@dataclass
class Workspace:
    """Files and results of one person; `folder` is removed when the app ends."""

    folder: Path
    files: dict[str, Path] = field(default_factory=dict)  # by slot
    options: dict[str, Any] = field(default_factory=dict)  # of `read_panel`, as the person set them
    table: Opened | None = None
    run: Run | None = None
    question: WhatIf | None = None
    orders: Orders | None = None
    version: int = 0  # counts the answers, for the page to know what it has shown
    answer: dict[str, Any] = field(default_factory=dict)  # the results as the page shows them
    count: int = 0  # of files that were taken in

    def keep_answer(self, answer: dict[str, Any]) -> None:
        """Keep the results as the page shows them."""
        self.answer = answer
        self.version += 1

    # Files ---------------------------------------------------------------------------------------

    def place_for(self, name: str) -> Path:
        """Return where a file that a person sends is kept: in a folder of its own, under a name without signs."""
        safe = re.sub(r"[^\w. -]", "_", Path(name.replace("\\", "/")).name).lstrip(".") or "table"
        self.count += 1
        place = self.folder / str(self.count) / safe[-120:]
        place.parent.mkdir()
        return place

    def take(self, slot: str, path: Path) -> None:
        """Use a file; another table begins with no options, no stock and no tables beside it."""
        if slot == "table":
            self.options = {}
        for old in SLOTS if slot == "table" else (slot,):
            self.drop(old)
        self.files[slot] = path

    def drop(self, slot: str) -> None:
        """Stop using a file; a copy in the folder is removed."""
        path = self.files.pop(slot, None)
        if path is not None and path.is_relative_to(self.folder):
            shutil.rmtree(path.parent, ignore_errors=True)

    def write_example(self) -> Path:
        """Write simulated sales of a shop as a CSV file, its last four weeks without demand: the steps ahead."""
        frame = retail(40, 28 * 14, seed=3, price_changes=0.1).frame
        ahead = pl.col("date") > pl.col("date").max() - pl.duration(days=28)
        units = pl.when(ahead).then(None).otherwise("units").alias("units")
        place = self.place_for("example.csv")
        frame.with_columns(units, pl.col("promo").cast(pl.Int8), pl.col("in_stock").cast(pl.Int8)).write_csv(place)  # fmt: skip
        self.take("table", place)
        self.options = {
            "key": ["item"], "time": ["date"], "target": "units", "known": ["price", "promo"],
            "static": ["category"], "available": "in_stock",
        }  # fmt: skip
        return place

    def shorten(self, text: str) -> str:
        """Return a message with the names of files in place of the paths of their copies."""
        return re.sub(rf"{re.escape(str(self.folder))}[/\\\\]\d+[/\\\\]", "", text)

    # The table -------------------------------------------------------------------------------------

    def read(self, say: Say) -> None:
        """Read the table as the options say, and keep what was found, faults too."""
        source = self.files.get("table")
        if source is None:
            raise FileError("no table is open; choose a file")
        say(f"reading {source.name}")
        beside = {slot: str(self.files[slot]) for slot in BESIDE if slot in self.files}
        given = {name: value for name, value in self.options.items() if value is not None}
        try:
            sample: Table | None = open_table(
                str(source), encoding=given.get("encoding"), sheet=given.get("sheet"), decimal=given.get("decimal"),
            )  # fmt: skip
        except DataError:
            sample = None  # `check` says why
        report = check(str(source), **{**given, **beside})
        self.table = Opened(
            name=source.name, options=dict(self.options), sample=sample, report=report,
            roles=_roles(given, sample, report),
        )  # fmt: skip

    def set_options(self, options: Mapping[str, Any]) -> None:
        """Set options of `read_panel`; None leaves one to be found.

        Raises:
            ConfigError: There is no such option, or it is a file, or it has no such value.
        """
        known = {f.name: f for kind in (NamedColumns, Reading) for f in fields(kind)}
        for name, value in options.items():
            if name not in known or name in MINE:
                raise ConfigError(f"the page cannot set {name!r}", option=name)
            columns = known[name].metadata.get("metavar") == "COLUMNS"
            fits = (
                isinstance(value, list) and all(isinstance(v, str) for v in value)
                if columns
                else isinstance(value, bool) == ("flags" in known[name].metadata)
                and isinstance(value, (str, bool))
            )
            if value is not None and not fits:
                raise ConfigError(f"{name} is {value!r}, which is no value of it", option=name)
        self.options = {**self.options, **options}

    # The forecast ------------------------------------------------------------------------------------

    def forecast(self, asked: ForecastAsked, say: Say, command: str = "") -> None:
        """Fit, forecast, measure, and write the report."""
        table = self._table()
        panel, began = table.panel, time.perf_counter()
        hyper = {"budget": asked.budget} if asked.model == "auto" else {}
        model: Any = registry.create(asked.model, horizon=asked.horizon, **hyper)
        if "known" in model.takes:
            require_known(panel, panel.known_names, asked.horizon)
        say(f"fitting {asked.model}")
        model = fit(model, panel, progress=False)
        say("forecasting")
        forecast = model.predict(panel)
        result, notes = None, list(forecast.notes)
        if asked.measure and asked.model != "auto":  # which measures itself
            folds = usual_folds(panel, asked.horizon)
            if folds:
                say("measuring the accuracy on the end of the history")
                result = backtest(
                    [registry.create(asked.model, horizon=asked.horizon)], panel, folds=folds,
                    levels=DEFAULT_LEVELS, progress=False,
                )  # fmt: skip
            else:
                notes.append("The history is too short to measure the accuracy on its end.")
        say("writing the report")
        self.count += 1
        place = self.folder / f"report-{self.count}.html"
        write_report(
            place, forecast=forecast, panel=panel, result=result, model=model, notes=notes,
            title=f"Forecast of {table.name}", command=command,
        )  # fmt: skip
        before = self.run
        self.run = Run(
            asked=asked, table=table, model=model, forecast=forecast, report=place,
            seconds=time.perf_counter() - began,
        )  # fmt: skip
        self.question = self.orders = None
        if before is not None:
            before.report.unlink(missing_ok=True)

    # What if -----------------------------------------------------------------------------------------

    def ask(self, asked: QuestionAsked, say: Say) -> None:
        """Forecast again with changed covariates, and compare."""
        run = self._run()
        say("forecasting with the changes")
        if not asked.changes:
            raise ConfigError("nothing is changed; choose a column and a new value")
        changes = [one.change(run.forecast.schema.time) for one in asked.changes]
        self.question = what_if(run.forecast, changes, asked.effect)

    # Orders ------------------------------------------------------------------------------------------

    def order(self, asked: OrdersAsked, say: Say) -> None:
        """Decide what to order of every item, from the forecast's paths and the table of stock."""
        run, policy = self._run(), asked.rule
        forecast, panel = run.forecast, run.table.panel
        if "paths" not in run.model.gives:
            raise DataError(
                f"{run.model.name} forecasts quantiles and draws no paths, and orders need sums over the lead time; "
                "forecast with",
                ways=[way("the pretrained network", model="zero_shot")],
            )
        source: Any = str(self.files["stock"]) if "stock" in self.files else None
        if source is None and not asked.without_stock:
            raise FileError(
                "no table of stock is open; choose a file, or count no stock", option="stock"
            )
        if source is None:
            source = panel.keys.with_columns(pl.lit(0).alias("on_hand"))
        panel, successions = take_histories(panel, source)
        now = Now(int(panel.ends().max()), panel.freq)
        stock = read_stock(source, panel.keys, policy, now=now)
        late = int(panel.ends().max() - panel.ends().min())
        if (need := stock.horizon + late) > forecast.horizon:
            raise DataError(
                f"lead time and review need {need} steps, and the forecast has {forecast.horizon}; forecast again with",
                ways=[way(horizon=next_order.horizon(stock, policy) + late)],
            )
        say("deciding the orders")
        scaled, scaling = forecast_items(run.model, panel, PATHS)
        if not scaled.keys.equals(panel.keys):
            stock = read_stock(source, scaled.keys, policy, now=now)
        orders = decide(scaled, stock, policy, panel=panel)
        notes = (*(note.done for note in successions), *stock.notes, scaling, *orders.notes)
        shown = replace(stock, notes=tuple(filter(None, notes)))
        without_paths = replace(scaled, samples=None)  # which take much memory, and are not shown
        self.orders = replace(orders, forecast=without_paths, stock=shown)

    def stock_template(self) -> pl.DataFrame:
        """Return a table of stock to fill in: a row an item."""
        keys = self._run().forecast.keys
        return keys.with_columns(
            pl.lit(0).alias("on_hand"), pl.lit(0).alias("on_order"), pl.lit(None, pl.Int64).alias("lead_time"),
            pl.lit(1).alias("pack"),
        )  # fmt: skip

    # Files out ---------------------------------------------------------------------------------------

    def write(self, what: str, ending: str) -> Path:
        """Write a result as a file in the folder.

        Args:
            what: "forecast", "what-if", "orders", "stock" or "report".
            ending: ".csv", ".xlsx" or ".parquet"; ".html" of the report.

        Raises:
            DataError: There is no such result yet.
        """
        run = self._run()
        if what == "report":
            return run.report
        result = {
            "forecast": lambda: run.forecast.to_frame(),
            "what-if": lambda: None if self.question is None else self.question.to_frame(),
            "orders": lambda: None if self.orders is None else self.orders.to_frame(),
            "stock": self.stock_template,
        }[what]()
        if result is None:
            raise DataError(f"there is no result of {what} yet")
        path = self.folder / f"{what}{ending}"
        frame = escape_formulas(result) if ending == ".csv" else result
        write_frame(frame, path, what=what, keys=run.forecast.keys.columns)
        return path

    def _table(self) -> Opened:
        if self.table is None:
            raise FileError("no table is open; choose a file")
        return self.table

    def _run(self) -> Run:
        if self.run is None:
            raise DataError("there is no forecast yet; make one first")
        return self.run


def _roles(given: Mapping[str, Any], sample: Table | None, report: Report) -> dict[str, str]:
    """Return the role of each column: as it was read, else as it would be found, else as the person said."""
    if report.panel is not None:
        schema = report.panel.schema
        named = {**schema.to_dict(), "time": schema.time_parts or schema.time}
    else:
        named = dict(given)
        columns = {f.name: given.get(f.name, f.default) for f in fields(NamedColumns)}
        with contextlib.suppress(DataError):
            if sample is not None:
                proposed, _ = find_roles(
                    sample, NamedColumns.check(**columns), wide=given.get("wide")
                )
                named |= {
                    "key": proposed.key,
                    "time": proposed.parts or proposed.time,
                    "target": proposed.target,
                }
    roles: dict[str, str] = {}
    for role in ROLES:
        value = named.get(role) or ()
        for column in (value,) if isinstance(value, str) else value:
            roles[column] = role
    return roles


def finite(value: float) -> float | None:
    """Return a number for JSON, which has no NaN."""
    return float(value) if math.isfinite(value) else None


def sums(forecast: Forecast) -> list[float | None]:
    """Return the mean of a forecast, summed over the series that end last, for each step."""
    own = forecast.cutoffs == forecast.cutoffs.max()
    return [finite(v) for v in np.asarray(forecast.mean[own].sum(0, dtype=np.float64))]
