"""A Hugging Face hub on this machine with one repository."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """Its address, and the files that were fetched from it."""

    port: int = 0
    fetched: list[str] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def hub_with(name: str, folder: Path) -> Iterator[Hub]:
    """A hub that holds the files of `folder` as the repository `name`."""
    hub = Hub()
    files = {path.name: path.read_bytes() for path in folder.iterdir()}

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, *, body: bool) -> None:
            path = self.path.partition("?")[0]
            file = path.rpartition("/")[2]
            if path.startswith(f"/api/models/{name}/tree/"):
                tree = [{"type": "file", "path": f, "size": len(d), "oid": _tag(d)}
                        for f, d in files.items()]  # fmt: skip
                self._send(200, json.dumps(tree).encode(), body)
            elif path.startswith(f"/api/models/{name}"):
                siblings = [{"rfilename": f} for f in files]
                info = {"id": name, "sha": COMMIT, "private": False, "siblings": siblings}
                self._send(200, json.dumps(info).encode(), body)
            elif path.startswith(f"/{name}/resolve/") and file in files:
                if body:
                    hub.fetched.append(file)
                self._send(200, files[file], body)
            else:
                self._send(404, b'{"error": "Repository not found"}', body, code="RepoNotFound")

        def _send(self, status: int, data: bytes, body: bool, code: str = "") -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("ETag", f'"{_tag(data)}"')
            self.send_header("X-Repo-Commit", COMMIT)
            if code:
                self.send_header("X-Error-Code", code)
            self.end_headers()
            if body:
                self.wfile.write(data)

        def log_message(self, *args: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    hub.port = http.server_address[1]
    threading.Thread(target=http.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield hub
    finally:
        http.shutdown()
        http.server_close()


def _tag(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()
