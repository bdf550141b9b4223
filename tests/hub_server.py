"""A Hugging Face hub on this machine with one repository, as its client asks for it."""

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = (".safetensors", ".bin")
"""What the hub keeps as large files, with their SHA-256."""
_PIECE_BYTES = 64 << 10


@dataclass
class Hub:
    """Its address, what was fetched from it, and how it behaves."""

    port: int = 0
    fetched: list[str] = field(default_factory=list)
    sent_bytes: int = 0
    """Of contents."""
    files: dict[str, bytes] = field(default_factory=dict)
    commit: str = COMMIT
    gated: bool = False
    """It gives nothing without a token."""
    breaks_after_bytes: int | None = None
    """The next answer ends there, once."""
    pause_s: float = 0.0
    """Between pieces of 64 KiB."""
    portal: bytes | None = None
    """What something between answers to everything, with status 200."""
    ranges_from: int | None = None
    """Where it begins whatever it is asked for."""
    listed_bytes: int = 0
    """What it says that a large file has, instead of what it has."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def hub_with(name: str, folder: Path) -> Iterator[Hub]:
    """A hub that holds the files of `folder` as the repository `name`."""
    hub = Hub()
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    hub.files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, *, body: bool) -> None:
            path, _, query = self.path.partition("?")
            if hub.portal is not None:
                self._send(200, hub.portal, body)
            elif path.startswith(f"/api/models/{name}/tree/"):
                self._send(200, json.dumps(self._tree()).encode(), body)
            elif path in (f"/api/models/{name}", f"/api/models/{name}/revision/main",
                          f"/api/models/{name}/revision/{hub.commit}"):  # fmt: skip
                siblings = [self._sibling(f, blobs="blobs" in query) for f in hub.files]
                info = {"id": name, "sha": hub.commit, "private": False, "siblings": siblings}
                self._send(200, json.dumps(info).encode(), body)
            elif path.startswith(f"/api/models/{name}/revision/"):
                self._send(404, b'{"error": "Invalid rev id"}', body, code="RevisionNotFound")
            elif path.startswith(f"/{name}/resolve/"):
                self._file(path.removeprefix(f"/{name}/resolve/").partition("/")[2], body)
            else:
                self._send(404, b'{"error": "Repository not found"}', body, code="RepoNotFound")

        def _file(self, file: str, body: bool) -> None:
            if hub.gated and "authorization" not in self.headers:
                self._send(401, b'{"error": "Access is restricted"}', body, code="GatedRepo")
            elif file not in hub.files:
                self._send(404, b'{"error": "Entry not found"}', body, code="EntryNotFound")
            else:
                if body:
                    hub.fetched.append(file)
                self._send(200, hub.files[file], body, contents=True)

        def _tree(self) -> list[dict[str, object]]:
            return [{"type": "file", "path": f, "size": len(d), "oid": _tag(d)}
                    for f, d in hub.files.items()]  # fmt: skip

        def _sibling(self, file: str, *, blobs: bool) -> dict[str, object]:
            data = hub.files[file]
            told: dict[str, object] = {"rfilename": file}
            if blobs:
                large = file.endswith(LARGE)
                size = hub.listed_bytes if large and hub.listed_bytes else len(data)
                told |= {"size": size, "blobId": _tag(data)}
                if large:
                    digest = hashlib.sha256(data).hexdigest()
                    told["lfs"] = {"sha256": digest, "size": size, "pointerSize": 134}
            return told

        def _send(
            self, status: int, data: bytes, body: bool, code: str = "", contents: bool = False
        ) -> None:
            first = int(self.headers.get("Range", "bytes=0-")[6:].partition("-")[0])
            first = first if hub.ranges_from is None else hub.ranges_from
            if contents and "Range" in self.headers:
                status = 206
            self.send_response(status)
            if status == 206:
                self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
                data = data[first:]
            self.send_header("Content-Length", str(len(data)))
            self.send_header("ETag", f'"{_tag(data)}"')
            self.send_header("X-Repo-Commit", hub.commit)
            if code:
                self.send_header("X-Error-Code", code)
            self.end_headers()
            if body:
                self._write(data, contents)

        def _write(self, data: bytes, contents: bool) -> None:
            end = hub.breaks_after_bytes
            if contents and end is not None and len(data) > end:
                data, hub.breaks_after_bytes, self.close_connection = data[:end], None, True
            for start in range(0, len(data), _PIECE_BYTES):
                piece = data[start : start + _PIECE_BYTES]
                try:
                    self.wfile.write(piece)
                except OSError:
                    return  # whoever asked has gone
                hub.sent_bytes += len(piece) if contents else 0
                time.sleep(hub.pause_s if contents else 0)

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
