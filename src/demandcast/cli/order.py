"""`demandcast order`: decide what to order of every item, from a table of demand and one of stock."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from demandcast.cli import options, places, results, show, signals
from demandcast.cli.forecast import DEFAULT_MODEL as AUTO
from demandcast.cli.forecast import check_reach
from demandcast.cli.predict import read_aligned

if TYPE_CHECKING:
    from demandcast.decide.rules import Policy
    from demandcast.forecast.forecast import Forecast
    from demandcast.forecaster import Forecaster
    from demandcast.panel.panel import Panel

EXAMPLES = (
    "Example: demandcast order sales.csv --stock stock.csv --lead-time 2 --cost-under 1 "
    "--cost-over 0.2 --out order.csv"
)
LONGEST = 1000  # steps that may be forecast of a shorter table
DEFAULT_MODEL = (
    "zero_shot"  # costs less than auto on VN2's earlier weeks: benchmarks/accuracy/vn2.md
)
PATHS = 400  # of each item: the quantile at .99 of sums rests on four of them

Stock = Annotated[
    str,
    typer.Option(
        "--stock",
        metavar="FILE",
        help="Stock, one row an item: the key columns, on_hand; optional: on_order, lead_time, pack ...",
    ),
]
Rule = dict[str, Any]  # what `rule_options` gathers
Paths = Annotated[int, typer.Option(min=50, metavar="N", help="Sample paths drawn for each item.")]

Scaled = Annotated[
    bool,
    typer.Option(
        "--scaled/--unscaled",
        help="Scale zero_shot's items to a forecast of their total where that paid in the past.",
    ),
]


def target_options(
    lead_time: Annotated[
        float | None,
        typer.Option(
            metavar="STEPS",
            help="Steps until an order is on sale; or a column of the stock table.",
        ),
    ] = None,
    review: Annotated[int, typer.Option(metavar="STEPS", help="Steps between orders.")] = 1,
    cost_under: Annotated[
        float | None, typer.Option(metavar="MONEY", help="Cost of one unit too few.")
    ] = None,
    cost_over: Annotated[
        float | None, typer.Option(metavar="MONEY", help="Cost of one unit left over.")
    ] = None,
    service: Annotated[
        float | None, typer.Option(metavar="SHARE", help="Probability of not running out: 0.95.")
    ] = None,
    fill_rate: Annotated[
        float | None, typer.Option(metavar="SHARE", help="Share of demand served from stock: 0.98.")
    ] = None,
    lost_sales: Annotated[
        bool,
        typer.Option(
            "--lost-sales/--backorders", help="Whether demand without stock is lost or waits."
        ),
    ] = True,
) -> dict[str, Any]:
    """Gather what to order by, which replays and backtests in money share."""
    return dict(locals())


def kind_options(
    kind: Annotated[
        str,
        typer.Option(
            "--rule",
            metavar="NAME",
            help="up-to: at every review; s,Q or s,S: at a reorder point, a quantity or up to a level.",
        ),
    ] = "up-to",
    continuous: Annotated[
        bool,
        typer.Option(
            "--continuous/--at-reviews",
            help="Whether a reorder point acts at any moment or at reviews.",
        ),
    ] = False,
    fixed_cost: Annotated[
        float | None,
        typer.Option(metavar="MONEY", help="Cost of placing one order, of --rule s,Q and s,S."),
    ] = None,
    quantity: Annotated[
        float | None,
        typer.Option(metavar="UNITS", help="Q of s,Q; S - s of s,S; default: by --fixed-cost."),
    ] = None,
    order_days: Annotated[
        str | None,
        typer.Option(metavar="DAYS", help="When orders are placed: 'Mon, Thu', or dates."),
    ] = None,
    delivery_days: Annotated[
        str | None,
        typer.Option(metavar="DAYS", help="When the supplier delivers: 'Tue, Fri', or dates."),
    ] = None,
    shelf_life: Annotated[
        int | None, typer.Option(metavar="STEPS", help="Steps for which a unit can be sold.")
    ] = None,
    cost_spoiled: Annotated[
        float | None, typer.Option(metavar="MONEY", help="Cost of one unit that spoils.")
    ] = None,
) -> dict[str, Any]:
    """Gather when orders are placed, and how long they can be sold."""
    given = dict(locals())
    return given | {"rule": given.pop("kind")}


def takes_rule(
    command: Callable[..., None] | None = None, *, targets: bool = False
) -> Callable[..., Any]:
    """Give a command the options of the order rule; they reach it as `rule`, the fields of a `Policy`.

    Args:
        command: With a parameter `rule`.
        targets: Whether it has only the options of what to order by.
    """
    if command is None:
        return lambda decorated: takes_rule(decorated, targets=targets)
    parts: list[Callable[..., Rule]] = [target_options, *([] if targets else [kind_options])]
    own = [inspect.signature(part, eval_str=True).parameters for part in parts]
    shared = {name: option for options_of in own for name, option in options_of.items()}

    def build(**given: Any) -> Rule:
        rule: Rule = {}
        for part, names in zip(parts, own, strict=True):
            rule |= part(**{name: given[name] for name in names})
        return rule

    return options.expand_parameter(command, "rule", build, shared)


@options.takes_table
@takes_rule
def order(
    table: options.Table,
    stock: Stock,
    rule: Rule,
    lead_times: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Observed lead times, one row a delivery, to draw from."),
    ] = None,
    spend: Annotated[
        float | None,
        typer.Option(
            metavar="MONEY", help="Budget for all orders, at the stock table's unit prices."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="auto, or a name that demandcast models lists; default zero_shot."
        ),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Use the model that demandcast forecast --save wrote."),
    ] = None,
    budget: options.Budget = None,
    settings: options.Set = None,
    scaled: Scaled = True,
    paths: Paths = PATHS,
    seed: options.Seed = 0,
    devices: options.Devices = None,
    out: options.Out = None,
    report: options.Report = None,
    force: options.Force = False,
    safe_text: options.SafeText = False,
    json: options.Json = False,
) -> None:
    """Decide what to order, from forecast and stock.

    Order by cost (--cost-under and --cost-over), by --service or by --fill-rate. A column of the same
    name in the stock table overrides the option for its item. An order placed after the last step t
    with lead time L is on sale from step t+L+1 and has to cover the steps up to t+L+review.

    The stock table has one row for every item: the key columns and on_hand, the stock after the last step.
    It may have on_order, which arrives when an order placed now would, and arriving_1, arriving_2, ...,
    which arrive at the start of step 1, 2, ... after the last.
    """
    show.check_stdout(out)
    import demandcast
    from demandcast.decide import next_order
    from demandcast.decide.calendar import Now
    from demandcast.decide.orders import decide
    from demandcast.decide.rules import Policy, check_spend
    from demandcast.decide.stock_table import read_stock
    from demandcast.errors import ConfigError
    from demandcast.frames.read import read_panel

    if out:
        places.check_ending(out)
    beside = {"--stock": stock, "--lead-times": lead_times}
    places.check(files={"--out": out, "--report": report}, table=table, sources=beside, force=force)
    if report:
        places.check_page_ending(report)
    policy = Policy(**rule)
    check_spend(spend, policy)
    if run is not None and (model is not None or settings or budget is not None):
        raise ConfigError(
            "--run holds a model that is fitted; leave --model, --set and --budget out"
        )
    model = model or (DEFAULT_MODEL if budget is None else AUTO)

    hyper: dict[str, Any] = {}
    if run is None:
        hyper = options.hyperparameters(
            [model], settings, seed=seed, devices=devices, budget=budget
        )[model]
        if hyper.get("metric") == "cost":
            hyper = _costs(policy) | hyper
    decimal = table.options["decimal"]
    if run is None:
        panel = read_panel(table.source, **table.options)
        show.panel(panel, table.options)
    else:
        fitted = demandcast.load(run)
        panel = read_aligned(fitted, table)
    panel = _with_successors(panel, stock, decimal)
    now = Now(int(panel.ends().max()), panel.freq)
    known = read_stock(stock, panel.keys, policy, leads=lead_times, decimal=decimal, now=now)
    for note in known.notes:
        show.say(note)
    if run is None:
        ends = panel.ends()
        late = int(ends.max() - ends.min())
        _check_horizon(panel, known.horizon + late)
        steps = range(known.horizon + late, next_order.horizon(known, policy) + late + 1)
        forecast = _forecast(panel, model, steps, paths, hyper, scaled=scaled)
    else:
        forecast = _predict(fitted, panel, paths, scaled=scaled)
    if not options.is_first_process():
        return
    if not forecast.keys.equals(panel.keys):
        known = read_stock(stock, forecast.keys, policy, leads=lead_times, decimal=decimal, now=now)
    orders = decide(forecast, known, policy, spend=spend, panel=panel)
    show.say(orders.summary())
    results.write_orders(orders, out, json=json, safe_text=safe_text)
    if report:
        from demandcast.report.page import write_report

        write_report(
            report, forecast=forecast, panel=panel, orders=orders, title=f"Orders for {table.name}",
            command=options.command_line(),
        )  # fmt: skip
        show.say(f"wrote {report}")


def _with_successors(panel: Panel, stock: str, decimal: str | None) -> Panel:
    """Give new items the history of those they replace, where the stock table names them; say what was done."""
    from demandcast.decide.stock_table import take_histories

    extended, notes = take_histories(panel, stock, decimal=decimal)
    for note in notes:
        show.say(note.text(options.as_option))
    return extended


def _costs(policy: Policy) -> dict[str, Any]:
    """Return the settings of auto that say what orders cost, as far as the rule has them."""
    given = {
        name: getattr(policy, name) for name in ("lead_time", "review", "cost_under", "cost_over")
    }
    if given["lead_time"] is not None:
        given["lead_time"] = math.ceil(given["lead_time"])
    return {name: value for name, value in given.items() if value is not None}


def _check_horizon(panel: Panel, horizon: int) -> None:
    """Refuse lead times beyond what can be forecast of the table."""
    from demandcast.errors import ConfigError

    ends = panel.ends()
    most = max(LONGEST, int(panel.lengths.max()))
    if horizon > most:
        early = int(ends.max() - ends.min())
        why = f", {early} of them since item {panel.key(int(ends.argmin()))} ended" if early else ""
        raise ConfigError(
            f"lead time and review need a forecast of {horizon:,} steps{why}; at most {most:,} are forecast of this "
            f"table: lead times count in steps of {panel.freq.name}; mend lead_time, or leave the item out"
        )


def _forecast(
    panel: Panel, model: str, steps: range, paths: int, hyper: dict[str, Any], *, scaled: bool
) -> Forecast:
    """Fit a model to a panel and draw the paths of every series, as many of the steps as can be had."""
    from demandcast import registry
    from demandcast.forecaster import fit

    horizon = steps[-1]
    if "known" in registry.get(model).takes and panel.known_names:
        reach = int((panel.extents - panel.lengths).min())
        horizon = min(max(reach, steps[0]), horizon)
        check_reach(panel, horizon)
    forecaster: Any = registry.create(model, horizon=horizon, **hyper)
    show.say(f"fitting {forecaster}")
    fit(forecaster, panel, progress=show.shows_progress())
    if model == AUTO:
        signals.finish()
        if options.is_first_process():
            show.search(forecaster, panel)
    return _predict(forecaster, panel, paths, scaled=scaled)


def _predict(model: Forecaster, panel: Panel, paths: int, *, scaled: bool) -> Forecast:
    """Draw the paths of every series, and scale them to the total where that pays; say so."""
    from demandcast.decide.scale import forecast_items

    if not scaled:
        return model.predict(panel, n_samples=paths, progress=show.shows_progress())
    forecast, scaling = forecast_items(model, panel, paths, progress=show.shows_progress())
    if scaling:
        show.say(scaling)
    return forecast
