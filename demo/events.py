"""Options of the page's events, and errors as messages on the page."""

from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr

# All that runs the model waits in one queue, one at a time.
ONE_AT_A_TIME = {"concurrency_id": "model", "concurrency_limit": 1}
QUIET = {"api_visibility": "private", "show_progress": "hidden"}
ON_MODEL = {**QUIET, **ONE_AT_A_TIME}
# Reads the captions as they stand on the page, in place of the first input of an event.
READ_CAPTIONS = """(captions, ...others) => [
    [...document.querySelectorAll('#board .caption')].map(caption => caption.textContent.trim()), ...others]"""


@contextmanager
def messages() -> Iterator[None]:
    """Turn a `ValueError` of the block into a message on the page or to the client of an endpoint."""
    try:
        yield
    except ValueError as error:
        raise gr.Error(str(error), title="That does not work yet", print_exception=False) from error
