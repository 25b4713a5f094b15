"""The app over HTTP: this machine only, and only for who has its address."""

from __future__ import annotations

import contextlib
import hmac
import json
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

from demandcast.app import answers
from demandcast.app.worker import Worker
from demandcast.app.workspace import (
    SLOTS,
    ForecastAsked,
    OrdersAsked,
    QuestionAsked,
    Say,
    Workspace,
)
from demandcast.errors import ConfigError, DemandcastError, FileError, MissingExtraError
from demandcast.files import not_written
from demandcast.frames.sheets import require_writer
from demandcast.typed import build

try:
    from fastapi import APIRouter, FastAPI, Request, Response
    from fastapi.responses import FileResponse, JSONResponse, RedirectResponse
    from starlette.types import ASGIApp, Message, Receive, Scope, Send
except ImportError as error:
    raise MissingExtraError(
        f"{error.name or 'fastapi'} is not installed; pip install 'demandcast[serve]'"
    ) from error

Asked = TypeVar("Asked")
Work = Callable[[Say], None]
Write = Callable[[str, Mapping[str, Any], str], str]
LOCAL = ("127.0.0.1", "localhost", "::1")
ASSETS = {  # name in the address -> folder of the package, media type
    "app.js": ("app", "text/javascript"),
    "app.css": ("app", "text/css"),
    "page.css": ("report", "text/css"),
    "chart.js": ("report", "text/javascript"),
}
KINDS = (".csv", ".xlsx", ".parquet")
BODY = 1 << 20  # bytes of a request that is no file
PATIENCE = 10.0  # seconds that the end of the app waits for a job
HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True)
class Address:
    """The secrets of the app's address.

    Attributes:
        token: The first part of every path; who does not know it gets nothing.
        code: Opens the app once, by a redirect. It stands in the command that starts the browser, which other users
            of the machine can read.
    """

    token: str
    code: str

    @classmethod
    def random(cls) -> Address:
        return cls(secrets.token_urlsafe(24), secrets.token_urlsafe(24))


class OnlyHere:
    """Middleware: answer programs on this machine that know the token, and no page of another site.

    A page of another site can send requests to this address, but it cannot know the token, and a browser sends its
    `Origin`. A name that another site makes point here (DNS rebinding) comes as `Host`.
    """

    def __init__(self, app: ASGIApp, address: Address) -> None:
        self.app, self.address = app, address
        self.code: str | None = address.code

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {name.lower() for name, _ in message["headers"]}
                added = [
                    (k.lower().encode(), v.encode())
                    for k, v in HEADERS.items()
                    if k.lower().encode() not in own
                ]
                message["headers"] = [*message["headers"], *added]
            await send(message)

        refusal = self._refusal(scope)
        if refusal is None:
            await self.app(scope, receive, sending)
        else:
            await refusal(scope, receive, sending)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        host, origin = headers.get(b"host", ""), headers.get(b"origin")
        if _name(host) not in LOCAL:
            return Response("this app answers at 127.0.0.1 only", 421)
        if origin is not None and origin != f"http://{host}":
            return Response("requests of other pages are refused", 403)
        first, _, rest = scope["path"].removeprefix("/").partition("/")
        if first == "start":
            code, self.code = self.code, None
            if code is not None and hmac.compare_digest(rest.encode(), code.encode()):
                return RedirectResponse(f"/{self.address.token}/", 303)
            return Response("this address was opened before; open the one that the terminal shows", 403)  # fmt: skip
        if not hmac.compare_digest(first.encode(), self.address.token.encode()):
            return Response("open the address that the terminal shows", 403)
        return None


def _name(host: str) -> str | None:
    """Return the name in a Host header, without its port."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def create_app(
    workspace: Workspace,
    address: Address,
    *,
    upload_mb: int = 1024,
    write_command: Write | None = None,
) -> FastAPI:
    """Return the web application of one workspace.

    Args:
        workspace: Of one person; its table, if one is named, is read at the start.
        address: Its secrets.
        upload_mb: Size of a file that may be sent, in MB.
        write_command: Writes the command that forecasts a table with options of `read_panel` and other words.
    """
    worker = Worker()
    workspace.keep_answer(answers.results_of(workspace))

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if "table" in workspace.files:
            _start(workspace, worker, "reading", "reading the table", workspace.read)
        yield
        worker.close(PATIENCE)

    app = FastAPI(
        title="demandcast app", openapi_url=None, docs_url=None, redoc_url=None, lifespan=lifespan
    )
    app.state.workspace, app.state.worker = workspace, worker
    app.include_router(_page(workspace, worker), prefix=f"/{address.token}")
    app.include_router(
        _files(workspace, worker, upload_mb << 20), prefix=f"/{address.token}/api/files"
    )
    app.include_router(_work(workspace, worker, write_command), prefix=f"/{address.token}/api")

    @app.exception_handler(DemandcastError)
    async def faulty(_: Request, raised: DemandcastError) -> Response:
        return JSONResponse({"error": answers.error(workspace, raised)}, 400)

    app.add_middleware(OnlyHere, address=address)
    return app


def _page(workspace: Workspace, worker: Worker) -> APIRouter:
    routes = APIRouter()

    @routes.get("/")
    async def page() -> Response:
        policy = {"Content-Security-Policy": PAGE_POLICY}
        return Response(_asset("app", "index.html"), media_type="text/html", headers=policy)

    @routes.get("/static/{name}")
    async def asset(name: str) -> Response:
        if name not in ASSETS:
            return Response(status_code=404)
        folder, kind = ASSETS[name]
        return Response(_asset(folder, name), media_type=kind)

    @routes.get("/report")
    async def report() -> Response:
        """The report, for the frame in the page; its own policy stands in it."""
        sandbox = "sandbox allow-scripts allow-downloads; frame-ancestors 'self'"
        policy = {"Content-Security-Policy": sandbox}
        return FileResponse(workspace.write("report", ".html"), media_type="text/html", headers=policy)  # fmt: skip

    @routes.get("/download/{name}")
    def download(name: str) -> Response:
        """A result as a file, named after the table."""
        what, ending = Path(name).stem, Path(name).suffix
        kinds = (".html",) if what == "report" else KINDS
        if what not in ("forecast", "what-if", "orders", "stock", "report") or ending not in kinds:
            return Response(status_code=404)
        if ending == ".xlsx":
            require_writer(name)
        path = workspace.write(what, ending)
        of = Path(workspace.table.name).stem if workspace.table else ""
        return FileResponse(path, filename=f"{of}-{what}{ending}".lstrip("-"))

    @routes.get("/api/state")
    async def state(seen: int | None = None) -> JSONResponse:
        return JSONResponse(answers.state(workspace, worker, seen))

    @routes.get("/api/facts")
    async def facts() -> JSONResponse:
        return JSONResponse(answers.facts())

    return routes


def _files(workspace: Workspace, worker: Worker, limit: int) -> APIRouter:
    routes = APIRouter()

    def check_slot(slot: str) -> None:
        if slot not in SLOTS:
            raise ConfigError(f"there is no place {slot!r} for a file; there are {', '.join(SLOTS)}")  # fmt: skip
        if worker.is_busy:
            raise ConfigError("work is under way: wait for it to end, or cancel it")

    @routes.put("/{slot}")
    async def send(request: Request, slot: str, name: str) -> JSONResponse:
        """Take in a file as the body of the request; a table is read at once."""
        check_slot(slot)
        place = workspace.place_for(name)
        try:
            await _store(request, place, limit)
            check_slot(slot)  # once more: work may have begun meanwhile
        except BaseException:
            place.unlink(missing_ok=True)
            place.parent.rmdir()
            raise
        workspace.take(slot, place)
        _read(workspace, worker, slot)
        return JSONResponse(answers.state(workspace, worker))

    @routes.delete("/{slot}")
    async def remove(slot: str) -> JSONResponse:
        """Stop using a file beside the table."""
        check_slot(slot)
        if slot == "table":
            raise ConfigError("the table stays open until another one is opened")
        workspace.drop(slot)
        _read(workspace, worker, slot)
        return JSONResponse(answers.state(workspace, worker))

    return routes


def _read(workspace: Workspace, worker: Worker, slot: str) -> None:
    """Read the table after a file changed that it is read with."""
    if slot != "stock" and "table" in workspace.files:
        _start(workspace, worker, "reading", "reading the table", workspace.read)


def _start(workspace: Workspace, worker: Worker, kind: str, text: str, work: Work) -> None:
    """Begin work, after which the results are described anew for the page."""

    def whole(say: Say) -> None:
        work(say)
        workspace.keep_answer(answers.results_of(workspace))

    worker.start(kind, text, whole)


async def _store(request: Request, place: Path, limit: int) -> None:
    """Write the body of a request to a file, of a bounded size."""
    too_large = FileError(
        f"the file is larger than {limit >> 20:,} MB; open it by its path: demandcast app FILE"
    )
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > limit:
        raise too_large
    size = 0
    try:
        with place.open("wb") as file:
            async for part in request.stream():
                size += len(part)
                if size > limit:
                    raise too_large
                file.write(part)
    except OSError as error:
        if isinstance(error, DemandcastError):
            raise
        raise not_written(place, error, "the file") from error
    if not size:
        raise FileError("the file is empty; choose another one")


def _work(workspace: Workspace, worker: Worker, write_command: Write | None) -> APIRouter:
    routes = APIRouter()

    def begun(kind: str, text: str, work: Work) -> JSONResponse:
        _start(workspace, worker, kind, text, work)
        return JSONResponse(answers.state(workspace, worker))

    @routes.post("/example")
    async def example() -> JSONResponse:
        """Open simulated sales."""
        if worker.is_busy:
            raise ConfigError("work is under way: wait for it to end, or cancel it")
        workspace.write_example()
        return begun("reading", "reading the example", workspace.read)

    @routes.post("/reading")
    async def reading(request: Request) -> JSONResponse:
        """Set options of reading, and read the table again."""
        asked = await _json(request)
        if worker.is_busy:
            raise ConfigError("work is under way: wait for it to end, or cancel it")
        workspace.set_options(asked)
        return begun("reading", "reading the table", workspace.read)

    @routes.post("/forecast")
    async def forecast(request: Request) -> JSONResponse:
        """Forecast, measure, and write the report."""
        asked = await _read_request(request, ForecastAsked)
        command = ""
        if write_command is not None and workspace.table is not None:
            words = f"--horizon {asked.horizon} --model {asked.model}"
            words += f" --budget {asked.budget}" if asked.model == "auto" else ""
            command = write_command(workspace.table.name, workspace.table.options, words)
        return begun(
            "forecast",
            f"fitting {asked.model}",
            lambda say: workspace.forecast(asked, say, command),
        )

    @routes.post("/what-if")
    async def question(request: Request) -> JSONResponse:
        """Ask what changes of covariates change in the forecast."""
        asked = await _read_request(request, QuestionAsked)
        return begun("what-if", "forecasting with the changes", lambda say: workspace.ask(asked, say))  # fmt: skip

    @routes.post("/orders")
    async def orders(request: Request) -> JSONResponse:
        """Decide what to order."""
        asked = await _read_request(request, OrdersAsked)
        return begun("orders", "deciding the orders", lambda say: workspace.order(asked, say))

    @routes.post("/stop")
    async def stop(request: Request) -> JSONResponse:
        """Cancel the work, or let auto take the best that it has so far."""
        worker.stop((await _read_request(request, _Stop)).how)
        return JSONResponse(answers.state(workspace, worker))

    return routes


@dataclass(frozen=True)
class _Stop:
    how: Literal["cancel", "finish"]


async def _read_request(request: Request, kind: type[Asked]) -> Asked:
    return build(kind, await _json(request), "the request")


async def _json(request: Request) -> dict[str, Any]:
    """Return the JSON object of a request, of a bounded size.

    Raises:
        ConfigError: It is none.
    """
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > BODY:
            raise ConfigError(f"the request is larger than {BODY >> 20} MB")
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise ConfigError("send JSON, with Content-Type: application/json")
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"the request is no JSON ({error})") from None
    if not isinstance(asked, dict):
        raise ConfigError("the request is no JSON object")
    return asked


def _asset(folder: str, name: str) -> bytes:
    return files(f"demandcast.{folder}").joinpath(name).read_bytes()
