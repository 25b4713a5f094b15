"""The web application: routes, limits, errors, metrics and logs around the engine."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Any, TypeVar

from demandcast import __version__
from demandcast.errors import ConfigError, DataError, DemandcastError, MissingExtraError
from demandcast.forecast.forecast import DEFAULT_LEVELS, Forecast
from demandcast.forecaster import Forecaster
from demandcast.panel.panel import Panel
from demandcast.serve.engine import Engine, FullError, LateError, StoppedError
from demandcast.serve.limits import Limits
from demandcast.serve.served import Served, warm_up
from demandcast.serve.tables import JSON, KINDS, OPTIONS, read_table, reading_options, write_table
from demandcast.settings import check_levels

try:
    from fastapi import FastAPI, Request, Response
    from fastapi.responses import JSONResponse
    from fastapi_offline import FastAPIOffline
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
    from starlette.exceptions import HTTPException
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from demandcast.serve import kserve
except ImportError as error:
    raise MissingExtraError(
        f"{error.name or 'fastapi'} is not installed; pip install 'demandcast[serve]'"
    ) from error

log = logging.getLogger("demandcast.serve")
T = TypeVar("T")
READERS = 2  # requests whose tables are read concurrently
NOTES = 4000  # characters of notes in a header
OTHER = "other"  # label in metrics of requests without a route

EXAMPLE_ROWS = [
    {"item": "a", "date": f"2026-01-{day:02}", "units": [3, 5, 2, 4, 6, 9, 8][day % 7]}
    for day in range(1, 29)
]
EXAMPLE_CSV = "item,date,units\n" + "".join(
    f"{row['item']},{row['date']},{row['units']}\n" for row in EXAMPLE_ROWS
)


class Refused(Exception):
    """A request that is answered with an error."""

    def __init__(
        self, status: int, kind: str, message: str, *, param: str | None = None, retry: int | None = None
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.status, self.kind, self.message, self.param, self.retry = status, kind, message, param, retry  # fmt: skip

    def response(self) -> JSONResponse:
        error = {"type": self.kind, "message": self.message, "param": self.param}
        headers = {} if self.retry is None else {"Retry-After": str(self.retry)}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse({"error": error}, self.status, headers)


class Metrics:
    """Counts for Prometheus."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        where: dict[str, Any] = {"registry": self.registry}
        self.requests = Counter(
            "demandcast_requests", "Requests answered.", ["path", "status"], **where
        )
        self.seconds = Histogram(
            "demandcast_request_seconds", "Time to the answer.", ["path"], **where
        )
        self.series = Counter("demandcast_series", "Series forecast.", ["model"], **where)
        self.merged = Histogram(
            "demandcast_merged_requests", "Requests forecast in one call.", buckets=(1, 2, 4, 8, 16, 32, 64), **where
        )  # fmt: skip
        self.waiting = Gauge(
            "demandcast_waiting_requests", "Requests that wait for a model.", **where
        )
        self.ready = Gauge(
            "demandcast_ready", "1 when every model has made its first forecast.", **where
        )


class Service:
    """The models, their engine, and what a request may ask."""

    def __init__(self, models: Mapping[str, Served], limits: Limits) -> None:
        self.models, self.limits, self.metrics = dict(models), limits, Metrics()
        self.ready = False
        self.body_bytes = 0  # of requests in progress
        self.engine: Engine | None = None
        self.readers: ThreadPoolExecutor | None = None

    async def start(self) -> None:
        self.engine = Engine(self.limits.waiting, self.metrics.merged.observe)
        self.metrics.waiting.set_function(lambda: len(self.engine or ()))
        self.readers = ThreadPoolExecutor(READERS, thread_name_prefix="demandcast-reader")
        for served in self.models.values():
            try:
                await self.in_thread(warm_up, served)
            except Exception as error:  # real requests with the right columns may succeed
                facts = {"model": served.name, "error": type(error).__name__}
                if isinstance(
                    error, DemandcastError
                ):  # the data are artificial, so the error reveals nothing
                    facts["reason"] = str(error)
                log.warning("warm_up_skipped", extra={"facts": facts})
        self.ready = True
        self.metrics.ready.set(1)

    async def stop(self) -> None:
        self.ready = False
        self.metrics.ready.set(0)
        if self.engine is not None:
            await asyncio.to_thread(self.engine.stop)
        if self.readers is not None:
            self.readers.shutdown()

    async def in_thread(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run long computations outside the event loop."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.readers, lambda: function(*args, **kwargs))

    def find(self, name: str | None) -> Served:
        """Return a model by name; without a name, the only model."""
        if name is None and len(self.models) == 1:
            return next(iter(self.models.values()))
        if name is None:
            raise Refused(
                400, "invalid_request", f"several models are served; say model=NAME: {', '.join(self.models)}",
                param="model",
            )  # fmt: skip
        if name not in self.models:
            raise Refused(
                404,
                "not_found",
                f"no model of this name; there are: {', '.join(self.models)}",
                param="model",
            )
        return self.models[name]

    @contextlib.asynccontextmanager
    async def body_of(self, request: Request) -> AsyncIterator[bytes]:
        """Read the body of a request; it counts toward the limit of all bodies until the answer is ready."""
        limit, seconds = self.limits.body_bytes, self.limits.seconds
        too_large = Refused(
            413,
            "too_large",
            f"the body is larger than {self.limits.body_mb} MB; send fewer series at once",
        )
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise Refused(415, "unsupported", "compressed bodies are not read; send the table as it is, or Parquet")  # fmt: skip
        declared = request.headers.get("content-length", "0")
        if declared.isdecimal() and int(declared) > limit:
            raise too_large
        parts: list[bytes] = []
        size = 0
        deadline = time.monotonic() + seconds
        try:
            stream = request.stream().__aiter__()
            while True:
                try:
                    part = await asyncio.wait_for(
                        anext(stream), max(0.0, deadline - time.monotonic())
                    )
                except StopAsyncIteration:
                    break
                except asyncio.TimeoutError:
                    raise Refused(
                        408, "too_slow", f"the body did not arrive in {seconds:g} s"
                    ) from None
                size += len(part)
                self.body_bytes += len(part)
                if size > limit:
                    raise too_large
                if self.body_bytes > 4 * limit:
                    raise Refused(429, "busy", "too much waits; try again", retry=1)
                parts.append(part)
            yield b"".join(parts)
        finally:
            self.body_bytes -= size

    def check_size(self, panel: Panel, horizon: int, levels: Sequence[float]) -> None:
        """Refuse a request whose history or forecast is larger than the limits."""
        values = panel.n_series * horizon * (len(levels) + 1)
        for what, size, limit in (
            ("steps of history", panel.n_steps, self.limits.history),
            ("values of a forecast", values, self.limits.values),
        ):
            if size > limit:
                raise Refused(
                    413,
                    "too_large",
                    f"{size:,} {what} are more than {limit:,}; send fewer series at once",
                )

    async def forecast(
        self,
        served: Served,
        model: Forecaster,
        panel: Panel,
        levels: Sequence[float],
        deadline: float,
    ) -> Forecast:
        """Forecast a panel in the engine's thread."""
        if self.engine is None or not self.ready:
            raise Refused(503, "not_ready", "the service is starting or stopping", retry=1)
        try:
            queued: Future[Forecast] = self.engine.submit(model, panel, levels, deadline)
        except FullError:
            raise Refused(
                429, "busy", f"{self.limits.waiting} requests wait already; try again", retry=1
            ) from None
        except StoppedError:
            raise Refused(503, "not_ready", "the service is stopping", retry=1) from None
        late = Refused(504, "timeout", f"no forecast within {self.limits.seconds:g} s; send fewer series at once")  # fmt: skip
        try:
            forecast = await asyncio.wait_for(
                asyncio.wrap_future(queued), max(0.0, deadline - time.monotonic())
            )
        except (asyncio.TimeoutError, LateError, CancelledError):
            queued.cancel()
            raise late from None
        self.metrics.series.labels(served.name).inc(panel.n_series)
        return forecast


class Watched:
    """Middleware: check the token, assign an id, log and count each request; its data is never logged."""

    def __init__(self, app: ASGIApp, service: Service, token: str | None) -> None:
        self.app, self.service, self.token = app, service, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500
        identity = uuid.uuid4().hex[:16]

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", identity.encode())]
            await send(message)

        facts = scope["facts"] = {"id": identity}
        try:
            if self._is_allowed(scope):
                await self.app(scope, receive, sending)
            else:
                refused = Refused(
                    401, "unauthorized", "send the header Authorization: Bearer TOKEN"
                )
                await refused.response()(scope, receive, sending)
        finally:
            seconds = time.perf_counter() - began
            route = scope.get("route")
            path = getattr(route, "path", None) or OTHER
            self.service.metrics.requests.labels(path, str(status)).inc()
            self.service.metrics.seconds.labels(path).observe(seconds)
            log.info(
                "request",
                extra={"facts": {**facts, "method": scope["method"], "path": path, "status": status, "ms": round(1e3 * seconds, 1)}},
            )  # fmt: skip

    def _is_allowed(self, scope: Scope) -> bool:
        if self.token is None or scope["path"].startswith("/v2/health/"):
            return True
        headers = dict(scope["headers"])
        given = headers.get(b"authorization", b"")
        return hmac.compare_digest(given, f"Bearer {self.token}".encode())


def create_app(
    models: Mapping[str, Served], *, limits: Limits | None = None, token: str | None = None
) -> FastAPI:
    """Return the web application of some models, for `demandcast serve` or a server of your own.

    Args:
        models: By name; see `demandcast.serve.served.find_models`.
        limits: What one request may ask.
        token: Every request but those for health needs it in `Authorization: Bearer ...`; None for no check.
    """
    service = Service(models, limits or Limits())

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        starting = asyncio.create_task(service.start())
        try:
            yield
        finally:
            starting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await starting
            await service.stop()

    app = FastAPIOffline(
        title="demandcast",
        version=__version__,
        description="Probabilistic demand forecasts. Send a table to `/forecast` and get one of the same kind back.",
        redoc_url=None,
        openapi_tags=[{"name": name} for name in ("forecasts", "models", "health")],
        lifespan=lifespan,
    )
    app.state.service = service
    _add_health(app, service)
    _add_forecasts(app, service)
    _add_errors(app)
    app.add_middleware(Watched, service=service, token=token)
    return app


def _add_health(app: FastAPI, service: Service) -> None:
    @app.get("/v2/health/live", tags=["health"])
    async def live() -> dict[str, bool]:
        """Whether the process answers."""
        return {"live": True}

    @app.get("/v2/health/ready", tags=["health"])
    async def ready() -> Response:
        """Whether every model has made its first forecast; 503 until then and during shutdown."""
        return JSONResponse({"ready": service.ready}, 200 if service.ready else 503)

    @app.get("/v2", tags=["models"])
    async def server() -> dict[str, Any]:
        """The server's name and version."""
        return {"name": "demandcast", "version": __version__, "extensions": []}

    @app.get("/v1/models", tags=["models"])
    async def model_names() -> dict[str, list[str]]:
        """The names of all models."""
        return {"models": list(service.models)}

    @app.get("/v2/models/{name}", tags=["models"])
    async def model(name: str) -> dict[str, Any]:
        """Describe a model: its method, horizon, inputs and outputs."""
        served = service.find(name)
        return {
            "name": name,
            "platform": "demandcast",
            "versions": [__version__],
            "method": served.model.name,
            "summary": served.model.summary,
            "horizon": None if served.any_horizon else served.model.horizon,
            "inputs": served.model.takes.split(", "),
            "outputs": ["mean", "quantiles"],
        }

    @app.get("/v2/models/{name}/ready", tags=["models"])
    async def model_ready(name: str) -> Response:
        """Whether a model is ready."""
        service.find(name)
        return JSONResponse({"name": name, "ready": service.ready}, 200 if service.ready else 503)

    @app.get("/metrics", tags=["health"])
    async def metrics() -> Response:
        """Counts and times for Prometheus."""
        return Response(generate_latest(service.metrics.registry), media_type="text/plain; version=0.0.4")  # fmt: skip


def _add_forecasts(app: FastAPI, service: Service) -> None:
    @app.post("/forecast", tags=["forecasts"], openapi_extra=_describe_tables())
    async def forecast(request: Request) -> Response:
        """Forecast a table, and return a table of the same kind.

        One row a series and time. Rows after the last observed target hold covariates that are known ahead.
        """
        deadline = time.monotonic() + service.limits.seconds
        query = dict(request.query_params)
        served = service.find(query.pop("model", None))
        horizon = _parse_count("horizon", query.pop("horizon", None))
        levels = _levels(query.pop("levels", None))
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in KINDS:
            raise Refused(
                415,
                "unsupported",
                f"Content-Type is {kind or 'not given'!r}; send {', '.join(KINDS)}",
            )
        model = served.at(horizon)
        options = reading_options(query, model)
        async with service.body_of(request) as body:
            panel = await service.in_thread(read_table, body, kind, options)
            service.check_size(panel, model.horizon, levels)
            forecast = await service.forecast(served, model, panel, levels, deadline)
            notes = [*map(str, panel.notes), *forecast.notes]
            content = await service.in_thread(write_table, forecast, kind, notes, steps=horizon)
        request.scope["facts"].update(
            model=served.name, series=panel.n_series, steps=panel.n_steps, bytes=len(body)
        )
        return Response(
            content, media_type=kind, headers=_note_header(notes) if kind != JSON else {}
        )

    @app.post(
        "/v1/timeseries/forecast",
        tags=["forecasts"],
        response_model=kserve.ForecastResponse,
        openapi_extra=_describe_kserve(),
    )
    async def forecast_series(request: Request) -> Response:
        """Forecast series of numbers, by KServe's time-series protocol."""
        deadline = time.monotonic() + service.limits.seconds
        async with service.body_of(request) as body:
            asked = await service.in_thread(_parse, body)
            served = service.find(asked.model)
            model = served.at(asked.options.horizon)
            levels = check_levels(asked.options.quantiles)
            parts = await service.in_thread(kserve.read_inputs, asked)
            for panel, _ in parts:
                service.check_size(panel, model.horizon, levels)
            forecasts = [
                (await service.forecast(served, model, panel, levels, deadline), places)
                for panel, places in parts
            ]
            notes = [
                *kserve.without_start(asked),
                *(note for f, _ in forecasts for note in f.notes),
            ]
            content = await service.in_thread(kserve.write_response, asked, forecasts, notes)
        request.scope["facts"].update(model=served.name, series=len(asked.inputs), bytes=len(body))
        return Response(content, media_type=JSON)


def _parse(body: bytes) -> kserve.ForecastRequest:
    from pydantic import ValidationError

    try:
        return kserve.ForecastRequest.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise Refused(
            400,
            "invalid_request",
            f"{place or 'the body'}: {first['msg']}{more}",
            param=place or None,
        ) from None


def _parse_count(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isdecimal() or not 1 <= int(text[:9]) == int(text):
        raise ConfigError(f"{name} is {text[:40]!r}; write a whole number of steps", option=name)
    return int(text)


def _levels(text: str | None) -> tuple[float, ...]:
    if text is None:
        return DEFAULT_LEVELS
    try:
        levels = [float(word) for word in text.split(",")]
    except ValueError:
        raise ConfigError(f"levels is {text[:80]!r}; write numbers, as 0.1,0.5,0.9", option="levels") from None  # fmt: skip
    return check_levels(levels)


def _note_header(notes: Sequence[str]) -> dict[str, str]:
    """Format notes as a header, for kinds of tables that cannot hold them."""
    shown: list[str] = []
    for note in notes:
        if len(json.dumps([*shown, note])) > NOTES:
            shown.append(f"... and {len(notes) - len(shown)} more")
            break
        shown.append(note)
    return {"X-Demandcast-Notes": json.dumps(shown)} if shown else {}


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> Response:
        return error.response()

    @app.exception_handler(DemandcastError)
    async def faulty(_: Request, error: DemandcastError) -> Response:
        faults = [str(fault) for fault in getattr(error, "faults", ())]
        kind = "invalid_data" if isinstance(error, DataError) else "invalid_request"
        refusal = Refused(
            400, kind, "; ".join(faults) or str(error), param=error.option or error.column
        )
        return refusal.response()

    @app.exception_handler(HTTPException)
    async def no_route(_: Request, error: HTTPException) -> Response:
        kinds = {404: "not_found", 405: "method_not_allowed"}
        return Refused(error.status_code, kinds.get(error.status_code, "refused"), str(error.detail)).response()  # fmt: skip

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        identity = request.scope.get("facts", {}).get("id", "")
        place = error.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        where = f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}" if place else ""
        log.error("failed", extra={"facts": {"id": identity, "error": type(error).__name__, "where": where}})  # fmt: skip
        return Refused(500, "internal", f"the service failed; its log says where, by the id {identity}").response()  # fmt: skip


def _describe_tables() -> dict[str, Any]:
    """Return the OpenAPI description of `/forecast`, with an example that works."""
    meanings = {
        "model": "Name of the model; may be left out where one is served.",
        "horizon": "Steps to forecast; those of the saved run if left out.",
        "levels": "Quantile levels: 0.1,0.5,0.9.",
        **{name: f"Of `read_panel`: {o.metadata['help']}" for name, o in OPTIONS.items()},
    }
    examples = {"horizon": "7", "key": "item", "time": "date", "target": "units"}
    return {
        "parameters": [
            {
                "name": name, "in": "query", "required": False, "description": text,
                "schema": {"type": "string"}, **({"example": examples[name]} if name in examples else {}),
            }
            for name, text in meanings.items()
        ],
        "requestBody": {
            "required": True,
            "content": {
                kind: {
                    "schema": {"type": "string"},
                    **({"example": EXAMPLE_CSV} if kind == KINDS[0] else {}),
                    **({"schema": {"type": "array", "items": {"type": "object"}}, "example": EXAMPLE_ROWS} if kind == JSON else {}),
                }
                for kind in KINDS
            },
        },
    }  # fmt: skip


def _describe_kserve() -> dict[str, Any]:
    example = {
        "model": "zero_shot",
        "inputs": [
            {
                "type": kserve.UNIVARIATE, "name": "a", "frequency": "D", "start_timestamp": "2026-01-01",
                "series": [row["units"] for row in EXAMPLE_ROWS],
            }
        ],
        "options": {"horizon": 7, "quantiles": [0.1, 0.5, 0.9]},
    }  # fmt: skip
    inline = kserve.ForecastRequest.model_json_schema()
    return {
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": _without_references(inline), "example": example}},
        }
    }


def _without_references(schema: dict[str, Any]) -> dict[str, Any]:
    """Replace the references of a JSON schema by their definitions."""
    definitions = schema.pop("$defs", {})

    def inlined(part: Any) -> Any:
        if isinstance(part, dict):
            if "$ref" in part:
                return inlined(definitions[part["$ref"].rpartition("/")[2]])
            return {name: inlined(value) for name, value in part.items()}
        return [inlined(value) for value in part] if isinstance(part, list) else part

    whole: dict[str, Any] = inlined(schema)
    return whole
