"""Datasets in the studio: the pages, uploads in parts, imports, captions, versions, checks."""

import io
import random
import re
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bench.photographs import photograph
from bench.planted_faults import copy_of, write_captioned
from fastapi.testclient import TestClient
from PIL import Image

from loraloom.dataset import gallery, intake
from loraloom.dataset.snapshot import Concept
from loraloom.dataset.stored import StoredDataset
from loraloom.studio.checks import Aim, Checks, Running
from loraloom.studio.studio import Studio

API = "/api/v1/datasets/cups"


@pytest.fixture
def cups(studio: Studio, pictures: Path) -> StoredDataset:
    """Six captioned pictures."""
    stored = studio.datasets.place("cups")
    intake.import_into(stored, [pictures])
    return stored


def packed(count: int = 3) -> bytes:
    """A ZIP of pictures that no other test has, and a file that is no picture."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(count):
            picture = io.BytesIO()
            Image.new("RGB", (64, 48), (number, 200, 17)).save(picture, "PNG")
            archive.writestr(f"{number}.png", picture.getvalue())
            archive.writestr(f"{number}.txt", f"a cup, number {number}")
    return buffer.getvalue()


def upload(client: TestClient, data: bytes, name: str = "cups.zip") -> str:
    """The number of an upload that came whole."""
    made = client.post("/api/v1/uploads", json={"name": name, "size": len(data)})
    assert made.status_code == 201
    number: str = made.json()["id"]
    assert client.put(f"/api/v1/uploads/{number}?offset=0", content=data).status_code == 200
    return number


def settled(client: TestClient, url: str) -> str:
    """The page of an import that ended."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        html = client.get(url).text
        if "every 700ms" not in html:
            return html
        time.sleep(0.1)
    raise AssertionError("the import did not end")


def test_first_page_and_empty_dataset(client: TestClient) -> None:
    assert "Bring your pictures" in client.get("/datasets").text
    made = client.post("/datasets", data={"name": "cups"})
    assert made.headers["location"] == "/datasets/cups"
    assert "No picture yet" in client.get("/datasets/cups").text
    assert client.post("/datasets", data={"name": "../x"}).status_code == 422
    assert client.post("/datasets", data={"name": "cups"}).status_code == 422


def test_removed_datasets_come_back(client: TestClient, cups: StoredDataset) -> None:
    assert client.post("/datasets/cups/remove").status_code == 303
    assert client.get("/datasets/cups").status_code == 404
    assert "/datasets/cups/recover" in client.get("/datasets").text
    client.post("/datasets/cups/recover")
    assert client.get(API).json()["pictures"] == 6


def test_upload_goes_on_where_it_ended(client: TestClient) -> None:
    data = packed()
    made = client.post("/api/v1/uploads", json={"name": "a/cups.zip", "size": len(data)}).json()
    path = f"/api/v1/uploads/{made['id']}"
    assert client.put(f"{path}?offset=0", content=data[:100]).json()["offset"] == 100
    wrong = client.put(f"{path}?offset=50", content=data[50:])
    assert (wrong.status_code, "goes on at byte 100" in wrong.json()["detail"]) == (409, True)
    assert client.get(path).json()["offset"] == 100
    early = client.post(f"{API}/imports", json={"uploads": [made["id"]]})
    assert (early.status_code, "not complete" in early.json()["detail"]) == (409, True)
    span = f"bytes 100-{len(data) - 1}/{len(data)}"
    done = client.put(path, content=data[100:], headers={"Content-Range": span})
    assert done.json()["offset"] == len(data)
    assert client.put(f"{path}?offset={len(data)}", content=b"more").status_code == 413
    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == 404
    assert client.get("/api/v1/uploads/..%2f..%2fstudio.db").status_code == 404


def test_uploads_have_limits(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORALOOM_MAX_IMPORT_GIB", "1")
    refused = client.post("/api/v1/uploads", json={"name": "x.zip", "size": 2**31})
    assert refused.status_code == 413
    assert client.post("/api/v1/uploads", json={"name": "x", "size": -1}).status_code == 422


def test_import_is_looked_at_and_then_stored(client: TestClient) -> None:
    number = upload(client, packed())
    seen = client.post(f"{API}/imports", json={"uploads": [number]}).json()
    assert (len(seen["new"]), seen["stored"], seen["can_store"]) == (3, False, True)
    assert client.get(API).status_code == 404
    stored = client.post(f"{API}/imports", json={"uploads": [number], "store": True}).json()
    assert stored["stored"]
    assert client.get(API).json()["pictures"] == 3
    assert client.get(f"/api/v1/uploads/{number}").status_code == 404


def test_import_page_shows_what_comes(client: TestClient) -> None:
    bad = upload(client, b"not a picture", "bad <b>.png")
    good = upload(client, packed(2))
    begun = client.post("/imports", data={"dataset": "cups", "upload": [bad, good]})
    url = begun.headers["location"]
    html = settled(client, url)
    assert "2 new pictures" in html
    assert "bad &lt;b&gt;.png" in html
    assert "import the rest" in html
    sha = html.partition("/thumbs/")[2][:64]
    assert client.get(f"{url}/thumbs/{sha}").headers["content-type"] == "image/webp"
    assert client.get(f"{url}/thumbs/{'0' * 64}").status_code == 404
    client.post(f"{url}/store", data={"skip_broken": "true"})
    assert "It is in the dataset" in settled(client, url)
    assert client.get(API).json()["pictures"] == 2


def test_files_of_a_form_need_no_script(client: TestClient, pictures: Path) -> None:
    files = [("files", (path.name, path.read_bytes())) for path in sorted(pictures.iterdir())]
    begun = client.post("/imports", data={"dataset": "plain"}, files=files)
    assert "6 new pictures" in settled(client, begun.headers["location"])
    left = client.post(f"{begun.headers['location']}/leave")
    assert left.headers["location"] == "/datasets"
    assert client.get("/api/v1/datasets").json() == []


def test_a_folder_keeps_its_concepts(client: TestClient, pictures: Path) -> None:
    picture = (pictures / "0.png").read_bytes()
    other = (pictures / "1.png").read_bytes()
    numbers = [upload(client, picture, "set/red/a.png"), upload(client, other, "set/blue/b.png")]
    client.post(f"{API}/imports", json={"uploads": numbers, "store": True})
    names = {concept["name"] for concept in client.get(API).json()["concepts"]}
    assert names == {"red", "blue"}


def test_gallery_has_sixty_a_page(client: TestClient, studio: Studio, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(70):
        Image.new("RGB", (20, 20), (number, 0, 0)).save(folder / f"{number:02}.png")
    intake.import_into(studio.datasets.place("cups"), [folder])
    html = client.get("/datasets/cups").text
    assert html.count('class="shot"') == 60
    first = client.get(f"{API}/pictures").json()
    assert (len(first["pictures"]), first["total"]) == (60, 70)
    rest = client.get(f"{API}/pictures", params={"after": first["next"]}).json()
    assert (len(rest["pictures"]), rest["next"]) == (10, None)
    assert client.get(f"/datasets/cups?after={first['next']}").text.count('class="shot"') == 10


def test_search_and_facets(client: TestClient, cups: StoredDataset) -> None:
    found = client.get(f"{API}/pictures", params={"q": "SHADE 3"}).json()
    assert [one["caption"] for one in found["pictures"]] == [
        "zk person, front view, shade 3, outdoors"
    ]
    cups.set_captions({found["pictures"][0]["sha256"]: ""})
    assert client.get(f"{API}/pictures?finding=no-caption").json()["total"] == 1
    assert "Without caption" in client.get("/datasets/cups").text
    assert "Nothing found" in client.get("/datasets/cups?q=nothing").text


def test_captions_are_not_overwritten(client: TestClient, cups: StoredDataset) -> None:
    picture = cups.working.pictures[0]
    path = f"{API}/pictures/{picture.sha256}/caption"
    new = client.put(path, json={"caption": " a new\tone ", "given": picture.caption})
    assert new.json()["caption"] == "a new one"
    late = client.put(path, json={"caption": "mine", "given": picture.caption})
    assert late.status_code == 409
    assert "“a new one”" in late.json()["detail"]
    assert "“mine”" in late.json()["detail"]
    page = client.post(
        f"/datasets/cups/captions/{picture.sha256}", data={"caption": "x", "given": "a new one"}
    )
    assert page.status_code == 303
    assert cups.working.pictures[0].caption == "x"
    client.post("/datasets/cups/undo")
    assert cups.working.pictures[0].caption == "a new one"
    assert client.put(path, json={"caption": "y" * 9000}).status_code == 422


def test_many_at_once(client: TestClient, cups: StoredDataset) -> None:
    shas = [picture.sha256 for picture in cups.working.pictures]
    bulk = "/datasets/cups/bulk"
    client.post(bulk, data={"action": "add", "tag": "soft light", "sha": shas[:2]})
    assert [p.caption.endswith(", soft light") for p in cups.working.pictures].count(True) == 2
    client.post(bulk, data={"action": "remove", "tag": "outdoors", "everything": "true"})
    assert not any("outdoors" in picture.caption for picture in cups.working.pictures)
    client.post(bulk, data={"action": "move", "to": "red", "sha": shas[0]})
    assert cups.working.counts() == {"main": 5, "red": 1}
    client.post(bulk, data={"action": "take-out", "sha": shas[:3]})
    assert client.get(API).json()["pictures"] == 3
    client.post("/datasets/cups/undo")
    assert client.get(API).json()["pictures"] == 6
    assert client.post(bulk, data={"action": "take-out"}).status_code == 422
    assert client.post(bulk, data={"action": "add", "sha": shas[0]}).status_code == 422


def test_versions(client: TestClient, cups: StoredDataset) -> None:
    client.post("/datasets/cups/versions", data={"note": "as it was"})
    before = cups.working
    cups.discard([before.pictures[0].sha256])
    html = client.get(f"/datasets/cups/versions?old={before.hash[:12]}").text
    assert "as it was" in html
    assert "Taken out" in html
    changed = client.get(f"{API}/difference?old={before.hash[:12]}").json()
    assert changed["removed"] == [before.pictures[0].sha256]
    assert client.get(f"/datasets/cups?v={before.hash[:12]}").text.count('class="shot"') == 6
    client.post(f"/datasets/cups/versions/{before.hash[:12]}/restore")
    assert cups.working == before


def test_an_old_version_is_looked_at_and_trained(client: TestClient, cups: StoredDataset) -> None:
    whole = cups.snapshot()
    gone, seen = (picture.sha256 for picture in cups.working.pictures[:2])
    cups.discard([gone])
    html = client.get("/datasets/cups", params={"v": whole[:12], "q": "zk"}).text
    assert f'href="/train/new?dataset=cups&amp;version={whole}"' in html.replace("&v", "&amp;v")
    assert f'/images/{gone}?q=zk&amp;v={whole[:12]}"' in html
    form = client.get("/train/new", params={"dataset": "cups", "version": whole[:12]}).text
    assert f'<option value="{whole}" selected>' in form
    assert "version=" not in client.get("/datasets/cups").text
    one = client.get(f"/datasets/cups/images/{gone}?v={whole[:12]}").text
    assert "as it was kept" in one
    assert f'href="/datasets/cups/images/{seen}?v={whole[:12]}"' in one
    assert "Take it out of the dataset" not in one
    assert "readonly" in one
    assert client.get(f"/datasets/cups/images/{gone}").status_code == 404
    assert client.get(f"{API}/pictures/{gone}").status_code == 404
    assert client.get(f"{API}/pictures/{gone}?v={whole[:12]}").json()["sha256"] == gone


def test_tags_of_the_set_are_offered(client: TestClient, cups: StoredDataset) -> None:
    html = client.get("/datasets/cups").text
    offered = re.findall(r'<option value="([^"]*)">', html.split('<datalist id="tags">')[1])
    assert "front view" in offered
    assert all(len(tag) <= 60 for tag in offered)


def test_tags_are_counted_once_and_only_for_a_form(
    client: TestClient, cups: StoredDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.get("/datasets/cups")
    monkeypatch.setattr(gallery, "_COMMAS", None)
    assert client.get("/datasets/cups").status_code == 200
    cups.set_captions({cups.working.pictures[0].sha256: "another"})
    first = cups.working.pictures[0].sha256
    assert client.get(f"/datasets/cups?after={first}").status_code == 200


def test_concepts(client: TestClient, cups: StoredDataset) -> None:
    row = {"concept": "main", "trigger": "zk person", "repeats": 4}
    client.post("/datasets/cups/concepts", data=row)
    assert [vars(one) for one in cups.working.concepts] == [
        {"name": "main", "trigger": "zk person", "repeats": 4}
    ]
    client.post("/datasets/cups/concepts", data={"balance": "1"})
    assert cups.working.concepts[0].repeats == 1


@pytest.mark.parametrize("to", ["zip", "kohya", "ai-toolkit", "diffusers"])
def test_exports(client: TestClient, cups: StoredDataset, to: str, home: Path) -> None:
    answer = client.get(f"{API}/export", params={"to": to})
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        names = archive.namelist()
        assert sum(name.endswith(".png") for name in names) == 6
        if to == "kohya":
            assert 'image_dir = "1_main"' in archive.read("dataset.toml").decode()
    assert not list((home / "cache" / "exports").iterdir())


def test_thumbs_and_originals(client: TestClient, cups: StoredDataset, pictures: Path) -> None:
    sha = cups.working.pictures[0].sha256
    first = client.get(f"{API}/thumbs/{sha}?px=256")
    assert first.headers["content-type"] == "image/webp"
    assert "immutable" in first.headers["cache-control"]
    assert Image.open(io.BytesIO(first.content)).size == (40, 40)
    again = client.get(
        f"{API}/thumbs/{sha}?px=256", headers={"If-None-Match": first.headers["etag"]}
    )
    assert again.status_code == 304
    assert client.get(f"{API}/thumbs/{sha}?px=77").status_code == 422
    assert client.get(f"{API}/thumbs/{'0' * 64}").status_code == 404
    whole = client.get(f"{API}/originals/{sha}")
    assert whole.content == (pictures / "0.png").read_bytes()
    assert whole.headers["content-disposition"].startswith("attachment")


def test_image_page_and_crop(client: TestClient, cups: StoredDataset) -> None:
    sha = cups.working.pictures[1].sha256
    html = client.get(f"/datasets/cups/images/{sha}").text
    assert 'rel="prev"' in html
    assert 'rel="next"' in html
    assert "tokens" in html
    crop = {"left": 4, "top": 4, "width": 24, "height": 30}
    client.post(f"/datasets/cups/images/{sha}/crop", data=crop)
    assert cups.working.pictures[1].crop == (4, 4, 24, 30)
    outside = client.post(f"/datasets/cups/images/{sha}/crop", data=crop | {"left": 39})
    assert outside.status_code == 422
    client.post(f"/datasets/cups/images/{sha}/crop", data=crop | {"whole": "true"})
    assert cups.working.pictures[1].crop is None


def test_image_page_tells_what_the_caption_says(client: TestClient, cups: StoredDataset) -> None:
    picture, trigger = cups.working.pictures[1], "zk cup"
    cups.set_concepts([Concept(picture.concept, trigger)])
    url = f"/datasets/cups/images/{picture.sha256}"
    told = client.post(f"{url}/reading", data={"caption": f"{trigger}, smiling, <b>"}).text
    assert f'<span class="trigger" title="Trigger">{trigger}</span>' in told
    assert 'title="can be asked for: Expression">smiling<' in told
    assert "&lt;b&gt;" in told
    assert "<html" not in told
    chinese = client.post(
        f"{url}/reading", data={"caption": "smiling"}, headers={"Accept-Language": "zh-TW"}
    )
    assert "可由提示詞指定：表情" in chinese.text
    assert cups.working.pictures[1] == picture  # nothing was written


def test_an_earlier_caption_is_taken_again(client: TestClient, cups: StoredDataset) -> None:
    sha, before = cups.working.pictures[1].sha256, cups.working.pictures[1].caption
    url = f"/datasets/cups/images/{sha}"
    assert before in client.get(url).text
    assert "No earlier caption is kept" in client.get(f"{url}?history=1").text
    cups.set_captions({sha: "something else"}, "a caption")
    html = client.get(f"{url}?history=1").text
    taken = {"caption": before, "given": "something else", "then": url}
    for name, value in taken.items():
        assert f'<input type="hidden" name="{name}" value="{value}">' in html
    client.post(f"/datasets/cups/captions/{sha}", data=taken)
    assert cups.working.pictures[1].caption == before


def test_the_size_of_pictures_is_remembered(client: TestClient, cups: StoredDataset) -> None:
    assert 'class="gallery medium"' in client.get("/datasets/cups").text
    then = "/datasets/cups?q=zk"
    answer = client.post("/preferences/size", data={"size": "large", "then": then})
    assert answer.headers["location"] == then
    html = client.get(then).text
    assert 'class="gallery large"' in html
    assert (
        'value="large" title="large pictures" aria-label="large pictures" aria-pressed="true"'
        in html
    )
    client.post("/preferences/size", data={"size": '"><script>'})
    assert 'class="gallery medium"' in client.get(then).text


def test_datasets_are_found_by_name(client: TestClient, cups: StoredDataset) -> None:
    for name in ("Mira at home", "mira outside", "houses"):
        client.post("/datasets", data={"name": name})
    html = client.get("/datasets", params={"q": "home MIRA"}).text
    assert "Mira at home" in html
    assert "mira outside" not in html
    assert "No dataset is called so" in client.get("/datasets?q=zebra").text


def test_captions_page_shows_before_it_changes(client: TestClient, cups: StoredDataset) -> None:
    asked = {"action": "replace", "tag": "front view", "with": "profile"}
    html = client.get("/datasets/cups/captions", params=asked).text
    assert "6 captions would change" in html
    assert "outdoors" in html
    assert "front view" in cups.working.pictures[0].caption
    client.post("/datasets/cups/wording", data=asked)
    assert all("profile" in picture.caption for picture in cups.working.pictures)
    assert client.get("/datasets/cups/captions?action=fix").status_code == 200


def test_checks_run_beside_the_server(client: TestClient, cups: StoredDataset) -> None:
    assert "Not checked yet" in client.get("/datasets/cups/checks").text
    wanted = {"kind": "character", "base": "starter"}
    client.post("/datasets/cups/checks", data=wanted)
    body = _checked(client)
    codes = {finding["code"] for finding in body["findings"]}
    assert "too-few" in codes
    assert "low-resolution" in codes
    assert body["fresh"]
    assert all(one["sha256"] for one in body["findings"] if one["item"])
    html = client.get("/datasets/cups/checks").text
    assert "Too few pictures" in html
    assert "/thumbs/" in html
    small = client.get("/datasets/cups?finding=low-resolution").text
    assert small.count('class="shot"') == 6
    taken = cups.working.pictures[0].sha256
    client.post("/datasets/cups/checks/take-out", data={"sha": [taken]})
    assert _checked(client)["pictures"] == 5


@pytest.fixture
def twins(studio: Studio, tmp_path: Path) -> StoredDataset:
    """Three pictures, the first one also smaller and the second one also mirrored."""
    folder, rng = tmp_path / "twins", random.Random(3)
    folder.mkdir()
    for number in range(3):
        picture, words = photograph(160)(rng)
        write_captioned(folder / f"{number}.png", picture, words)
        if number == 0:
            write_captioned(folder / "small.png", copy_of(picture, "resized", rng), words)
        if number == 1:
            write_captioned(folder / "turned.png", copy_of(picture, "mirrored", rng), words)
    stored = studio.datasets.place("cups")
    intake.import_into(stored, [folder])
    return stored


def test_copies_are_settled_pair_by_pair(client: TestClient, twins: StoredDataset) -> None:
    named = {picture.name: picture.sha256 for picture in twins.working.pictures}
    client.post(f"{API}/checks", json={"kind": "object", "base": "starter"})
    body = _checked(client)
    told = {(one["kept"], one["copy"], one["mirrored"]) for one in body["copies"]}
    # The larger one is kept; of the same size the first.
    assert told == {
        (named["0.png"], named["small.png"], False), (named["1.png"], named["turned.png"], True)
    }  # fmt: skip
    html = client.get("/datasets/cups/checks").text
    assert html.count('class="twin"') == 2
    assert "faults were looked for and not found" in html
    assert "Faces are counted for characters only." in html
    assert "faces" not in body["looked_for"]

    def settle(keep: str, left: str, right: str) -> None:
        given = {"left": named[left], "right": named[right], "keep": keep}
        assert client.post("/datasets/cups/checks/pair", data=given).status_code == 303

    settle("both", "1.png", "turned.png")
    assert [one["copy"] for one in client.get(f"{API}/checks").json()["copies"]] == [
        named["small.png"]
    ]
    assert client.get("/datasets/cups").text.count("A mirrored copy of") == 0
    client.post("/datasets/cups/undo")
    assert len(client.get(f"{API}/checks").json()["copies"]) == 2
    assert client.post(
        f"{API}/alike", json={"pictures": [named["turned.png"], named["1.png"]]}
    ).json() == {"pictures": 5}
    settle("right", "0.png", "small.png")
    assert named["0.png"] not in {picture.sha256 for picture in twins.working.pictures}
    body = _checked(client)
    assert (body["copies"], body["pictures"], body["fresh"]) == ([], 4, True)
    client.post("/datasets/cups/undo")
    assert named["0.png"] in {picture.sha256 for picture in twins.working.pictures}
    before = twins.working
    settle("left", "0.png", "0.png")
    assert twins.working == before
    settle("left", "0.png", "small.png")
    after = twins.working
    for keep in ("right", "left", "both"):  # somebody else was quicker
        settle(keep, "0.png", "small.png")
        assert "was settled meanwhile" in client.get("/datasets/cups/checks").text
        assert twins.working == after


def test_one_caption_is_mended(client: TestClient, cups: StoredDataset) -> None:
    stored = cups.working.pictures
    cups.set_concepts([replace(cups.working.concepts[0], trigger="zk person")])
    cups.set_captions({one.sha256: "blue eyes, outdoors, front view" for one in stored[:3]})
    client.post(f"{API}/checks", json={"kind": "character", "base": "starter"})
    _checked(client)
    one = stored[1].sha256
    assert "Mend this caption" in client.get(f"/datasets/cups/images/{one}").text
    assert 'action="/datasets/cups/checks/words"' in client.get("/datasets/cups/checks").text
    then = f"/datasets/cups/images/{one}"
    done = client.post("/datasets/cups/checks/words", data={"sha": [one], "then": then})
    assert done.headers["location"] == then
    captions = [picture.caption for picture in cups.working.pictures[:3]]
    assert captions[1].startswith("zk person, ")
    assert "eyes" not in captions[1]
    assert captions[0] == captions[2] == "blue eyes, outdoors, front view"
    shown = client.post(f"{API}/mends", json={"dry_run": True}).json()
    assert {change["sha256"] for change in shown} >= {stored[0].sha256, stored[2].sha256}
    assert cups.working.pictures[0].caption == captions[0]
    client.post(f"{API}/mends", json={"pictures": [stored[0].sha256]})
    assert cups.working.pictures[0].caption == captions[1]
    assert cups.working.pictures[2].caption == captions[2]


def test_a_guessed_trigger_is_not_written(client: TestClient, cups: StoredDataset) -> None:
    """Most captions begin with "zk person", but nobody has said that it is the trigger."""
    assert [concept.trigger for concept in cups.working.concepts] == [""]
    one = cups.working.pictures[2].sha256
    cups.set_captions({one: "blue eyes, outdoors, front view"})
    client.post(f"{API}/checks", json={"kind": "character", "base": "starter"})
    assert "trigger-missing" in {finding["code"] for finding in _checked(client)["findings"]}
    group = client.get("/datasets/cups/checks").text.split('id="trigger-missing"')[1]
    group = group.split("</section>")[0]
    assert "Mend this caption" not in group
    assert "Say which the trigger is" in group
    client.post(f"{API}/mends", json={"pictures": [one]})
    assert "zk person" not in cups.working.pictures[2].caption


def test_a_check_asked_for_during_one_that_fails_is_made(
    cups: StoredDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = ["it broke off", ""]

    def check(self: Checks, stored: StoredDataset, aim: Aim, running: Running) -> None:
        running.error = ends.pop(0)
        running.again = bool(ends)

    monkeypatch.setattr(Checks, "_check", check)
    running = Checks(tmp_path).run(cups, Aim())
    assert (running.error, running.ended, ends) == ("", True, [])


def test_check_of_an_unknown_base_says_so(client: TestClient, cups: StoredDataset) -> None:
    client.post(f"{API}/checks", json={"kind": "style", "base": "sdxx"})
    assert "There is no base 'sdxx'" in _checked(client)["error"]
    assert "There is no base" in client.get("/datasets/cups/checks").text


def _checked(client: TestClient) -> dict[str, Any]:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        body: dict[str, Any] = client.get(f"{API}/checks").json()
        if not body["running"]:
            return body
        time.sleep(0.2)
    raise AssertionError("the check did not end")


def test_a_change_made_from_an_old_state_is_refused(
    client: TestClient, cups: StoredDataset
) -> None:
    one = f"{API}/pictures/{cups.working.pictures[0].sha256}"
    seen = client.get(one).headers["etag"]
    known = client.get(API).headers["etag"]
    new = {"json": {"caption": "zk cup, mine"}, "headers": {"If-Match": f'"another", {seen}'}}
    done = client.put(f"{one}/caption", **new)
    assert done.status_code == 200
    assert done.headers["etag"] == client.get(one).headers["etag"] != seen
    refused = client.put(f"{one}/caption", **new | {"json": {"caption": "zk cup, yours"}})
    assert (refused.status_code, refused.json()["title"]) == (412, "Precondition Failed")
    assert client.get(one).json()["caption"] == "zk cup, mine"
    concepts = [c | {"trigger": "late"} for c in client.get(API).json()["concepts"]]
    late = client.put(f"{API}/concepts", json=concepts, headers={"If-Match": known})
    assert late.status_code == 412 and cups.working.concepts[0].trigger != "late"
    for given in (client.get(API).headers["etag"], "*"):
        fresh = client.put(f"{API}/concepts", json=concepts, headers={"If-Match": given})
        assert fresh.status_code == 200
    assert cups.working.concepts[0].trigger == "late"


def test_a_rotated_picture_has_a_new_address_and_undo_leads_back(
    client: TestClient, cups: StoredDataset, tmp_path: Path
) -> None:
    two = Image.new("RGB", (48, 40), "red")
    two.paste("blue", (0, 0, 20, 40))
    two.save(tmp_path / "two.png")
    (tmp_path / "two.txt").write_text("two colours")
    intake.import_into(cups, [tmp_path / "two.png", tmp_path / "two.txt"])
    sha = cups.working.pictures[-1].sha256
    url = f"/datasets/cups/images/{sha}"
    assert 'name="quarters"' in client.get(url).text
    made = client.post(f"{url}/rotation", data={"quarters": 1, "search": "q=red+cup"})
    new = cups.working.pictures[-1].sha256
    assert made.headers["location"] == f"/datasets/cups/images/{new}?q=red+cup"
    assert new != sha
    assert client.post(f"{url}/rotation", data={"quarters": 9}).status_code == 422
    then = f"/datasets/cups/images/{new}?q=red"
    undone = client.post("/datasets/cups/undo", data={"then": then})
    assert undone.headers["location"] == f"{url}?q=red"
    turned = client.post(f"{API}/pictures/{sha}/rotation", json={"quarters": -1}).json()
    assert turned["sha256"] == cups.working.pictures[-1].sha256
    gone = client.post(f"{API}/pictures/{sha}/rotation", json={"quarters": -1})
    assert gone.status_code == 404


def test_undo_leads_to_all_pictures_where_the_one_is_gone(
    client: TestClient, cups: StoredDataset, tmp_path: Path
) -> None:
    Image.new("RGB", (40, 40), (1, 2, 3)).save(tmp_path / "n.png")
    (tmp_path / "n.txt").write_text("new")
    intake.import_into(cups, [tmp_path / "n.png", tmp_path / "n.txt"])
    new = cups.working.pictures[-1].sha256
    then = f"/datasets/cups/images/{new}"
    undone = client.post("/datasets/cups/undo", data={"then": then})
    assert undone.headers["location"] == "/datasets/cups"


def test_similar_pictures(client: TestClient, studio: Studio, tmp_path: Path) -> None:
    """A brighter copy is the most alike, and what was taken out is not told."""
    drawn = [photograph(96)(random.Random(number))[0] for number in range(3)]
    for number, picture in enumerate(drawn):
        picture.save(tmp_path / f"{number}.png")
    drawn[1].point(lambda value: min(255, value + 9)).save(tmp_path / "copy.png")
    for path in tmp_path.glob("*.png"):
        path.with_suffix(".txt").write_text(f"a photograph, {path.stem}")
    stored = studio.datasets.place("photographs")
    intake.import_into(stored, [tmp_path])
    shas = {picture.name: picture.sha256 for picture in stored.working.pictures}
    url = f"/datasets/photographs/images/{shas['1.png']}?similar=1"
    api = f"/api/v1/datasets/photographs/pictures/{shas['1.png']}/similar"
    assert "has not seen this one" in client.get(url).text
    assert client.get(api).json() == []
    checks = Checks(tmp_path / "measures")
    assert not checks.run(stored, Aim()).error
    first, *others = client.get(api).json()
    assert first["sha256"] == shas["copy.png"]
    assert first["alike"] > 0.95 > others[0]["alike"]
    assert len(others) == 2
    html = client.get(url).text
    part = html[html.index('id="similar"') :]
    assert part.index(shas["copy.png"]) < part.index(others[0]["sha256"])
    stored.discard([shas["copy.png"]])
    assert [one["sha256"] for one in client.get(api).json()] == [one["sha256"] for one in others]
    assert client.get(api.replace(shas["1.png"], "0" * 64)).status_code == 404
