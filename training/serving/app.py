"""The web application around a model."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException
from storyattn import StoryAttnForConditionalGeneration, StoryAttnProcessor

from ..common.excerpts import excerpt
from ..common.versions import package_version
from . import schemas
from .batch_queue import BatchQueue, ClosedError, QueueFullError
from .limits import Limits
from .metrics import Metrics
from .pictures import encode_picture
from .requests import FORM, JSON, LONGEST_MESSAGE, RefusedError, read_request, search_of, story_of
from .story_model import Operation, Search, Story, StoryModel

RETRY_AFTER = 1  # seconds
OPERATIONS = ("/continue", "/describe", "/search")
ENDPOINTS = (*OPERATIONS, "/health", "/metrics")
ERRORS = {
    400: "The body cannot be read.",
    413: "The body is too large.",
    415: "The body is neither JSON nor a form.",
    422: "A field is missing, unknown or beyond the limits.",
    503: "Too many requests wait, or the server ends; try again after the seconds of `Retry-After`.",
}
logger = logging.getLogger(__name__)


class Server:
    """
    A model, the queue in front of it, and what is counted.

    Args:
        model: the model, on its device.
        processor: its processor.
        name: what answers call the model.
        limits: those of requests.
    """

    def __init__(
        self,
        model: StoryAttnForConditionalGeneration,
        processor: StoryAttnProcessor,
        name: str,
        limits: Limits,
    ):
        self.model, self.name, self.limits = model, name, limits
        self.metrics = Metrics(lambda: len(self.queue))
        self.queue = BatchQueue(
            StoryModel(model, processor).run,
            limits.max_batch_size,
            limits.max_wait_ms / 1000,
            limits.max_queue,
            self.metrics.count_batch,
        )

    async def run(self, operation: Operation, item: Story | Search) -> object:
        """Return what the model gives for an item; raise `RefusedError` for what it refuses, or if too many wait."""
        try:
            return await asyncio.wrap_future(self.queue.submit(operation, item))
        except (QueueFullError, ClosedError) as error:
            raise RefusedError(503, f"queue: {error}") from error
        except ValueError as error:
            raise RefusedError(422, excerpt(error, LONGEST_MESSAGE)) from error

    async def write(self, name: str, asked: schemas.WritingRequest, num_steps: int = 0) -> object:
        """Return what the model writes for a story."""
        values = name, num_steps, tuple(asked.options().items())
        operation = Operation.drawing(*values, seed=asked.seed) if asked.do_sample else Operation(*values)
        return await self.run(operation, await asyncio.to_thread(story_of, asked, self.limits))


def create_app(
    model: StoryAttnForConditionalGeneration,
    processor: StoryAttnProcessor,
    name: str = "storyattn",
    limits: Limits | None = None,
) -> FastAPI:
    """
    Return the application that serves a model.

    Args:
        model: the model, on its device.
        processor: its processor.
        name: what answers call the model.
        limits: those of requests; default: those of `Limits`.
    """
    server = Server(model, processor, name, limits or Limits())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(server.queue.close)

    app = FastAPI(
        title="StoryAttn",
        version=package_version("storyattn") or "unknown",
        description="Continues picture stories, describes pictures, and finds pictures and captions.",
        lifespan=lifespan,
    )
    app.state.server = server
    _add_operations(app, server)
    _add_reports(app, server)
    _add_errors(app, server.metrics)
    return app


def _add_operations(app: FastAPI, server: Server) -> None:
    @app.post("/continue", response_model=schemas.ContinueAnswer, **_documented(schemas.ContinueRequest))
    async def continue_story(request: Request) -> dict:
        """Continue a story: write its next captions and paint their frames."""
        asked = await read_request(request, schemas.ContinueRequest, server.limits)
        captions, frames = await server.write("continue", asked, asked.num_steps)
        return {"captions": captions, "frames": await asyncio.to_thread(lambda: [encode_picture(f) for f in frames])}

    @app.post("/describe", response_model=schemas.DescribeAnswer, **_documented(schemas.DescribeRequest))
    async def describe(request: Request) -> dict:
        """Write a caption for each picture of a story."""
        asked = await read_request(request, schemas.DescribeRequest, server.limits)
        return {"captions": await server.write("describe", asked)}

    @app.post("/search", response_model=schemas.SearchAnswer, **_documented(schemas.SearchRequest))
    async def search(request: Request) -> dict:
        """Rank pictures for each text, and texts for each picture."""
        asked = await read_request(request, schemas.SearchRequest, server.limits)
        cosines = await server.run(Operation("search"), await asyncio.to_thread(search_of, asked, server.limits))
        return {
            "similarities": cosines.tolist(),
            "pictures_by_text": cosines.T.argsort(dim=-1, descending=True, stable=True).tolist(),
            "texts_by_picture": cosines.argsort(dim=-1, descending=True, stable=True).tolist(),
        }


def _add_reports(app: FastAPI, server: Server) -> None:
    @app.get("/health", response_model=schemas.HealthAnswer)
    async def health() -> dict:
        """Say that the server works, and what it serves."""
        config = server.model.config
        facts = {"status": "ok", "model": server.name, "device": str(server.model.device)}
        facts |= {"image_size": list(config.image_size), "max_frames": config.max_frames}
        return facts | {"waiting": len(server.queue)}

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> str:
        """Return what was counted, in the text format of Prometheus."""
        return server.metrics.text()


def _add_errors(app: FastAPI, metrics: Metrics) -> None:
    """Answer every error as JSON with one line, and count requests."""

    @app.exception_handler(RefusedError)
    async def refused(request: Request, error: RefusedError) -> JSONResponse:
        headers = {"Retry-After": str(RETRY_AFTER)} if error.status == 503 else None
        return JSONResponse({"error": str(error)}, error.status, headers)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": f"{request.url.path}: {error.detail}"}, error.status_code, error.headers)

    @app.middleware("http")
    async def counted(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        start = time.perf_counter()
        try:
            response = await answer(request)
        except Exception:
            logger.exception("%s failed", request.url.path)
            response = JSONResponse({"error": f"{request.url.path}: failed; the server's log says why"}, 500)
        endpoint = request.url.path if request.url.path in ENDPOINTS else "other"
        metrics.count_request(endpoint, response.status_code, time.perf_counter() - start)
        return response


def _documented(model: type[schemas.Request]) -> dict:
    """Return what the documentation says of an endpoint: its JSON, the same as a form, and its errors."""
    schema = model.model_json_schema()
    form = {**schema, "properties": dict(schema["properties"])}
    form.pop("examples", None)
    files = {"type": "array", "items": {"type": "string", "format": "binary"}, "description": "image files"}
    form["properties"] |= {name: files for name in ("frames", "pictures") if name in form["properties"]}
    content = {JSON: {"schema": schema, "example": schema["examples"][0]}, FORM: {"schema": form}}
    return {
        "openapi_extra": {"requestBody": {"required": True, "content": content}},
        "responses": {
            status: {"model": schemas.ErrorAnswer, "description": description} for status, description in ERRORS.items()
        },
    }
