"""What nobody should send, to the API and to the pages: refused in a sentence, or safe."""

from __future__ import annotations

import io
import json
import stat
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from loraloom.dataset import intake
from loraloom.studio.studio import Studio

API = "/api/v1"
TEXTS = {
    "NUL": "a\0b",
    "control": "a\x07\x1b[31m\nb",
    "surrogate": "a\ud800b",
    "bidi": "a\u202egnp.exe",
    "megabyte": "a" * 2**20,
    "script": "<script>alert(1)</script>",
    "traversal": "../../etc/passwd",
    "dots": "..",
    "empty": "",
    "spaces": "  ",
    "unassigned": "\U000e0001\uffff",
}
WRONG: dict[str, Any] = {
    "list": [], "object": {}, "null": None, "number": 1e308, "huge": 10**400, "negative": -1,
    "bool": True,
}  # fmt: skip


@pytest.fixture
def sha(studio: Studio, tmp_path: Path) -> str:
    """The one picture of the dataset cups."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.new("RGB", (96, 64), (1, 90, 200)).save(folder / "a.png")
    stored = studio.datasets.place("cups")
    intake.import_into(stored, [folder])
    return stored.working.pictures[0].sha256


def bodies(sha: str) -> list[tuple[str, str, dict[str, Any], str]]:
    """Method, path, a good body, and which of its values is replaced."""
    caption = f"{API}/datasets/cups/pictures/{sha}/caption"
    edits = f"{API}/datasets/cups/edits"
    return [
        ("POST", f"{API}/datasets", {"name": "new"}, "name"),
        ("POST", f"{API}/uploads", {"name": "a.png", "size": 3}, "name"),
        ("POST", f"{API}/uploads", {"name": "a.png", "size": 3}, "size"),
        ("PUT", caption, {"caption": "a cup"}, "caption"),
        ("PUT", caption, {"caption": "a cup", "given": "x"}, "given"),
        ("PUT", caption.replace("caption", "crop"), {"box": None}, "box"),
        ("POST", edits, {"add": ["word"], "dry_run": False}, "add"),
        ("POST", edits, {"replace": {"a": "b"}}, "replace"),
        ("POST", f"{API}/datasets/cups/moves", {"pictures": [sha], "concept": "c"}, "concept"),
        ("POST", f"{API}/datasets/cups/removals", {"pictures": ["0" * 64]}, "pictures"),
        ("POST", f"{API}/datasets/cups/versions", {"note": "why"}, "note"),
        ("POST", f"{API}/datasets/cups/restore", {"hash": "0000"}, "hash"),
        ("POST", f"{API}/datasets/cups/imports", {"uploads": ["0" * 32]}, "uploads"),
        ("POST", f"{API}/pictures", {"prompt": "a cup", "count": 1}, "prompt"),
        ("POST", f"{API}/pictures", {"prompt": "a cup", "base": "starter"}, "base"),
        ("POST", f"{API}/pictures", {"prompt": "a cup", "seed": 1}, "seed"),
        ("POST", f"{API}/jobs", {"settings": {}, "name": "run"}, "name"),
        ("POST", f"{API}/jobs", {"settings": {"base": "starter"}}, "settings"),
        ("POST", f"{API}/recipes", {"settings": {"base": "starter"}}, "settings"),
        ("POST", f"{API}/tokens", {"name": "a", "days": 3}, "name"),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", [*TEXTS, *WRONG])
def test_values_that_nobody_should_send(client: TestClient, sha: str, kind: str) -> None:
    value = {**TEXTS, **WRONG}[kind]
    for method, path, good, name in bodies(sha):
        for given in (value, [value], {"a": value}):
            body = json.dumps({**good, name: given})
            answer = client.request(
                method, path, content=body, headers={"Content-Type": "application/json"}
            )
            asked = f"{method} {path} {name}={kind}: {answer.status_code} {answer.text[:300]}"
            assert answer.status_code < 500, asked
            if answer.status_code >= 400:
                assert answer.headers["content-type"] == "application/problem+json", asked
                assert len(answer.json()["detail"]) < 20_000, asked
    for page in ("/", "/datasets", "/datasets/cups", "/play", "/jobs", "/adapters"):
        answer = client.get(page)
        assert answer.status_code in (200, 303, 404), page
        assert "<script>alert" not in answer.text


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"a"', b"\xff\xfe", b"[" * 100_000, b'{"name": NaN}']
)
def test_bodies_that_are_none(client: TestClient, sha: str, body: bytes) -> None:
    for method, path, _, _ in bodies(sha):
        answer = client.request(
            method, path, content=body, headers={"Content-Type": "application/json"}
        )
        assert 400 <= answer.status_code < 500, f"{method} {path}: {answer.status_code}"


@pytest.mark.parametrize("kind", TEXTS)
def test_forms_of_pages(client: TestClient, sha: str, kind: str) -> None:
    text = TEXTS[kind].encode("utf-8", "surrogatepass")
    for path, name in (
        ("/datasets", "name"), ("/play", "prompt"), ("/play/prompts", "prompt"),
        ("/imports", "dataset"), ("/imports", "upload"), ("/preferences", "language"),
        ("/sign-in", "name"), ("/train/new", "name"),
    ):  # fmt: skip
        answer = client.post(
            path, content=name.encode() + b"=" + b"".join(b"%%%02x" % c for c in text[:200_000]),
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )  # fmt: skip
        assert answer.status_code < 500, f"{path} {name}: {answer.status_code}"
        assert "<script>alert" not in answer.text


@pytest.mark.parametrize("query", ["%00", "%ff", "-1", "9" * 400, "%ed%a0%80", "..%2f..", "NaN"])
def test_paths_and_queries(client: TestClient, sha: str, query: str) -> None:
    for path in (
        f"/datasets/{query}", f"/datasets/cups/pictures?after={query}", f"/jobs/{query}",
        f"/datasets/cups/pictures?q={query}&v={query}", f"/adapters?q={query}&before={query}",
        f"/datasets/cups/pictures/{query}", f"/uploads/{query}", f"/pictures?before={query}",
        f"/jobs/1/files/{query}", f"/datasets/cups/export?to={query}", f"/grids/{query}",
        f"/datasets/cups/pictures?concept={query}&finding={query}",
        f"/datasets/cups/checks?base={query}", f"/people/audit?limit={query}",
    ):  # fmt: skip
        for url in (API + path, path):
            answer = client.get(url)
            assert answer.status_code < 500, f"{url}: {answer.status_code}"


@pytest.mark.parametrize(
    ("span", "offset"),
    [
        ("bytes 5-1/10", None), ("bytes -5-1/10", None), ("bytes 0-2/999", None),
        ("bytes 0-9/10", None), ("items 0-2/10", None), ("bytes 0-2/10, 3-4/10", None),
        ("bytes 99999999999999999999-3/4", None), ("", None), (None, "-1"), (None, "5"),
        (None, "9" * 30), (None, "x"), ("bytes 0-2/10", "4"), ("bytes 4-6/10", "0"),
    ],
)  # fmt: skip
def test_parts_that_lie_about_their_place(
    client: TestClient, span: str | None, offset: str | None
) -> None:
    made = client.post(f"{API}/uploads", json={"name": "a.zip", "size": 10}).json()
    path = f"{API}/uploads/{made['id']}"
    headers = {} if span is None else {"Content-Range": span}
    query = {} if offset is None else {"offset": offset}
    answer = client.put(path, content=b"abc", headers=headers, params=query)
    assert answer.status_code in (409, 413, 422), answer.text
    assert client.get(path).json()["offset"] == 0


def png(colour: int = 0) -> bytes:
    """A small picture."""
    out = io.BytesIO()
    Image.new("RGB", (64, 48), (colour, 2, 3)).save(out, "PNG")
    return out.getvalue()


def archive(kind: str) -> bytes:
    """A ZIP that is not as it should be."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("good.png", png())
        if kind == "bomb":
            made.writestr("bomb.png", bytes(64 * 2**20))
        elif kind == "link":
            entry = zipfile.ZipInfo("link.png")
            entry.external_attr = (stat.S_IFLNK | 0o777) << 16
            made.writestr(entry, "/etc/passwd")
        elif kind == "case":
            made.writestr("GOOD.png", png(9))
        elif kind == "long caption":
            made.writestr("good.txt", "a" * 2**20)
        elif kind == "NUL caption":
            made.writestr("good.txt", "a\0b")
        elif kind == "text as picture":
            made.writestr("bad.png", b"not a picture")
        else:
            made.writestr(kind, png(9))
    return out.getvalue()


@pytest.mark.parametrize(
    ("kind", "taken"),
    [
        ("../../x.png", False), ("/etc/x.png", False), ("C:\\x.png", False),
        ("a\\..\\..\\x.png", False), ("bomb", False), ("link", False), ("case", False),
        ("text as picture", False), ("long caption", False), ("NUL caption", True),
        ("a\u202eb.png", True), ("n" * 300 + ".png", True), ("con.png", True), ("inner.zip", None),
        ("__MACOSX/._x.png", True),
    ],
)  # fmt: skip
def test_zips(client: TestClient, home: Path, kind: str, taken: bool | None) -> None:
    data = archive(kind)
    made = client.post(f"{API}/uploads", json={"name": "x.zip", "size": len(data)}).json()
    client.put(f"{API}/uploads/{made['id']}?offset=0", content=data)
    answer = client.post(
        f"{API}/datasets/new/imports", json={"uploads": [made["id"]], "store": True}
    )
    assert answer.status_code < 500, answer.text
    there = client.get(f"{API}/datasets/new").status_code == 200
    if taken is not None:
        assert (answer.status_code == 200, there) == (taken, taken), answer.text
    if answer.status_code >= 400:
        assert answer.json()["detail"]
    assert not (home.parent / "x.png").exists()
    assert not any(part.name.startswith(".incoming") for part in home.rglob("*"))


def test_names_that_differ_in_case(client: TestClient) -> None:
    assert client.post(f"{API}/datasets", json={"name": "Cups"}).status_code == 201
    for name in ("cups", "CUPS"):
        answer = client.post(f"{API}/datasets", json={"name": name})
        assert answer.status_code in (409, 422), answer.text
    assert [one["name"] for one in client.get(f"{API}/datasets").json()] == ["Cups"]


def test_edits_at_once_lose_nothing(client: TestClient, sha: str) -> None:
    url = f"{API}/datasets/cups/pictures/{sha}/caption"
    before = client.get(url.removesuffix("/caption")).json()["caption"]

    def write(number: int) -> int:
        return client.put(url, json={"caption": f"n{number}", "given": before}).status_code

    with ThreadPoolExecutor(4) as pool:
        codes = list(pool.map(write, range(8)))
    assert codes.count(200) == 1 and set(codes) <= {200, 409}, codes
