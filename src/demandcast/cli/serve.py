"""`demandcast serve`: answer forecasts over HTTP."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Annotated

import typer

from demandcast.cli import show
from demandcast.errors import ConfigError, FileError, MissingExtraError

EXAMPLES = (
    "Example: demandcast serve zero_shot\n"
    "Then: curl --data-binary @sales.csv -H 'Content-Type: text/csv' 'http://127.0.0.1:8080/forecast?horizon=28'"
)
TOKEN = "DEMANDCAST_TOKEN"


def serve(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="Folders that --save wrote, as RUN or NAME=RUN, or a method that needs no fit: zero_shot.",
        ),
    ],
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Where to listen; 0.0.0.0 is everywhere.")
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(metavar="N", min=0, max=65535, help="Where to listen; 0 takes a free one."),
    ] = 8080,
    token_file: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help=f"A file with the token that requests need, or {TOKEN} in the environment.",
        ),
    ] = None,
    body_mb: Annotated[int, typer.Option(metavar="N", min=1, help="Largest request, in MB.")] = 64,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, help="Longest time to an answer.")
    ] = 60.0,
    waiting: Annotated[
        int, typer.Option(metavar="N", min=1, help="Requests that may wait; more are answered 429.")
    ] = 256,
) -> None:
    """Answer forecasts over HTTP.

    POST /forecast takes a table, POST /v1/timeseries/forecast KServe's protocol; /docs describes every address.
    Each request has its answer in the kind of table that it sent. SIGTERM ends the service after it has
    answered what it accepted.
    """
    token = _token(token_file)
    from demandcast.serve.app import create_app
    from demandcast.serve.limits import Limits
    from demandcast.serve.served import find_models

    try:
        from demandcast.serve import server
    except ImportError as error:
        raise MissingExtraError(
            f"{error.name or 'uvicorn'} is not installed; pip install 'demandcast[serve]'"
        ) from error
    limits = Limits(body_mb=body_mb, seconds=timeout, waiting=waiting)
    served = find_models(models)
    bound = server.bind(host, port)
    address = bound.getsockname()
    host_in_url = f"[{address[0]}]" if ":" in address[0] else address[0]

    def started() -> None:
        show.say(
            f"serving {', '.join(served)} at http://{host_in_url}:{address[1]}, described at /docs"
        )
        if token is None and not _is_loopback(address[0]):
            show.say(
                f"warning: anyone who reaches {host} may forecast here; set {TOKEN} to ask for a token"
            )

    server.run(create_app(served, limits=limits, token=token), bound, limits, started)
    show.say("stopped; every request that was accepted is answered")


def _token(path: str | None) -> str | None:
    """Return the token of the file or the environment; an empty one is refused."""
    text = os.environ.get(TOKEN)
    if path is not None:
        try:
            text = Path(path).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise FileError(f"--token-file {path} cannot be read ({error})") from None
    if text is None:
        return None
    if not text.strip() or not text.strip().isascii() or any(c.isspace() for c in text.strip()):
        raise ConfigError(
            "the token is empty or has characters that a header cannot hold; write letters and digits"
        )
    return text.strip()


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback
