"""Read requests: JSON, or forms with uploaded pictures; refuse what exceeds the limits."""

import json
from typing import TypeVar

from fastapi import Request
from pydantic import ValidationError
from starlette.datastructures import UploadFile

from ..common.excerpts import excerpt, quoted
from . import schemas
from .limits import Limits
from .pictures import decode_picture
from .story_model import Search, Story

JSON, FORM = "application/json", "multipart/form-data"
LISTS = ("frames", "pictures", "captions", "texts")  # fields of a form that may come several times
LONGEST_MESSAGE = 300  # characters
MEGABYTE = 1_000_000
Model = TypeVar("Model", bound=schemas.Request)


class RefusedError(Exception):
    """A request that is refused, with the status of the answer."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


async def read_request(request: Request, model: type[Model], limits: Limits) -> Model:
    """
    Return what a request asks for.

    Args:
        request: its body is JSON, or a form with files and texts.
        model: the form of the JSON.
        limits: those of the server.

    Raises:
        RefusedError: for a body of another type or form, and for fields that are missing, unknown or out of range.
    """
    request = _counted(request, limits.max_body_mb * MEGABYTE)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == JSON:
        values = await _read_json(request)
    elif kind == FORM:
        values = await _read_form(request, limits)
    else:
        raise RefusedError(415, f"content-type: got {kind or 'none'}, expected {JSON} or {FORM}")
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise RefusedError(422, _first_fault(error)) from error


def story_of(asked: schemas.WritingRequest, limits: Limits) -> Story:
    """Return the story of a request with its pictures opened; raise `RefusedError` for one beyond the limits."""
    captions = getattr(asked, "captions", None)
    if captions is not None and len(captions) != len(asked.frames):
        raise RefusedError(422, f"captions: got {len(captions)}, expected {len(asked.frames)}, one for each picture")
    _check_texts("captions", captions or [], limits)
    steps = getattr(asked, "num_steps", 1)
    if steps > limits.max_steps:
        raise RefusedError(422, f"num_steps: got {steps}, expected at most {limits.max_steps}")
    return Story(_open_pictures("frames", asked.frames, limits), captions)


def search_of(asked: schemas.SearchRequest, limits: Limits) -> Search:
    """Return the search of a request with its pictures opened; raise `RefusedError` for one beyond the limits."""
    if len(asked.texts) > limits.max_frames:
        raise RefusedError(422, f"texts: got {len(asked.texts)}, expected at most {limits.max_frames}")
    _check_texts("texts", asked.texts, limits)
    return Search(_open_pictures("pictures", asked.pictures, limits), asked.texts)


def _open_pictures(field: str, pictures: list[str | bytes], limits: Limits) -> list:
    if len(pictures) > limits.max_frames:
        raise RefusedError(422, f"{field}: got {len(pictures)} pictures, expected at most {limits.max_frames}")
    try:
        return [
            decode_picture(picture, f"{field}[{number}]", limits.max_pixels) for number, picture in enumerate(pictures)
        ]
    except ValueError as error:
        raise RefusedError(422, excerpt(error, LONGEST_MESSAGE)) from error


def _check_texts(field: str, texts: list[str | None], limits: Limits) -> None:
    for number, text in enumerate(texts):
        if text is not None and len(text) > limits.max_text_length:
            expected = f"at most {limits.max_text_length}"
            raise RefusedError(422, f"{field}[{number}]: got {len(text)} characters, expected {expected}")


async def _read_json(request: Request) -> object:
    try:
        return json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, f"body: got no JSON, expected an object: {excerpt(error)}") from error


async def _read_form(request: Request, limits: Limits) -> dict[str, object]:
    """Return the fields of a form; files are bytes, an empty caption is none."""
    values: dict[str, object] = {}
    max_bytes = limits.max_body_mb * MEGABYTE
    async with request.form(max_files=limits.max_frames + 1, max_part_size=max_bytes) as form:
        for name, value in form.multi_items():
            content = await value.read() if isinstance(value, UploadFile) else value
            if name in LISTS:
                values.setdefault(name, []).append(None if name == "captions" and content == "" else content)
            else:
                values[name] = content
    return values


def _first_fault(error: ValidationError) -> str:
    """Return the first fault that pydantic found, in one line."""
    fault = error.errors(include_url=False, include_context=False)[0]
    parts = [
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in fault["loc"] if part not in ("str", "bytes")
    ]
    field = "".join(parts).lstrip(".") or "body"
    if fault["type"] == "missing":
        return f"{field}: got nothing, expected it"
    if fault["type"] == "extra_forbidden":
        return f"{field}: got it, expected no such field"
    return f"{field}: got {quoted(fault['input'])}, expected another value: {fault['msg']}"


def _counted(request: Request, max_bytes: int) -> Request:
    """Return the request with a body that ends in a `RefusedError` once it is too large."""
    refused = RefusedError(413, f"body: got more than {max_bytes} bytes, expected at most that")
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > max_bytes:
        raise refused
    num_bytes = 0

    async def receive() -> dict:
        nonlocal num_bytes
        message = await request.receive()
        num_bytes += len(message.get("body", b""))
        if num_bytes > max_bytes:
            raise refused
        return message

    return Request(request.scope, receive)
