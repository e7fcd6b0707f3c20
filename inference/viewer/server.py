"""The server of a page: loopback only, one secret in the URL, a fixed table of names, nothing else."""

from __future__ import annotations

import hmac
import json
import logging
import secrets
import select
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Empty
from typing import Any

from vesal.inference.data.errors import VesalError
from vesal.inference.viewer.session import BusyError, Session
from vesal.inference.viewer.wanted import parse_wanted

log = logging.getLogger("vesal")

HOST = "127.0.0.1"
MAX_BODY = 64 << 10
POLL_S = 0.5
"""How often is looked whether a page that waits for events is still there."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Nothing from elsewhere, no script and no style inside the page; NiiVue has its font as a data: image."""
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class PageServer(ThreadingHTTPServer):
    """Serves one session until it is shut down."""

    daemon_threads = True

    def __init__(self, session: Session, assets: dict[str, tuple[bytes, str]], port: int = 0) -> None:
        """Bind to ``port`` of the loopback, 0 for any that is free. Raises OSError."""
        self.session, self.assets = session, assets
        self.token = secrets.token_urlsafe(24)
        self.closing = threading.Event()
        super().__init__((HOST, port), _Handler)

    @property
    def hosts(self) -> tuple[str, str]:
        """What a request may name as its host: a name that was made to point here is none of them."""
        return f"{HOST}:{self.server_port}", f"localhost:{self.server_port}"

    @property
    def url(self) -> str:
        """Of the page, with its token."""
        return f"http://{self.hosts[0]}/{self.token}/"

    def end(self) -> None:
        """Let `serve_forever` return; not to be called in its own thread."""
        self.closing.set()
        self.session.stop()
        self.shutdown()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A page that left in the middle of an answer is no error."""
        log.debug("a request broke off", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "vesal", ""
    timeout = 60

    def do_GET(self) -> None:  # noqa: N802
        """A file of the page, the two volumes, the state, or the stream of events."""
        name = self._name()
        session = self.server.session
        if name is None:
            return
        if name in self.server.assets:
            self._answer(*self.server.assets[name])
        elif name == "image.nii":
            self._answer(session.image(), "application/octet-stream")
        elif name == "labels.nii":
            self._answer(session.label_map(), "application/octet-stream")
        elif name == "state":
            self._answer_json(session.state())
        elif name == "events":
            self._stream()
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such page")

    def do_POST(self) -> None:  # noqa: N802
        """Begin a run."""
        name = self._name()
        if name is None:
            return
        if name != "run":
            return self._refuse(HTTPStatus.NOT_FOUND, "there is no such page")
        origin = self.headers.get("Origin")
        if origin is not None and origin not in [f"http://{host}" for host in self.server.hosts]:
            return self._refuse(HTTPStatus.FORBIDDEN, "the request is of another page")
        if self.headers.get_content_type() != "application/json":
            return self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "application/json is wanted")
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            return self._refuse(HTTPStatus.LENGTH_REQUIRED, "a length is wanted")
        if int(length) > MAX_BODY:
            return self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {MAX_BODY} bytes are read")
        self._begin(self.rfile.read(int(length)))

    def _begin(self, body: bytes) -> None:
        session = self.server.session
        try:
            session.start(parse_wanted(body, session.grid.shape, session.can))
        except BusyError as error:
            return self._answer_json({"error": str(error)}, HTTPStatus.CONFLICT)
        except VesalError as error:
            told = {"error": f"{type(error).__name__}: {error}"}
            return self._answer_json(told, HTTPStatus.BAD_REQUEST)
        self._answer_json({}, HTTPStatus.ACCEPTED)

    def _name(self) -> str | None:
        """What is asked for behind the token; None where the request was refused."""
        if self.headers.get("Host") not in self.server.hosts:
            self._refuse(HTTPStatus.FORBIDDEN, "this host is not served")
            return None
        _, _, rest = self.path.partition("?")[0].partition("/")
        token, slash, name = rest.partition("/")
        if not hmac.compare_digest(token.encode(), self.server.token.encode()) or not slash:
            self._refuse(HTTPStatus.FORBIDDEN, "the token is wrong; use the whole URL")
            return None
        return name

    def _stream(self) -> None:
        """Events as they come, until the page is left."""
        events = self.server.session.events
        queue = events.join()
        try:
            self._head(HTTPStatus.OK, "text/event-stream", None)
            self.wfile.write(b": open\n\n")
            while not self.server.closing.is_set() and not self._has_left():
                try:
                    event = queue.get(timeout=POLL_S)
                except Empty:
                    continue
                self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
        except OSError:
            log.debug("the page was left")
        finally:
            self.close_connection = True
            events.leave(queue)

    def _has_left(self) -> bool:
        """Whether the page closed its end: it sends nothing on a stream of events."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable)

    def _answer_json(self, values: dict[str, Any], status: HTTPStatus = HTTPStatus.OK) -> None:
        self._answer(json.dumps(values).encode(), "application/json", status)

    def _answer(self, content: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self._head(status, kind, len(content))
        self.wfile.write(content)

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        """A body that was sent is not read, so the connection ends."""
        self.close_connection = True
        self._answer(why.encode(), "text/plain; charset=utf-8", status)

    def _head(self, status: HTTPStatus, kind: str, length: int | None) -> None:
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        if length is not None:
            self.send_header("Content-Length", str(length))
        if self.close_connection or length is None:
            self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Paths hold the token: nothing is logged."""
