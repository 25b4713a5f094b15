"""Format `--help`: options in groups, required ones in the usage line; and what `demandcast` alone prints."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from typer.core import TyperCommand

from demandcast.reading import NamedColumns, Reading

COLUMNS = tuple(column.name for column in fields(NamedColumns))
GROUPS = {  # title -> parameters; a command's other options come first, without a title of their own
    "What to order": (
        "stock", "lead_time", "lead_times", "review", "cost_under", "cost_over", "service", "fill_rate",
        "lost_sales", "kind", "continuous", "fixed_cost", "quantity", "order_days",
        "delivery_days", "shelf_life", "cost_spoiled", "spend",
    ),
    "Output": (
        "out", "report", "explain", "picture", "save", "storage", "trace", "checkpoint", "resume", "verbose", "force",
        "safe_text", "json",
    ),
    "Columns of the table": COLUMNS,
    "How the table is read": ("future", *(option.name for option in fields(Reading))),
}  # fmt: skip
START = """\
demandcast forecasts demand from a table and shows how far to trust the forecast.

  demandcast demo                                 forecast real data, with a report
  demandcast check sales.csv                      see how your table is read
  demandcast forecast sales.csv --horizon 28 --report forecast.html
                                                  forecast it, with a report
  demandcast app                                  do all of it in the browser

demandcast --help lists all commands; demandcast COMMAND --help explains one."""


class Command(TyperCommand):
    """A command whose help lists its options in groups."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the words of the usage line: arguments, required options with their values, and `[OPTIONS]`."""
        pieces = []
        for param in self.get_params(ctx):
            if param.param_type_name == "argument":
                name = str(param.metavar or param.name).upper()
                bare = name if name.startswith("[") else f"[{name}]"
                pieces.append(name if param.required else bare)
        for param in self.get_params(ctx):
            if param.param_type_name == "option" and param.required:
                pieces.append(f"{param.opts[0]} {param.metavar}")
        return [*pieces, "[OPTIONS]"]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments, then the options of each group."""
        rows: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is None:
                continue
            title = next((t for t, names in GROUPS.items() if param.name in names), "Options")
            name, text = record
            if param.param_type_name == "argument":
                title = "Arguments"
                name = str(param.metavar or param.name)
                text = text.replace("  [required]", "")
            rows.setdefault(title, []).append((name, text))
        for title in ("Arguments", "Options", *GROUPS):
            if title in rows:
                with formatter.section(title):
                    formatter.write_dl(rows[title])
