"""Captions of a stored dataset alone: out, edited elsewhere, in again; and what each leaves out."""

import csv
import io
import json
import tracemalloc
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from loraloom.captions import completeness, exchange
from loraloom.captions.completeness import matrix
from loraloom.captions.exchange import Given, Shape
from loraloom.dataset import intake
from loraloom.dataset.snapshot import Contents, Picture
from loraloom.dataset.stored import StoredDataset
from loraloom.errors import CaptionEditInvalid
from loraloom.kinds import Kind
from loraloom.settings import intake_limits
from loraloom.studio.studio import Studio

API = "/api/v1/datasets/cups"


def picture(number: int, name: str, caption: str = "", concept: str = "main") -> Picture:
    return Picture(f"{number:064x}", caption, concept, name, 32, 32, "PNG")


SET = Contents(
    (
        picture(1, "a.png", "one, two", "red"), picture(2, "a.jpg", "=three", "blue"),
        picture(3, "ß.png", "圖, \"quoted\"", "blue"), picture(4, "d.png", "", "red"),
    )
)  # fmt: skip


@pytest.fixture
def cups(studio: Studio, pictures: Path) -> StoredDataset:
    """Six captioned pictures."""
    stored = studio.datasets.place("cups")
    intake.import_into(stored, [pictures])
    return stored


@pytest.mark.parametrize(
    ("shape", "name"), [("txt", "c.zip"), ("csv", "c.csv"), ("jsonl", "c.jsonl")]
)
def test_what_goes_out_comes_in_as_it_was(shape: Shape, name: str, tmp_path: Path) -> None:
    path = tmp_path / "out"
    exchange.write(SET, shape, path)
    given = exchange.read(path, name, intake_limits())
    emptied = Contents(tuple(replace(one, caption="x") for one in SET.pictures))
    taken = exchange.take(emptied, given)
    assert (taken.unknown, taken.ambiguous) == ((), ())
    after = {change.sha256: change.after for change in taken.changes}
    wanted = {p.sha256: p.caption for p in SET.pictures if p.caption or shape != "txt"}
    assert after == wanted
    assert exchange.take(SET, given).changes == ()
    assert exchange.take(SET, given).same == len(wanted)


def test_a_table_is_what_a_spreadsheet_reads(tmp_path: Path) -> None:
    exchange.write(SET, "csv", tmp_path / "out")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out").read_text(encoding="utf-8"))))
    assert rows[0] == {
        "file_name": "a.png", "text": "one, two", "concept": "red", "sha256": f"{1:064x}"
    }  # fmt: skip
    assert rows[1]["text"] == "'=three"  # no formula


def test_names_that_fit_several_pictures_or_none() -> None:
    given = [
        Given("a", "new"), Given("A.PNG", "by name"), Given("a", "by concept", "blue"),
        Given("deep/folder/d.png", "by its end"), Given("nobody", "x"),
        Given("whatever", "by hash", sha256=f"{3:064x}"),
    ]  # fmt: skip
    taken = exchange.take(SET, given)
    assert {change.after for change in taken.changes} == {
        "by name", "by concept", "by its end", "by hash"
    }  # fmt: skip
    assert (taken.unknown, taken.ambiguous) == (("nobody",), ("a",))


def test_names_that_are_no_text_can_be_told(client: TestClient, cups: StoredDataset) -> None:
    data = b'{"file_name": "a\\ud800\\u0000.png", "text": "x \\ud800"}'
    sent = client.post("/datasets/cups/wording/file", files={"file": ("c.jsonl", data)})
    page = client.get(sent.headers["location"].partition("#")[0])
    assert page.status_code == 200
    assert "a?.png" in page.text


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("c.csv", b"picture,words\n1,2\n", "no file_name or no text, but picture, words"),
        ("c.jsonl", b'{"file_name": "a"\n', "c.jsonl cannot be read"),
        (
            "c.jsonl",
            b'{"file_name": "a", "text": "b"}\n\n{"file_name"}\n',
            "after line 1: .* column 13",
        ),
        ("c.jsonl", b'{"file_name": "a", "text": "b"}\n{"name": "a"}\n', "line 2 has no file_name"),
        ("c.png", b"\x89PNG", "holds no caption"),
        ("c.zip", b"no zip", "is not a ZIP"),
        ("c.txt", b"x" * 9000, "8,192"),
    ],
)
def test_other_files_are_refused(name: str, data: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / "given").write_bytes(data)
    with pytest.raises(CaptionEditInvalid, match=told):
        exchange.read(tmp_path / "given", name, intake_limits())


def test_captions_out_and_in_by_the_page(client: TestClient, cups: StoredDataset) -> None:
    known = {one.name: one.caption for one in cups.working.pictures}
    answer = client.get(f"{API}/captions?to=txt")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
        assert packed.read("0.txt").decode() == known["0.png"] + "\n"
    table = client.get(f"{API}/captions?to=jsonl").text
    rows = [json.loads(line) for line in table.splitlines()]
    rows[0]["text"] = "zk person, edited elsewhere"
    rows.append({"file_name": "other.png", "text": "x"})
    data = "\n".join(map(json.dumps, rows)).encode()
    sent = client.post("/datasets/cups/wording/file", files={"file": ("captions.jsonl", data)})
    assert sent.status_code == 303
    place = sent.headers["location"].partition("#")[0]
    html = client.get(place).text
    assert "The file would change 1 caption" in html
    assert "other.png" in html
    assert {one.name: one.caption for one in cups.working.pictures} == known
    upload = place.partition("taken=")[2]
    client.post("/datasets/cups/wording/take", data={"taken": upload, "seen": _seen(html)})
    assert cups.working.pictures[0].caption == "zk person, edited elsewhere"
    assert client.get(f"/api/v1/uploads/{upload}").status_code == 404
    client.post("/datasets/cups/undo")
    assert {one.name: one.caption for one in cups.working.pictures} == known
    broken = client.post("/datasets/cups/wording/file", files={"file": ("c.csv", b"a,b\n1,2\n")})
    assert broken.status_code == 422


def test_captions_in_by_the_api(client: TestClient, cups: StoredDataset) -> None:
    asked = {
        "captions": [{"name": "1.png", "text": " zk person,  new "}, {"name": "9", "text": ""}]
    }
    told = client.post(f"{API}/captions", json=asked | {"dry_run": True}).json()
    assert [one["after"] for one in told["changed"]] == ["zk person, new"]
    assert (told["unknown"], told["same"]) == (["9"], 0)
    assert cups.working.pictures[1].caption != "zk person, new"
    client.post(f"{API}/captions", json=asked)
    assert cups.working.pictures[1].caption == "zk person, new"


def test_what_captions_leave_out(client: TestClient, cups: StoredDataset) -> None:
    cups.set_concepts([replace(one, trigger="zk person") for one in cups.working.concepts])
    first, second, third, *rest = cups.working.pictures
    whole = "zk person, gentle smile, looking at viewer, red coat, city street, natural lighting"
    texts = {
        first.sha256: whole, second.sha256: "zk person, gentle smile, city street", third.sha256: ""
    }  # fmt: skip
    cups.set_captions(texts | {one.sha256: whole for one in rest})
    client.post(f"{API}/checks", json={"kind": "character", "base": "starter"})
    facets = ["expression", "eye_direction", "clothing", "background", "lighting"]
    told = client.get(f"{API}/completeness").json()
    assert told["facets"] == facets
    assert (told["pictures"], told["incomplete"], told["next"]) == (6, 2, None)
    assert {row["sha256"]: row["missing"] for row in told["rows"]} == {
        second.sha256: ["eye_direction", "clothing", "lighting"], third.sha256: facets
    }  # fmt: skip
    page = client.get(f"{API}/completeness?all=true&limit=4").json()
    assert (len(page["rows"]), page["next"]) == (4, page["rows"][-1]["sha256"])
    behind = client.get(f"{API}/completeness?all=true&after={page['next']}").json()
    assert len(behind["rows"]) == 2
    assert "facet-rows" not in client.get("/datasets/cups/captions").text  # but asked for
    html = client.get("/datasets/cups/captions?rows=incomplete").text
    table = html.split('id="facet-rows"')[1].split("</tbody>")[0]
    assert table.count("<tr>") == 2
    assert table.count('class="gap"') == 8
    assert f"/images/{second.sha256}" in table
    every = client.get("/datasets/cups/captions?rows=all").text
    assert every.split('id="facet-rows"')[1].split("</tbody>")[0].count("<tr>") == 6
    assert matrix(cups.working, Kind.STYLE, "starter").incomplete == ()


def test_a_caption_of_one_concept_goes_to_no_other() -> None:
    given = [Given("ß", "x", "red"), Given("d", "y", "elsewhere")]
    taken = exchange.take(SET, given)
    assert [change.after for change in taken.changes] == ["y"]
    assert taken.unknown == ("ß",)


def test_of_two_rows_for_one_picture_the_last_holds() -> None:
    assert exchange.take(SET, [Given("d", "new"), Given("d", "")]).changes == ()
    (change,) = exchange.take(SET, [Given("d", ""), Given("d", "new")]).changes
    assert change.after == "new"


def test_pictures_of_one_name_in_a_concept_find_their_captions(tmp_path: Path) -> None:
    names = ("a.png", "a.jpg", "a-22220000.png", "b.png", "b.png.jpg")
    shas = [f"{digit}" * 4 + "0" * 60 for digit in range(1, 6)]
    kept = Contents(
        tuple(
            Picture(sha, f"of {sha[:4]}", "red", name, 32, 32, "PNG")
            for sha, name in zip(shas, names, strict=True)
        )
    )
    exchange.write(kept, "txt", tmp_path / "out")
    given = exchange.read(tmp_path / "out", "c.zip", intake_limits())
    taken = exchange.take(kept, given)
    assert (taken.same, taken.unknown, taken.ambiguous) == (5, (), ())


@pytest.mark.parametrize("name", ["c.jsonl", "c.zip"])
def test_so_much_and_no_more_is_taken(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = json.dumps({"file_name": "n" * 600, "text": "x"}) + "\n"
    path = tmp_path / "given"

    def read(rows: int) -> list[Given]:
        if name == "c.zip":
            with zipfile.ZipFile(path, "w") as packed:
                for part in range(rows):
                    packed.writestr(f"{part}.jsonl", row)
        else:
            path.write_text(row * rows)
        return exchange.read(path, name, intake_limits())

    monkeypatch.setattr(exchange, "MOST_ROWS", 3)
    assert [len(one.name) for one in read(3)] == [500] * 3
    with pytest.raises(CaptionEditInvalid, match="split it"):
        read(4)
    monkeypatch.setattr(exchange, "MOST_BYTES", 2 * len(row))
    assert len(read(2)) == 2
    with pytest.raises(CaptionEditInvalid, match=r"split it|has more than"):
        read(3)


def test_a_large_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    with (tmp_path / "given").open("wb") as stream:
        stream.truncate(500 * 2**20)
    tracemalloc.start()
    try:
        with pytest.raises(CaptionEditInvalid, match="has more than"):
            exchange.read(tmp_path / "given", "c.txt", intake_limits())
        assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    finally:
        tracemalloc.stop()


def test_a_file_is_shown_again_where_captions_changed(
    client: TestClient, cups: StoredDataset
) -> None:
    data = b'{"file_name": "0.png", "text": "from the file"}'
    sent = client.post("/datasets/cups/wording/file", files={"file": ("c.jsonl", data)})
    place = sent.headers["location"].partition("#")[0]
    asked = {"taken": place.partition("taken=")[2], "seen": _seen(client.get(place).text)}
    cups.set_captions({cups.working.pictures[0].sha256: "by somebody else"})
    again = client.post("/datasets/cups/wording/take", data=asked)
    assert again.headers["location"].startswith(place)
    html = client.get(place).text
    assert "was changed meanwhile" in html
    assert cups.working.pictures[0].caption == "by somebody else"
    client.post("/datasets/cups/wording/take", data=asked | {"seen": _seen(html)})
    assert cups.working.pictures[0].caption == "from the file"


def _seen(html: str) -> str:
    return html.split('name="seen" value="')[1].split('"')[0]


def test_rows_go_on_behind_a_picture_that_was_mended(
    client: TestClient, cups: StoredDataset
) -> None:
    cups.set_captions({one.sha256: "" for one in cups.working.pictures})
    client.post(f"{API}/checks", json={"kind": "character", "base": "starter"})
    page = client.get(f"{API}/completeness?limit=3").json()
    whole = "gentle smile, looking at viewer, red coat, city street, natural lighting"
    cups.set_captions({page["next"]: whole})
    behind = client.get(f"{API}/completeness?after={page['next']}").json()
    assert [row["sha256"] for row in behind["rows"]] == [
        picture.sha256 for picture in cups.working.pictures[3:]
    ]


def test_only_what_was_edited_is_read_again(
    cups: StoredDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    usual = completeness.read
    monkeypatch.setattr(completeness, "read", lambda *given: read.append(given[0]) or usual(*given))
    matrix(cups.working, Kind.STYLE, "starter")
    assert read == []
    matrix(cups.working, Kind.CHARACTER, "starter")
    read.clear()
    cups.set_captions({cups.working.pictures[0].sha256: "a caption that nobody had"})
    matrix(cups.working, Kind.CHARACTER, "starter")
    assert {*read} == {"a caption that nobody had"}
