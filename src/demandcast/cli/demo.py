"""`demandcast demo`: the main job on the Tourism competition's 366 monthly series."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from demandcast.cli import options, show

EXAMPLES = "Example: demandcast demo --out demandcast-demo"
HORIZON = 24  # months, as in the competition
SETTINGS: dict[str, dict[str, Any]] = {"mqrnn": {"seed": 0}, "seasonal_naive": {}}


def demo(
    out: Annotated[str, typer.Option(help="Folder for what it writes.")] = "demandcast-demo",
    json: options.Json = False,
) -> None:
    """Forecast real data that ships, and score it against what came to pass."""
    import polars as pl

    from demandcast import registry
    from demandcast.evaluate.metrics import scores
    from demandcast.frames import examples
    from demandcast.report.figures import fan_chart
    from demandcast.report.page import write_report

    panel = examples.tourism()
    show.panel(panel)
    actual = panel.future_target(HORIZON)
    rows, made = [], []
    for name, hyper in SETTINGS.items():
        show.say(f"fitting {name}")
        made.append(registry.create(name, horizon=HORIZON, **hyper).fit(panel).predict(panel))
        rows.append({"model": name, **scores(made[-1], actual, panel)})
    folder = Path(out)
    show.write(made[0].to_frame(), str(folder / "forecast.csv"))
    fan_chart(made[0], made[0].keys.row(0), panel=panel, actual=actual[0]).savefig(
        folder / "forecast.png"
    )
    write_report(folder / "report.html", forecast=made[0], panel=panel, title="Tourism demand")
    show.table(pl.DataFrame(rows).select("model", "wql", "mase"), json=json)
    show.say(f"see {folder / 'report.html'} and {folder / 'forecast.png'}")
    show.say("next, your own table: demandcast check sales.csv")
