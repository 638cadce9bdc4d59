"""A Hub on this machine: what clients ask of it for models, data sets and collections, kept in memory.

Paths, statuses and headers are those that huggingface_hub 1.33 and 2.4 send and expect, without Xet
(`HF_HUB_DISABLE_XET=1`). As on the real one, large files come and go through a storage on another host, by URLs that
need no token.
"""

import json
import re
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from hub_repositories import Commit, Refusal, Repository
from hub_routes import HUB, STORAGE, Request, respond

TOKENS = {"hf_write": ("user", "write"), "hf_read": ("user", "read"), "hf_other": ("other", "write")}


class HubServer:
    """Hub at `url`; a context manager.

    `tokens` maps each token to a user and a role, `"read"` or `"write"`. `requests` has step, method, path and headers
    of each request.

    `faults` maps a step, such as `"batch"`, `"upload"` or `"commit"`, to a list of faults; each request of that step
    uses one up. `"drop"` breaks off in the middle of the request (of a GET: of the answer), a number is the status to
    answer with, and `"wrong_hash"` damages what is uploaded.
    """

    def __init__(self, tokens: dict[str, tuple[str, str]] | None = None):
        self.tokens = TOKENS if tokens is None else tokens
        self.repositories: dict[str, Repository] = {}
        self.collections: dict[str, dict] = {}  # by slug
        self.arrived: dict[str, bytes] = {}  # large files by the hash that the client gave, not yet verified
        self.stored: dict[str, bytes] = {}  # large files by their hash
        self.faults: dict[str, list] = {}
        self.requests: list[tuple] = []
        self.lock = threading.Lock()
        self._servers = [
            ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (RouteHandler,), {"hub": self, "routes": routes}))
            for routes in (HUB, STORAGE)
        ]
        # Two names, for a client may follow redirections that stay on one host, whatever the port.
        hosts = ("127.0.0.1", "localhost")
        self.url, self.storage_url = (f"http://{host}:{s.server_port}" for host, s in zip(hosts, self._servers))

    def __enter__(self) -> "HubServer":
        for server in self._servers:
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def head(self, repo_id: str, revision: str = "main") -> Commit:
        """Return the last commit of a branch, or that of a tag."""
        return self.repositories[repo_id].find(revision)


class RouteHandler(BaseHTTPRequestHandler):
    """Answer requests to `hub` by `routes`, and plant its faults."""

    hub: HubServer
    routes: tuple
    protocol_version = "HTTP/1.1"  # a connection stays open unless the client wants it closed, or it breaks off
    breaks_off = False

    def answer(self) -> None:
        path = urlsplit(self.path).path
        for step, methods, pattern, route in self.routes:
            match = re.fullmatch(pattern, path)
            if match and self.command in methods.split():
                return self.play(step, route, tuple(map(unquote, match.groups())))
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        return self.send_json(404, {"error": f"no route for {self.command} {path}"})

    do_GET = do_HEAD = do_POST = do_PUT = answer

    def play(self, step: str, route: Callable, parts: tuple[str, ...]) -> None:
        """Answer by `route`, or by the fault that is planted for `step`."""
        self.hub.requests.append((step, self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
        faults = self.hub.faults.get(step)
        fault = faults.pop(0) if faults else None
        size = int(self.headers.get("Content-Length", 0))
        self.breaks_off = fault == "drop"
        self.close_connection = self.close_connection or self.breaks_off
        body = self.rfile.read(size // 2 if self.breaks_off else size)
        if self.breaks_off and self.command != "GET":
            return self.connection.shutdown(socket.SHUT_RDWR)
        if fault == "wrong_hash":
            body = bytes([body[0] ^ 1]) + body[1:]
        try:
            if isinstance(fault, int):
                raise Refusal(fault, f"planted {fault}")
            with self.hub.lock:
                answer = route(Request(self.hub, self, parts, body))
        except Refusal as refusal:
            return self.send_json(refusal.status, {"error": refusal.message}, refusal.headers)
        if answer is None:
            return None
        return self.send_json(*(answer if isinstance(answer, tuple) else (200, answer)))

    def send_json(self, status: int, value, headers: dict[str, str] | None = None) -> None:
        kind = {"Content-Type": "application/json; charset=utf-8"}
        respond(self, status, json.dumps(value).encode(), {**kind, **(headers or {})})

    def log_message(self, *_) -> None:
        pass
