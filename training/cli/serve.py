"""`storyattn serve`: serve a model over HTTP."""

from importlib.util import find_spec

from ..common.command_line import CommandParser
from ..common.errors import one_line
from ..serving.limits import Limits

COMMAND = "storyattn serve"
PACKAGES = {"fastapi": "fastapi", "uvicorn": "uvicorn", "python_multipart": "python-multipart"}
PACKAGES |= {"prometheus_client": "prometheus-client"}


def build_parser() -> CommandParser:
    """Return the parser of the command."""
    parser = CommandParser(
        COMMAND,
        "Serve a model over HTTP: continue stories, describe pictures, find pictures and captions.",
        f"{COMMAND} runs/tiny --port 8000",
    )
    parser.add_argument("model", help="folder or Hub id of the model")
    add = parser.add_topic("where it listens").add_argument
    add("--host", default="127.0.0.1", help="address; 0.0.0.0 listens on all, without any password")
    add("--port", type=int, default=8000, help="port; 0 takes a free one")
    add("--device", help="cpu, cuda, ...; default: a GPU where there is one")
    defaults = Limits()
    add = parser.add_topic("batches").add_argument
    add("--max_batch_size", type=int, default=defaults.max_batch_size, help="requests that are read as one batch")
    waits = "milliseconds that a request waits for others to be read with"
    add("--max_wait_ms", type=float, default=defaults.max_wait_ms, help=waits)
    full = "requests that wait; more are answered 503 with Retry-After"
    add("--max_queue", type=int, default=defaults.max_queue, help=full)
    add = parser.add_topic("limits of a request").add_argument
    add("--max_body_mb", type=int, default=defaults.max_body_mb, help="size of its body in MB")
    add("--max_frames", type=int, default=defaults.max_frames, help="its pictures")
    add("--max_pixels", type=int, default=defaults.max_pixels, help="pixels of a picture")
    add("--max_steps", type=int, default=defaults.max_steps, help="captions and frames that it adds to a story")
    add("--max_text_length", type=int, default=defaults.max_text_length, help="characters of a caption")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the server; a mistake in the arguments ends it with one line and exit status 2."""
    arguments = vars(build_parser().parse_args(argv))
    with one_line(COMMAND):
        missing = [package for module, package in PACKAGES.items() if find_spec(module) is None]
        if missing:
            raise ValueError(f"serve: got no package {', '.join(missing)}, expected it: pip install 'storyattn[serve]'")
        name, host, port, device = (arguments.pop(key) for key in ("model", "host", "port", "device"))
        limits = Limits(**arguments)
        from ..serving.run import serve

        serve(name, host, port, limits, device)
