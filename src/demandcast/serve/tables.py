"""Tables in a request and its answer: CSV, Parquet, Arrow or JSON; the answer has the kind of the request."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import polars as pl

from demandcast.errors import ConfigError, FileError, SchemaError
from demandcast.forecast.forecast import Forecast
from demandcast.forecaster import Forecaster
from demandcast.frames.read import read_panel
from demandcast.frames.source import open_bytes
from demandcast.panel.panel import Panel
from demandcast.reading import NamedColumns, Reading, options_at_fit
from demandcast.settings import near_name, suggestion

CSV, TSV, PARQUET = "text/csv", "text/tab-separated-values", "application/vnd.apache.parquet"
ARROW, JSON = "application/vnd.apache.arrow.stream", "application/json"
ENDINGS = {CSV: ".csv", TSV: ".tsv", PARQUET: ".parquet"}
KINDS = (CSV, TSV, PARQUET, ARROW, JSON)
ELSEWHERE = (
    "sql",
    "connect",
    "covariates",
    "static_table",
    "sheet",
    "encoding",
)  # these name other sources
OPTIONS = {
    option.name: option
    for kind in (NamedColumns, Reading)
    for option in fields(kind)
    if option.name not in ELSEWHERE
}  # of `read_panel` that a request may set


def reading_options(query: Mapping[str, str], model: Forecaster) -> dict[str, Any]:
    """Return options of `read_panel`: those of the query, else those of the saved run.

    Raises:
        ConfigError: An option is unknown or has no such value.
    """
    given: dict[str, Any] = {}
    for name, value in query.items():
        if name not in OPTIONS:
            raise ConfigError(
                f"no parameter {name!r}; {suggestion(name, list(OPTIONS))} There are: {', '.join(OPTIONS)}",
                option=name, found=name,
            ).suggest(near_name(name, list(OPTIONS)))  # fmt: skip
        metadata = OPTIONS[name].metadata
        if metadata.get("metavar") == "COLUMNS":
            given[name] = [word.strip() for word in value.split(",") if word.strip()]
        elif "flags" in metadata:
            if value.lower() not in ("true", "false"):
                raise ConfigError(
                    f"{name} is {value!r}; write true or false", option=name, found=value
                )
            given[name] = value.lower() == "true"
        else:
            given[name] = value
    saved = options_at_fit(model.origin)
    at_fit = {name: saved[name] for name in OPTIONS if saved.get(name) not in (None, [], "")}
    return {**at_fit, **given}


def read_table(content: bytes, kind: str, options: Mapping[str, Any]) -> Panel:
    """Read the body of a request as a panel.

    Args:
        content: The body.
        kind: Its media type, one of `KINDS`.
        options: Of `read_panel`.

    Raises:
        DataError, ConfigError: As `read_panel`.
    """
    if not content:
        raise FileError("the request has no body; send the table as its body")
    return read_panel(_open(content, kind), **options)


def _open(content: bytes, kind: str) -> Any:
    if kind in ENDINGS:
        return open_bytes(content, ENDINGS[kind], name="the table")
    if kind == ARROW:
        try:
            return pl.read_ipc_stream(io.BytesIO(content))
        except (pl.exceptions.PolarsError, OSError, ValueError) as error:
            raise FileError(f"the table is no Arrow IPC stream ({_first_line(error)})") from error
    try:
        table = json.loads(content, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise FileError(f"the table is no JSON ({_first_line(error)})") from error
    rows = isinstance(table, list) and table and all(isinstance(row, dict) for row in table)
    columns = isinstance(table, dict) and table and all(isinstance(v, list) for v in table.values())
    if not rows and not columns:
        raise SchemaError(
            'JSON is a list of rows, [{"item": "a", "date": "2026-01-01", "units": 3}, ...], or an object with a '
            "list for each column"
        )
    return table


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON; write null for a missing value")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def write_table(
    forecast: Forecast, kind: str, notes: Sequence[str], *, steps: int | None = None
) -> bytes:
    """Return a forecast as the body of an answer.

    Args:
        forecast: Of every series.
        kind: Media type, one of `KINDS`.
        notes: Notes on the table, included in JSON; other kinds cannot hold them.
        steps: Number of steps returned, from the first; None for all.
    """
    frame = forecast.to_frame()
    if steps is not None and steps < forecast.horizon:
        frame = frame.filter(pl.int_range(pl.len()) % forecast.horizon < steps)
    if kind == JSON:
        rows = json.loads(frame.write_json())
        return json.dumps(
            {"forecast": rows, "model": forecast.model, "notes": list(notes)}
        ).encode()
    if kind in (CSV, TSV):
        return frame.write_csv(separator="\t" if kind == TSV else ",").encode()
    body = io.BytesIO()
    if kind == PARQUET:
        frame.write_parquet(body)
    else:
        frame.write_ipc_stream(body)
    return body.getvalue()
