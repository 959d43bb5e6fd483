"""A real HTTP server that speaks chat completions, as well or as badly as a test wants."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# What is done with a request: its body, and how often its question and seed came before.
Behaviour = Callable[[dict[str, Any], int], "Reply"]


class Reply:
    """An HTTP reply: JSON, or raw bytes; after so many seconds; perhaps cut in the middle."""

    def __init__(
        self, body: Any, status: int = 200, seconds: float = 0.0, cut: bool = False,
        kind: str = "application/json",
    ) -> None:  # fmt: skip
        self.content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.status, self.seconds, self.cut, self.kind = status, seconds, cut, kind


def completion(text: str | None, finish: str = "stop", **message: Any) -> Reply:
    """What a server answers that wrote a text."""
    choice = {
        "index": 0,
        "finish_reason": finish,
        "message": {"role": "assistant", "content": text, **message},
    }
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    return Reply(
        {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice],
         "usage": usage}
    )  # fmt: skip


class ChatServer(ThreadingHTTPServer):
    """Remembers every request; its address is `url`."""

    def __init__(self, behaviour: Behaviour) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behaviour = behaviour
        self.bodies: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self.times: Counter[tuple[str, int]] = Counter()
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: ChatServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = body["messages"][0]["content"], body["seed"]
        with server.lock:
            server.bodies.append(body)
            server.keys.add(self.headers["Authorization"])
            before = server.times[name]
            server.times[name] += 1
            server.at_once += 1
            server.most_at_once = max(server.most_at_once, server.at_once)
        try:
            reply = server.behaviour(body, before)
            time.sleep(reply.seconds)
            self.send_response(reply.status)
            self.send_header("Content-Type", reply.kind)
            self.send_header("Content-Length", str(len(reply.content)))
            self.send_header("retry-after-ms", "1")  # so that tests don't wait for the client
            self.end_headers()
            sent = len(reply.content) // (2 if reply.cut else 1)
            self.wfile.write(reply.content[:sent])
            self.close_connection = reply.cut
        finally:
            with server.lock:
                server.at_once -= 1

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def chat_server(behaviour: Behaviour) -> Iterator[ChatServer]:
    """A server that runs as long as the block."""
    server = ChatServer(behaviour)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
