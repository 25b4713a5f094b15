"""The options of a forecast's outputs, which `forecast` and `predict` share: check them, write the files, print the rest."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from demandcast.cli import options, places, results, show
from demandcast.cli.summary import print_summary
from demandcast.errors import ConfigError

if TYPE_CHECKING:
    import polars as pl

    from demandcast.forecast.explain import Explanation
    from demandcast.forecast.forecast import Forecast
    from demandcast.forecaster import Forecaster
    from demandcast.panel.panel import Panel

ALARMS = 5  # events listed of a forecast, the likeliest


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """What a command writes and prints of a forecast; each field is an option."""

    quantiles: options.Quantiles = options.QUANTILES
    by: options.By = None
    out: options.Out = None
    report: options.Report = None
    explain: options.Explain = None
    overrides: options.Overrides = None
    force: options.Force = False
    safe_text: options.SafeText = False
    json: options.Json = False

    def check(
        self,
        table: options.Table,
        *,
        folders: Mapping[str, str | None] | None = None,
        sources: Mapping[str, str | None] | None = None,
    ) -> None:
        """Refuse places that cannot be written to, and options that exclude each other.

        Args:
            table: What the command reads.
            folders: Option -> a folder that the command writes.
            sources: Option -> another file that the command reads.
        """
        if self.out:
            places.check_ending(self.out)
        if self.explain:
            places.check_ending(self.explain, option="--explain")
        if self.explain and self.overrides:
            raise ConfigError(
                "--explain shows the parts of the model's own forecast, and --overrides changes that forecast; leave "
                "one of them out"
            )
        places.check(
            files={"--out": self.out, "--report": self.report, "--explain": self.explain},
            folders=folders,
            table=table,
            sources={"--overrides": self.overrides, **(sources or {})},
            force=self.force,
        )
        if self.report:
            places.check_page_ending(self.report)

    def read_overrides(self, decimal: str | None) -> pl.DataFrame | None:
        """Read the table of overrides, before a model is fitted; None if there is none.

        Raises:
            SchemaError: A column that it needs is missing.
        """
        if not self.overrides:
            return None
        from demandcast.forecast.overrides import check_columns
        from demandcast.frames.source import open_table

        overrides = open_table(self.overrides, decimal=decimal).collect()
        check_columns(overrides.columns)
        return overrides

    def levels(self) -> tuple[float, ...]:
        """Return the quantile levels; others than increasing numbers between 0 and 1 are refused."""
        from demandcast.settings import check_levels

        return check_levels(options.parse_levels(self.quantiles))

    def groups(self, panel: Panel) -> list[tuple[str, ...]]:
        """Return the columns of each level of totals; those that are no groups of the panel are refused."""
        from demandcast.panel.groups import group

        levels = options.parse_groups(self.by)
        for columns in levels:
            group(panel, columns)
        return levels


def takes_outputs(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a forecast's outputs; they reach it as `outputs`."""
    shared = inspect.signature(Outputs, eval_str=True).parameters
    return options.expand_parameter(command, "outputs", Outputs, shared)


def write_outputs(
    forecast: Forecast,
    panel: Panel,
    model: Forecaster,
    outputs: Outputs,
    *,
    overrides: pl.DataFrame | None,
    title: str,
) -> None:
    """Write the explanation, the report and the table of a forecast with its overrides, and print a summary."""
    explanation = None
    if outputs.explain:
        explanation = _write_explanation(forecast, outputs.explain, safe_text=outputs.safe_text)
    if overrides is not None:
        forecast = _override(forecast, overrides)
    if outputs.report:
        from demandcast.report.page import write_report

        write_report(
            outputs.report, forecast=forecast, panel=panel, model=model, title=title,
            command=options.command_line(), explanation=explanation,
        )  # fmt: skip
        show.say(f"wrote {outputs.report}")
    _write_forecast(forecast, outputs)
    if not outputs.json:
        print_summary(forecast, panel)


def _write_explanation(forecast: Forecast, path: str, *, safe_text: bool) -> Explanation:
    """Explain a forecast, and write its parts to a file."""
    explanation = forecast.explain()
    for note in explanation.notes:
        show.say(note)
    frame = explanation.to_frame()
    results.write_table(frame, path, what="the explanation", safe_text=safe_text)
    return explanation


def _override(forecast: Forecast, overrides: pl.DataFrame) -> Forecast:
    """Apply overrides to a forecast, and print what those of each author change."""
    import polars as pl

    adjusted = forecast.override(overrides)
    names = [adjusted.forecast.column(name) for name in ("author", "reason", "baseline", "mean")]
    sums = adjusted.to_frame().group_by(names[:2], maintain_order=True).agg(pl.col(names[2:]).sum())
    for author, reason, before, after in sums.iter_rows():
        show.say(f"override by {author} ({reason}): {before:,.1f} -> {after:,.1f}")
    return adjusted.forecast


def _write_forecast(forecast: Forecast, outputs: Outputs) -> None:
    """Write a forecast to the file, or print it; rows of totals come first.

    The likeliest extremes are printed too if the model warns of them.
    """
    from demandcast.forecast.total import common_steps

    groups = options.parse_groups(outputs.by)
    frame = forecast.hierarchy(groups) if groups else forecast.to_frame()
    for note in common_steps(forecast)[2] if groups else ():
        show.say(note)
    names = {name: forecast.column(name) for name in ("mean", *_level_names(forecast))}
    renamed = [f"{name!r} is {column!r}" for name, column in names.items() if column != name]
    if renamed:
        show.say(
            "key columns of the table have names that the forecast uses; the forecast's columns are renamed: "
            f"{', '.join(renamed)}"
        )
    if outputs.out:
        results.write_table(
            frame, outputs.out, keys=forecast.schema.key, safe_text=outputs.safe_text
        )
    if outputs.json:
        show.table(frame, json=True)
        return
    if not outputs.out:
        _print_rows(frame, [forecast.column(name) for name in _level_names(forecast)])
    if forecast.events is not None:
        show.say("most likely to be extreme:")
        show.table(forecast.alarms(ALARMS))


def _level_names(forecast: Forecast) -> list[str]:
    return [f"{level:g}" for level in forecast.levels]


def _print_rows(frame: pl.DataFrame, levels: list[str]) -> None:
    """Print the first rows of a forecast's table, with the lowest, a middle and the highest level."""
    shown = list(dict.fromkeys([levels[0], levels[(len(levels) - 1) // 2], levels[-1]]))
    front = [column for column in frame.columns if column not in levels]
    show.table(frame.select([*front, *shown]).head(show.ROWS))
    if len(frame) > show.ROWS or len(levels) > len(shown):
        show.say(
            f"shown: {min(show.ROWS, len(frame))} of {len(frame):,} rows, {len(shown)} of {len(levels)} levels; "
            "--out FILE writes all"
        )
