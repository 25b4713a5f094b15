"""`demandcast models`: every method, what it takes and what it gives."""

from __future__ import annotations

from demandcast.cli import options, show

EXAMPLES = "Example: demandcast models --json"


def models(json: options.Json = False) -> None:
    """List every method: what it is, takes and gives."""
    import polars as pl

    from demandcast import registry

    rows = [
        {"model": name, "summary": kind.summary, "takes": kind.takes, "gives": kind.gives}
        for name, kind in registry.classes().items()
    ]
    show.table(pl.DataFrame(rows), json=json)
