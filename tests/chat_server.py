"""A vision model's server on this machine that follows OpenAI's chat completions schema."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Asked:
    """One request."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def pictures(self) -> list[str]:
        parts = self.body["messages"][-1]["content"]
        return [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]


@dataclass
class Said:
    """One answer: a caption, or a whole answer of its own."""

    text: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    wait: threading.Event | None = None

    def body(self) -> bytes:
        if self.raw is not None:
            return self.raw
        message = {"role": "assistant", "content": self.text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return json.dumps({"object": "chat.completion", "choices": [choice]}).encode()


def error(status: int, message: str = "", code: str = "", **headers: str) -> Said:
    """An error as OpenAI words it; header names have _ for -."""
    raw = json.dumps({"error": {"message": message, "type": "x", "code": code}}).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Said(status=status, raw=raw, headers=named)


@dataclass
class Server:
    """Its address, what it was asked, and what it will say."""

    answer: Callable[[Asked, int], Said]
    port: int = 0
    asked: list[Asked] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"


@contextmanager
def serving(answer: Callable[[Asked, int], Said]) -> Iterator[Server]:
    """A server that answers request number 0, 1, 2 … by `answer(asked, number)`."""
    server = Server(answer)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            asked = Asked(self.path, dict(self.headers.items()), json.loads(data))
            server.asked.append(asked)
            said = answer(asked, len(server.asked) - 1)
            if said.wait:
                said.wait.wait(10)
            body = said.body()
            self.send_response(said.status)
            for name, value in {"Content-Length": str(len(body)), **said.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server.port = http.server_address[1]
    thread = threading.Thread(target=http.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
