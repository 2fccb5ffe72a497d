"""A web server on loopback that keeps files, and misbehaves when asked: one act for each request to come."""

import hashlib
import re
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Act = Callable[["Handler", bytes], None]


class Server(ThreadingHTTPServer):
    """Files by path (without the first slash), acts to come, and the requests so far."""

    daemon_threads, block_on_close = True, False

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.acts: list[Act] = []
        self.seen: list[tuple[str, str | None, str | None]] = []  # path, Range, If-Range
        self.release = threading.Event()

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def ranges(self):
        return [asked for _, asked, _ in self.seen]

    def handle_error(self, request, client_address):
        """Clients that hang up are part of the tests."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *arguments):
        """Nothing on stderr."""

    def do_GET(self):
        path = self.path.lstrip("/")
        self.server.seen.append((path, self.headers["Range"], self.headers["If-Range"]))
        data = self.server.files.get(path)
        act = self.server.acts.pop(0) if self.server.acts else whole
        if data is None:
            self.send_error(404)
        else:
            act(self, data)

    def start(self, status, length, **headers):
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()


def tag(data):
    return f'"{hashlib.md5(data).hexdigest()}"'


def whole(handler, data):
    """As a good server: ranges if the validator is that of the file."""
    match = re.fullmatch(r"bytes=(\d+)-", handler.headers["Range"] or "")
    same = handler.headers["If-Range"] in (None, tag(data))
    if match and same and int(match[1]) >= len(data):
        handler.start(416, 0, Content_Range=f"bytes */{len(data)}")
    elif match and same:
        first = int(match[1])
        span = f"bytes {first}-{len(data) - 1}/{len(data)}"
        handler.start(206, len(data) - first, Content_Range=span, ETag=tag(data))
        handler.wfile.write(data[first:])
    else:
        handler.start(200, len(data), ETag=tag(data))
        handler.wfile.write(data)


def half(handler, data):
    """Half of the file, then the connection is closed in good order."""
    handler.start(200, len(data), ETag=tag(data))
    handler.wfile.write(data[: len(data) // 2])


def half_without_validator(handler, data):
    handler.start(200, len(data))
    handler.wfile.write(data[: len(data) // 2])


def reset(handler, data):
    """Half of the file, then a reset."""
    half(handler, data)
    handler.wfile.flush()
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def stall(handler, data):
    """Half of the file, then nothing until the test is over."""
    half(handler, data)
    handler.wfile.flush()
    handler.server.release.wait(10)


def no_ranges(handler, data):
    """The whole file, whatever was asked for."""
    handler.start(200, len(data), ETag=tag(data))
    handler.wfile.write(data)


def too_long(handler, data):
    """Says that there is more than there is."""
    handler.start(200, len(data) + 100, ETag=tag(data))
    handler.wfile.write(data)


def too_short(handler, data):
    """Says that there is less than there is."""
    handler.start(200, len(data) - 100, ETag=tag(data))
    handler.wfile.write(data)


def status(code):
    return lambda handler, data: handler.send_error(code)


def wrong_range(handler, data):
    """A part that was not asked for."""
    handler.start(206, len(data), Content_Range=f"bytes 0-{len(data) - 1}/{len(data)}", ETag=tag(data))
    handler.wfile.write(data)


def redirect(place):
    def act(handler, data):
        handler.start(302, 0, Location=place)

    return act


@contextmanager
def serving():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.release.set()
        server.shutdown()
        server.server_close()
        thread.join(5)
