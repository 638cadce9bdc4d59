"""A small web server on this machine that imitates the faults of a network, one after the other."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FaultyServer:
    """Serves `files` (path without the first slash: bytes) at `url`; a context manager.

    Each request uses up one of `faults`: "drop" breaks off in the middle of the answer, a number is the status of the
    answer, "whole" ignores a Range header, `None` is no fault. `requests` has path and Range of each request.
    """

    def __init__(self, files: dict[str, bytes], faults: tuple = ()):
        self.files, self.faults, self.requests = files, list(faults), []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def _handler(self):
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                owner._answer(self)

            def log_message(self, *_):
                pass

        return Handler

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        name, span = handler.path.strip("/"), handler.headers.get("Range")
        self.requests.append((name, span))
        fault = self.faults.pop(0) if self.faults else None
        content = self.files.get(name)
        if isinstance(fault, int) or content is None:
            return handler.send_error(fault or 404)
        start = 0 if span is None or fault == "whole" else int(span.removeprefix("bytes=").removesuffix("-"))
        size = len(content)
        if start >= size:
            handler.send_response(416)
            handler.send_header("Content-Range", f"bytes */{size}")
            handler.send_header("Content-Length", "0")
            return handler.end_headers()
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        handler.send_header("Content-Length", str(size - start))
        handler.end_headers()
        end = start + (size - start) // 2 if fault == "drop" else size
        handler.wfile.write(content[start:end])
        return None
