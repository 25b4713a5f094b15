"""KServe's time-series protocol: series of numbers in, means and quantiles out.

The fields are those of https://kserve.github.io/website/docs/reference/time_series/api.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta, tzinfo
from typing import Any, Literal

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from demandcast.errors import DataError, FrequencyError
from demandcast.forecast.forecast import Forecast
from demandcast.frequency import Frequency
from demandcast.panel.panel import Panel
from demandcast.schema import Schema

Unit = Literal[
    "second", "S", "minute", "T", "hour", "H", "day", "D", "week", "W", "month", "M", "quarter", "Q",
    "year", "Y",
]  # fmt: skip
LETTERS = {
    "second": "S", "minute": "T", "hour": "H", "day": "D", "week": "W", "month": "M", "quarter": "Q",
    "year": "Y",
}  # fmt: skip
FIXED = {"S": "s", "T": "min", "H": "h", "D": "D"}
SPANS = {"M": "M", "Q": "Q", "Y": "Y"}
WITHOUT_START = datetime(2000, 1, 1)
UNIVARIATE: Literal["univariate_time_series"] = "univariate_time_series"
Numbers = list[float | None] | list[list[float | None]]


class Model(BaseModel):
    model_config = ConfigDict(extra="allow", allow_inf_nan=False)


class SeriesInput(Model):
    """A series: its values, oldest first."""

    type: Literal["univariate_time_series", "multivariate_time_series"] = UNIVARIATE
    name: str
    series: Numbers = Field(
        description="Values; null where not observed. Multivariate: a row a step."
    )
    frequency: Unit
    start_timestamp: str | None = Field(None, description="ISO 8601, of the first value.")


class Options(Model):
    horizon: int = Field(ge=1, description="Steps to forecast.")
    quantiles: list[float] = Field([0.1, 0.5, 0.9], description="Levels, increasing, in (0, 1).")


class ForecastRequest(Model):
    """The body of a request."""

    model: str
    inputs: list[SeriesInput] = Field(min_length=1)
    options: Options
    metadata: dict[str, Any] | None = None


class SeriesForecast(Model):
    type: str
    name: str
    mean_forecast: Numbers
    frequency: Unit
    start_timestamp: str
    quantiles: dict[str, Numbers]


class Output(Model):
    type: str = "time_series_forecast"
    id: str
    status: str = "completed"
    content: list[SeriesForecast]
    error: None = None


class ForecastResponse(Model):
    """The body of an answer."""

    id: str
    created_at: int
    status: str = "completed"
    error: None = None
    model: str
    outputs: list[Output]
    metadata: dict[str, Any] | None = None


def read_inputs(request: ForecastRequest) -> list[tuple[Panel, list[int]]]:
    """Return a panel for each frequency, with the positions of its inputs in the request.

    The variables of a multivariate input are series of their own, one after the other.

    Raises:
        DataError: Names repeat, or an input has no values or rows of different lengths.
        FrequencyError: A start is no timestamp, or is not on the grid of its frequency.
    """
    names = [given.name for given in request.inputs]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(
            f"two inputs are called {twice!r}; give each series a name of its own", series=twice
        )
    groups: dict[str, list[int]] = {}
    starts = [_start(given) for given in request.inputs]
    for i, given in enumerate(request.inputs):
        groups.setdefault(_grid(given, starts[i]), []).append(i)
    return [
        (_panel(freq, [(request.inputs[i], starts[i]) for i in places]), places)
        for freq, places in groups.items()
    ]


def _panel(freq: str, inputs: Sequence[tuple[SeriesInput, datetime]]) -> Panel:
    grid = Frequency.parse(freq)
    values: list[np.ndarray[Any, Any]] = []
    keys: list[tuple[str, int]] = []
    first: list[int] = []
    for given, start in inputs:
        columns = _columns(given)
        values += list(columns)
        keys += [(given.name, variable) for variable in range(len(columns))]
        first += [int(grid.ordinal(np.array([start.replace(tzinfo=None)], "datetime64[us]"))[0])] * len(columns)  # fmt: skip
    lengths = np.array([len(v) for v in values], np.int64)
    variables = len({variable for _, variable in keys}) > 1
    table = pl.DataFrame(keys, schema={"name": pl.String, "variable": pl.Int64}, orient="row")
    return Panel(
        schema=Schema(
            key=("name", "variable") if variables else ("name",),
            time="time",
            target="value",
            freq=freq,
        ),
        keys=table if variables else table.select("name"),
        target=np.concatenate(values).astype(np.float32),
        begins=np.cumsum(lengths) - lengths,
        extents=lengths,
        lengths=lengths,
        starts=np.array(first, np.int64),
        known=np.zeros((int(lengths.sum()), 0), np.float32),
        past=np.zeros((int(lengths.sum()), 0), np.float32),
    )


def _columns(given: SeriesInput) -> np.ndarray[Any, Any]:
    """Return the values of an input, (variables, steps), NaN for null."""
    nested = [isinstance(row, list) for row in given.series]
    if not nested:
        raise DataError(f"input {given.name!r} has no values; give at least one", series=given.name)
    if any(nested) != (given.type != UNIVARIATE) or any(nested) != all(nested):
        raise DataError(
            f"input {given.name!r} is of type {given.type}, but its series is not a list of "
            f"{'numbers' if given.type == UNIVARIATE else 'rows of numbers'}", series=given.name,
        )  # fmt: skip
    rows: Any = given.series
    if all(nested) and (len({len(row) for row in rows}) > 1 or not rows[0]):
        raise DataError(
            f"the rows of input {given.name!r} are not of one length", series=given.name
        )
    values = np.array(rows, np.float64)  # None becomes NaN
    if not (np.abs(values[~np.isnan(values)]) < np.finfo(np.float32).max).all():
        raise DataError(f"input {given.name!r} has a value beyond float32", series=given.name)
    return values.T if all(nested) else values[None]


def _start(given: SeriesInput) -> datetime:
    if given.start_timestamp is None:
        return WITHOUT_START
    try:
        return datetime.fromisoformat(given.start_timestamp.replace("Z", "+00:00"))
    except ValueError:
        raise FrequencyError(
            f"start_timestamp of {given.name!r} is {given.start_timestamp!r}; write ISO 8601, as 2026-01-31 or "
            "2026-01-31T08:00:00", series=given.name, found=given.start_timestamp,
        ) from None  # fmt: skip


def _grid(given: SeriesInput, start: datetime) -> str:
    """Return this package's name of a frequency, anchored at the start of the series."""
    letter = LETTERS.get(given.frequency, given.frequency)
    if letter in FIXED:
        return FIXED[letter]
    if letter == "W":
        return f"W-{start:%a}".upper()
    last = (start + timedelta(days=1)).day == 1
    if start.day != 1 and not last:
        raise FrequencyError(
            f"start_timestamp of {given.name!r} is {given.start_timestamp}; steps of a {given.frequency} are dated at "
            "the first or the last day of a month", series=given.name, found=given.start_timestamp,
        )  # fmt: skip
    ends = "E" if last and start.day != 1 else "S"
    anchor = "" if letter == "M" else f"-{start:%b}".upper()
    return f"{SPANS[letter]}{ends}{anchor}"


def without_start(request: ForecastRequest) -> list[str]:
    """Return a note for inputs whose dates are not known."""
    names = [given.name for given in request.inputs if given.start_timestamp is None]
    if not names:
        return []
    return [
        f"{len(names)} input(s) without start_timestamp (e.g. {names[0]!r}) are dated from "
        f"{WITHOUT_START:%Y-%m-%d}; a model that reads the calendar needs the true date"
    ]


def write_response(
    request: ForecastRequest, parts: Sequence[tuple[Forecast, list[int]]], notes: Sequence[str]
) -> bytes:
    """Return the forecasts of all inputs, in their order, as the body of an answer."""
    steps = request.options.horizon
    contents: dict[int, SeriesForecast] = {}
    for forecast, places in parts:
        times, row = forecast.times(), 0
        for place in places:
            given = request.inputs[place]
            count = 1 if given.type == UNIVARIATE else len(given.series[0])  # type: ignore[arg-type]
            rows = slice(row, row + count)
            contents[place] = SeriesForecast(
                type=given.type,
                name=given.name,
                mean_forecast=_numbers(forecast.mean[rows, :steps], given),
                frequency=given.frequency,
                start_timestamp=_stamp(times[row, 0], _start(given).tzinfo),
                quantiles={
                    f"{level:g}": _numbers(forecast.quantiles[rows, :steps, q], given)
                    for q, level in enumerate(forecast.levels)
                },
            )
            row += count
    in_order = [contents[i] for i in range(len(request.inputs))]
    response = ForecastResponse(
        id=f"forecast-{uuid.uuid4()}",
        created_at=int(time.time()),
        model=request.model,
        outputs=[Output(id=f"output-{i}", content=[content]) for i, content in enumerate(in_order)],
        metadata={**(request.metadata or {}), **({"notes": list(notes)} if notes else {})} or None,
    )
    return response.model_dump_json().encode()


def _numbers(values: np.ndarray[Any, Any], given: SeriesInput) -> Any:
    """Return values (variables, steps) in the layout of the request: a list, or one row for each step."""
    exact = values.astype(np.float64)
    return exact[0].tolist() if given.type == UNIVARIATE else exact.T.tolist()


def _stamp(time_: Any, zone: tzinfo | None) -> str:
    stamp: datetime = np.datetime64(time_, "us").item()
    return stamp.replace(tzinfo=zone).isoformat()
