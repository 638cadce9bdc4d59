"""Run the server until it is told to stop."""

import socket

import uvicorn

from ..models.baselines import BaselineModel
from ..models.load import load_model
from .app import create_app
from .limits import Limits


def serve(name: str, host: str, port: int, limits: Limits, device: str | None = None, grace: int = 30) -> None:
    """
    Serve a model until SIGINT or SIGTERM; requests that have begun are answered first.

    Args:
        name: folder or Hub id of the model.
        host: address to listen on.
        port: its port, 0 to 65535; 0 takes a free one.
        limits: those of requests.
        device: as torch names it; by default a GPU where there is one, else the CPU.
        grace: seconds that requests may take to end.

    Raises:
        ValueError, OSError: for a model that cannot be loaded or does not continue stories.
    """
    if not 0 <= port < 2**16:
        raise ValueError(f"port: got {port}, expected a whole number from 0 to {2**16 - 1}")
    listening = _listen(host, port)
    model, processor = load_model(name, device)
    if isinstance(model, BaselineModel):
        kind = model.config.model_type
        raise ValueError(f"model: got the baseline {kind} in {name!r}, expected a model that continues stories")
    app = create_app(model, processor, name, limits)
    print(f"serving {name} on http://{host}:{listening.getsockname()[1]}; /docs says how to ask", flush=True)
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=grace)
    uvicorn.Server(config).run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; raise `ValueError` where the address cannot be used."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except OSError as error:
        expected = "an address of this machine and a free port"
        raise ValueError(f"host and port: got {host} and {port}, expected {expected}: {error.strerror}") from error
