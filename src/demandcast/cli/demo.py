"""`demandcast demo`: forecast the Tourism competition's 366 monthly series, with scores and a report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from demandcast.cli import options, places, results, show
from demandcast.cli.backtest import write_scores

EXAMPLES = "Example: demandcast demo --out demandcast-demo"
HORIZON = 24  # months, as in the competition
MODEL = "mqrnn"
SETTINGS: dict[str, Any] = {"seed": 0}


def demo(
    out: Annotated[
        str, typer.Option(metavar="DIR", help="Folder for what it writes.")
    ] = "demandcast-demo",
    json: options.Json = False,
) -> None:
    """Forecast real data and measure the forecast.

    The data are the 366 monthly series of the Tourism competition with their official test part. The
    command writes the forecast, the scores, a picture and a report, with the seasonal naive forecast
    for comparison. It takes one to three minutes.
    """
    from demandcast import registry
    from demandcast.evaluate.backtest import NAIVE, backtest
    from demandcast.files import replacing
    from demandcast.frames import examples
    from demandcast.report.figures import fan_chart
    from demandcast.report.page import write_report

    places.check(folders={"--out": out})
    history = examples.tourism()  # the last 24 months of each series are held out
    show.panel(history)
    model = registry.create(MODEL, horizon=HORIZON, **SETTINGS)
    show.say(f"fitting {model}, and forecasting the {HORIZON} months of the competition's test")
    full_panel = replace(history, lengths=history.extents)
    result = backtest([model, NAIVE], full_panel, horizon=HORIZON, progress=show.shows_progress())

    folder = Path(out)
    forecast, actual = result.forecasts[MODEL][0], result.actuals[0]
    results.write_table(forecast.to_frame(), folder / "forecast.csv")
    write_scores(
        folder,
        result,
        result.leaderboard(),
        {"horizon": HORIZON, "models": {MODEL: SETTINGS, NAIVE: {}}},
    )
    chart = fan_chart(forecast, forecast.keys.row(0), panel=result.panels[0], actual=actual[0])
    with replacing(folder / "forecast.png", what="the picture") as file:
        chart.savefig(file, format="png")
    write_report(
        folder / "report.html", result=result, panel=result.panels[0], title="Tourism demand"
    )

    board = result.leaderboard()
    show.leaderboard(board, json=json)
    scores = board.filter(board["model"] == MODEL).row(0, named=True)
    show.say(
        f"{MODEL} {scores['verdict']}: its wQL is {scores['vs_seasonal_naive']:.3f} of the naive's; "
        f"{scores['coverage_80']:.0%} of what came lay in its 80 % band"
    )
    show.say(f"wrote {folder / 'forecast.png'} and, to open in a browser, {folder / 'report.html'}")
    show.say("next, your own table: demandcast check sales.csv")
    show.say("then: demandcast forecast sales.csv --horizon 28 --report forecast.html")
