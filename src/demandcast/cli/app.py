"""`demandcast app`: a table, its forecast, what-if and orders in the browser, on this machine only."""

from __future__ import annotations

import shutil
import tempfile
import threading
import webbrowser
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from demandcast.cli import options, show
from demandcast.errors import ConfigError, MissingExtraError

EXAMPLES = "Example: demandcast app sales.csv"
HOST = "127.0.0.1"


def app(
    data: Annotated[
        str | None,
        typer.Argument(metavar="[DATA]", help="A table to begin with; the page opens others."),
    ] = None,
    port: Annotated[
        int,
        typer.Option(metavar="N", min=0, max=65535, help="Where to listen; 0 takes a free one."),
    ] = 0,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")
    ] = True,
    upload_mb: Annotated[
        int, typer.Option(metavar="N", min=1, help="Largest file the page may send, in MB.")
    ] = 1024,
) -> None:
    """Forecast a table in the browser.

    The page shows the table and how its columns are read, forecasts it with a report, answers what a price or a
    promotion changes, and decides orders. Everything stays on this machine: the app answers at 127.0.0.1 only,
    to whoever has the address it prints. Its copies of files are removed when it ends, by Ctrl-C.
    """
    from demandcast.app.web import Address, create_app
    from demandcast.app.workspace import Workspace
    from demandcast.serve.limits import Limits

    try:
        from demandcast.serve import server
    except ImportError as error:
        raise MissingExtraError(
            f"{error.name or 'uvicorn'} is not installed; pip install 'demandcast[serve]'"
        ) from error
    if data is not None and not Path(data).is_file():
        raise ConfigError(f"{data} is no file; name one, or open it in the page: demandcast app")
    folder = Path(tempfile.mkdtemp(prefix="demandcast-app-"))
    try:
        workspace = Workspace(folder, files={} if data is None else {"table": Path(data).resolve()})
        address = Address.random()
        web = create_app(workspace, address, upload_mb=upload_mb, write_command=_command)
        bound = server.bind(HOST, port)
        base = f"http://{HOST}:{bound.getsockname()[1]}"

        def started() -> None:
            show.say(f"open {base}/{address.token}/ in a browser; Ctrl-C ends the app")
            if browser:
                once = (f"{base}/start/{address.code}",)
                threading.Thread(target=webbrowser.open, args=once, daemon=True).start()

        server.run(web, bound, Limits(seconds=5), started)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    show.say("ended; the app's copies of files are removed")


def _command(name: str, given: Mapping[str, Any], more: str) -> str:
    """Return the command that forecasts a table as the page did."""
    chosen = {name: value for name, value in given.items() if value is not None}
    table = options.Table(name, {**options.LEFT_ALONE, **chosen})
    return f"demandcast forecast {options.as_words(table)} {more}"
