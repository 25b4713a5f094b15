"""`demandcast tune`: search the hyper-parameters of a model."""

from __future__ import annotations

import ast
import shlex
from typing import Annotated, Any

import typer

from demandcast.cli import options, places, results, show

EXAMPLES = "Example: demandcast tune sales.csv --horizon 28 --model lightgbm --trials 40 --save run"


@options.takes_table
def tune(
    table: options.Table,
    horizon: options.Horizon,
    model: Annotated[
        str, typer.Option(metavar="NAME", help="Model to tune; demandcast models lists them.")
    ],
    trials: Annotated[int, typer.Option(min=1, metavar="N", help="Number of trials.")] = 30,
    budget: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Start no new trial after this time: 10m, 1h."),
    ] = None,
    space: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=RANGE",
            help="Values to try: leaves=7..63 is a range, dropout=[0,0.1] a list; repeat for more.",
        ),
    ] = None,
    metric: Annotated[
        str, typer.Option(metavar="NAME", help="Score to minimise: wql, sql, mase, rmsse or spec.")
    ] = "wql",
    storage: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Save the trials; the same command continues them."),
    ] = None,
    settings: options.Set = None,
    seed: options.Seed = 0,
    save: Annotated[
        str | None, typer.Option(metavar="DIR", help="Save the best model for demandcast predict.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Search the hyper-parameters of a model.

    Trials are scored on windows inside the history; poor ones are stopped after a quarter of their
    training. --save fits the best settings, or the defaults if no trial beats them, on the whole history.
    Ctrl-C ends the search and takes the best so far. Needs the extra: pip install "demandcast[tune]".
    """
    from demandcast.automl.tune import tune as search
    from demandcast.forecaster import fit
    from demandcast.frames.read import read_panel

    places.check(files={"--storage": storage}, folders={"--save": save}, table=table, force=True)
    places.check(folders={"--save": save})  # trials are not replaced but gone on with
    hyper = options.hyperparameters([model], settings, seed=seed)[model]
    hyper.pop("seed", None)
    panel = read_panel(table.source, **table.options)
    show.panel(panel, table.options)
    result = search(
        model, panel, horizon, trials=trials, budget=budget, space=_space(space), metric=metric,
        storage=storage, seed=seed, refit=False, progress=show.shows_progress(), **hyper,
    )  # fmt: skip
    show.table(result.trials if json else result.trials.head(show.ROWS), json=json)
    better = f"{1 - result.loss:.1%} below" if result.loss < 1 else "no better than"
    show.say(f"best of {result.trials.height} trials: loss {better} the defaults")
    if result.best and not save:
        show.say(f"forecast with it: {_forecast_command(result.best)}")
    if save:
        fit(result.model, panel, progress=show.shows_progress())
        results.save_model(result.model, save, panel, table)
    if result.interrupted:
        raise KeyboardInterrupt  # what there is has been printed; the exit code says that it ended early


def _forecast_command(best: dict[str, Any]) -> str:
    """Return the command that forecasts with the best settings."""
    words = options.hide_credentials(options.COMMAND)
    words = [word for word in words if word != "--json"]
    for option in ("trials", "budget", "space", "metric", "storage"):
        words = options.replace_option(words, option, None)
    words[0] = "forecast"
    return shlex.join(
        ["demandcast", *words, *(w for k, v in best.items() for w in ("--set", f"{k}={v}"))]
    )


def _space(texts: list[str] | None) -> dict[str, Any] | None:
    """Return the values to try: ranges `a..b` as tuples, choices as lists."""
    from demandcast.errors import ConfigError

    if not texts:
        return None
    ranges: dict[str, Any] = {}
    for text in texts:
        name, _, value = text.partition("=")
        options.refuse_horizon("--space", name, value)
        try:
            low, dots, high = value.partition("..")
            values = tuple(map(ast.literal_eval, (low, high))) if dots else ast.literal_eval(value)
        except (ValueError, SyntaxError):
            values = None
        ranged = isinstance(values, tuple) and len(values) == 2 and values[0] < values[1]
        if not name or not (ranged or (isinstance(values, list) and values)):
            raise ConfigError(
                f"--space {text} is not understood; say NAME=LOW..HIGH, as in learning_rate=0.01..0.2, or "
                "NAME=[...], as in 'leaves=[15,31,63]'"
            )
        ranges[name] = values
    return ranges
