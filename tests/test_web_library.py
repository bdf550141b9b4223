"""The library: runs register themselves, files are imported, filters, the bin, downloads."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import insert
from tests import library, tiny

from loraloom.errors import AdapterUnknown
from loraloom.studio.leases import Leases
from loraloom.studio.library import PAGE, Edit
from loraloom.studio.studio import Studio
from loraloom.studio.tables import adapters


def test_a_finished_run_is_in_the_library_once(
    client: TestClient, studio: Studio, base: Path, pictures: Path
) -> None:
    job = library.finish(studio, base, pictures, 'cups <script>alert("x")</script>')
    studio.library.register()
    studio.library.register()
    (found,) = client.get("/api/v1/adapters").json()["adapters"]
    assert (found["job"], found["kind"], found["type"], found["rank"]) == (
        job.id, "character", "lora", 2,
    )  # fmt: skip
    assert (found["trigger"], found["family"], found["layout"]) == ("zk person", "sd15", "kohya")
    content = (job.run_folder / "adapter.safetensors").read_bytes()
    assert found["sha256"] == hashlib.sha256(content).hexdigest()
    html = client.get("/adapters").text
    assert "<script>alert" not in html
    assert "cups &lt;script&gt;" in html
    page = client.get(f"/adapters/{found['id']}").text
    assert f"/play?adapter={found['id']}:1.0" in page
    assert "samples/step-000006-0.png" in page


def test_a_run_without_its_file_is_left_out(
    client: TestClient, studio: Studio, base: Path, pictures: Path
) -> None:
    job = library.finish(studio, base, pictures)
    (job.run_folder / "adapter.safetensors").unlink()
    assert client.get("/api/v1/adapters").json()["adapters"] == []


def test_versions_follow_the_runs(
    client: TestClient, studio: Studio, base: Path, pictures: Path
) -> None:
    first = library.finish(studio, base, pictures, "one")
    studio.library.register()
    second = library.finish(studio, base, pictures, "two", parent=first.id)
    library.finish(studio, base, pictures, "other")
    studio.library.register()
    newer = studio.library.of_job(second.id)
    assert newer is not None
    assert [one.name for one in studio.library.versions(newer)] == ["one", "two"]
    studio.library.edit(newer.id, Edit(alias="best"))
    older = studio.library.of_job(first.id)
    assert older is not None
    studio.library.edit(older.id, Edit(alias="best"))
    assert studio.library.get(newer.id).alias == ""


def test_a_step_of_a_run_is_kept_as_a_version(
    client: TestClient, studio: Studio, base: Path, pictures: Path
) -> None:
    job = library.finish(studio, base, pictures)
    (job.run_folder / "samples" / "step-000003-0.png").write_bytes(b"of step 3")
    own = job.run_folder / "adapters" / "step-000003.safetensors"
    assert "Keep this one" in client.get(f"/train/{job.id}").text
    answer = client.post(f"/train/{job.id}/keep", data={"step": "3"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/train/1#files-title")
    kept, ended = client.get("/api/v1/adapters").json()["adapters"]
    assert (kept["name"], kept["job"], kept["parent"]) == ("cups, step 3", job.id, ended["id"])
    for name in ("kind", "base", "family", "trigger", "rank", "project", "visibility"):
        assert kept[name] == ended[name], name
    assert client.get(f"/api/v1/adapters/{kept['id']}/file").content == own.read_bytes()
    assert client.get(f"/api/v1/adapters/{kept['id']}/cover").content == b"of step 3"
    own_page = client.get(f"/adapters/{kept['id']}").text
    assert "samples/step-000003-0.png" in own_page
    assert "samples/step-000006-0.png" not in own_page  # later than it
    page = client.get(f"/train/{job.id}").text
    assert f'href="/adapters/{kept["id"]}"' in page
    assert "Keep this one" not in page
    versions = client.get(f"/adapters/{ended['id']}").text
    assert "cups, step 3" in versions
    # Once, and out of the bin again where it was thrown away.
    client.post(f"/adapters/{kept['id']}/trash")
    tried = client.post(f"/train/{job.id}/keep", data={"step": "3", "tries": "1"})
    assert tried.headers["location"] == f"/play?adapter={kept['id']}:1"
    again = client.post(f"/api/v1/jobs/{job.id}/adapters", json={"step": 3})
    assert (again.status_code, again.json()) == (201, kept)
    none = client.post(f"/api/v1/jobs/{job.id}/adapters", json={"step": 4})
    assert (none.status_code, "keeps no such adapter of step 4" in none.text) == (404, True)


def test_the_step_that_a_run_ended_with_is_its_own_adapter(
    client: TestClient, studio: Studio, base: Path, pictures: Path
) -> None:
    ended = library.one(studio, base, pictures)
    folder = studio.jobs.get(1).run_folder
    library.save_adapter(folder / "adapters" / "step-000006.safetensors").write_bytes(
        ended.path.read_bytes()
    )
    kept = client.post("/api/v1/jobs/1/adapters", json={"step": 6}).json()
    assert kept["id"] == ended.id


def test_what_is_kept_of_a_run_that_goes_on_joins_its_end(
    client: TestClient, studio: Studio, base: Path, pictures: Path
) -> None:
    job = studio.jobs.add(tiny.config(base, pictures), "cups")
    held = Leases(studio.database).claim("test")
    assert held is not None
    for path in ("adapter", "adapters/step-000002", "adapters/step-000002-ema"):
        library.save_adapter(job.run_folder / f"{path}.safetensors", seed=len(path))
    names = [studio.library.keep(job, 2, average=average).name for average in (False, True, False)]
    assert names == ["cups, step 2", "cups, step 2, average", "cups, step 2"]
    Leases(studio.database).finish(held.lease)
    studio.library.register()
    ended = studio.library.of_job(job.id)
    assert ended is not None
    assert [one.name for one in studio.library.versions(ended)] == [*names[:2], "cups"]


def test_editing(client: TestClient, studio: Studio, base: Path, pictures: Path) -> None:
    number = library.one(studio, base, pictures).id
    form = {
        "name": "Mug <b>", "description": "red", "kind": "style", "tags": "Anime, own,anime,",
        "trigger": "zk", "scale": "0.75", "visibility": "public", "alias": "best",
    }  # fmt: skip
    answer = client.post(f"/adapters/{number}", data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/adapters/{number}")
    found = client.get(f"/api/v1/adapters/{number}").json()
    assert (found["name"], found["tags"], found["scale"]) == ("Mug <b>", ["anime", "own"], 0.75)
    assert "Mug &lt;b&gt;" in client.get(f"/adapters/{number}").text
    refused = client.post(f"/adapters/{number}", data={**form, "scale": "7"})
    assert refused.status_code == 422
    assert "Scale" in refused.text
    assert client.patch(f"/api/v1/adapters/{number}", json={"name": "  "}).status_code == 422


def test_filters(client: TestClient, studio: Studio, base: Path, pictures: Path) -> None:
    names = ["red cup", "blue cup", "100% wool"]
    ids = [library.one(studio, base, pictures, name).id for name in names]
    client.patch(f"/api/v1/adapters/{ids[0]}", json={"tags": ["own_tag"], "starred": True})

    def found(**query: str) -> list[str]:
        listed = client.get("/api/v1/adapters", params=query).json()["adapters"]
        return [one["name"] for one in listed]

    assert found(q="cup") == ["blue cup", "red cup"]
    assert found(q="RED cup") == ["red cup"]
    assert found(q="0%") == ["100% wool"]
    assert found(tag="own_tag") == ["red cup"]
    assert found(tag="ownXtag") == []
    assert found(starred="1") == ["red cup"]
    assert found(kind="style") == []
    assert found(family="sd15") == names[::-1]


def test_the_bin(client: TestClient, studio: Studio, base: Path, pictures: Path) -> None:
    number = library.one(studio, base, pictures).id
    client.post(f"/adapters/{number}/trash")
    assert client.get("/api/v1/adapters").json()["adapters"] == []
    (thrown,) = client.get("/api/v1/adapters?trashed=1").json()["adapters"]
    assert thrown["id"] == number
    studio.library.empty_bin()
    client.post(f"/adapters/{number}/restore")
    assert len(client.get("/api/v1/adapters").json()["adapters"]) == 1


def test_what_left_the_bin_does_not_come_back(
    client: TestClient, studio: Studio, base: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = library.one(studio, base, pictures)
    studio.library.trash(adapter.id)
    month = time.time() + 31 * 24 * 3600
    monkeypatch.setattr(time, "time", lambda: month)
    studio.library.empty_bin()
    assert not adapter.path.exists()
    assert studio.library.page() == []
    with pytest.raises(AdapterUnknown):
        studio.library.restore(adapter.id)


def test_download(client: TestClient, studio: Studio, base: Path, pictures: Path) -> None:
    adapter = library.one(studio, base, pictures, 'my "cup"/../x')
    answer = client.get(f"/api/v1/adapters/{adapter.id}/file")
    assert hashlib.sha256(answer.content).hexdigest() == adapter.sha256
    assert "repr-digest" in answer.headers
    assert "/" not in answer.headers["content-disposition"]
    assert client.get(f"/api/v1/adapters/{adapter.id}/file?layout=../x").status_code == 422
    adapter.path.unlink()  # it is the run's own file, too
    adapter.path.write_bytes(b"other")
    damaged = client.get(f"/api/v1/adapters/{adapter.id}/file")
    assert damaged.status_code == 500
    assert "hash" in damaged.json()["detail"]


def test_another_layout_is_made_once(
    client: TestClient, studio: Studio, base: Path, pictures: Path
) -> None:
    adapter = library.one(studio, base, pictures)
    answer = client.get(f"/api/v1/adapters/{adapter.id}/file?layout=diffusers")
    assert answer.status_code == 200, answer.text
    made = adapter.folder / "diffusers.safetensors"
    before = made.stat().st_mtime_ns
    again = client.get(f"/api/v1/adapters/{adapter.id}/file?layout=diffusers")
    assert again.content == answer.content
    assert made.stat().st_mtime_ns == before


def test_a_foreign_file_is_imported(client: TestClient, studio: Studio, tmp_path: Path) -> None:
    told = {"modelspec.description": " A mug.\0", "modelspec.tags": "Mug, blue,, mug"}
    path = library.save_adapter(tmp_path / "mug.safetensors", width=768, told=told)
    content = path.read_bytes()
    files = {"file": ("..\\..\\mug.safetensors", content)}
    answer = client.post("/api/v1/adapters", files=files)
    assert answer.status_code == 201, answer.text
    found = answer.json()
    assert (found["name"], found["family"], found["rank"]) == ("mug", "sd15", 2)
    assert found["trigger"] == "zk person"
    assert (found["description"], found["tags"]) == ("A mug.", ["mug", "blue"])
    again = client.post("/adapters/import", files={"files": ("mug.safetensors", content)})
    assert again.status_code == 422
    assert "in the library already" in again.text
    assert [path.name for path in (studio.data / "adapters").iterdir()] == [
        studio.library.get(1).folder.name
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "empty"), (b"PK\x03\x04" + b"x" * 90, "pickle"), (b"\xff" * 64, "not a safetensors")],
)
def test_other_files_are_refused(
    client: TestClient, studio: Studio, content: bytes, said: str
) -> None:
    answer = client.post("/api/v1/adapters", files={"file": ("/etc/x.safetensors", content)})
    assert answer.status_code == 422
    assert said in answer.json()["detail"]
    assert str(studio.data) not in answer.json()["detail"]
    assert not list((studio.data / "adapters").iterdir())


def test_two_thousand_adapters_are_quick(client: TestClient, studio: Studio) -> None:
    row = {
        "token": "0" * 8, "description": "", "kind": "style", "tags": '["anime"]', "base": "",
        "family": "sd15", "type": "lora", "rank": 8, "trigger": "zk", "layout": "kohya",
        "sha256": "0" * 64, "size_bytes": 1, "facts": "{}", "scale": 1.0, "dataset": "",
        "dataset_hash": "", "owner_id": None, "visibility": "private", "starred": False,
        "alias": "", "cover": "",
        "created_at": time.time(),
    }  # fmt: skip
    with studio.database.writing() as connection:
        rows = [{**row, "name": f"adapter {number}"} for number in range(2000)]
        connection.execute(insert(adapters), rows)
    client.get("/adapters")
    begun = time.process_time()
    html = client.get("/adapters?q=adapter&tag=anime").text
    assert time.process_time() - begun < 1
    assert html.count('class="card adapter"') == PAGE
    assert "before=1941" in html


def test_an_edit_of_an_older_state_is_refused(
    client: TestClient, studio: Studio, base: Path, pictures: Path
) -> None:
    url = f"/api/v1/adapters/{library.one(studio, base, pictures).id}"
    first = {"If-Match": client.get(url).headers["etag"]}
    assert client.patch(url, json={"name": "mine"}, headers=first).status_code == 200
    assert client.patch(url, json={"name": "yours"}, headers=first).status_code == 412
    second = {"If-Match": client.get(url).headers["etag"]}
    assert client.patch(url, json={"name": "ours"}, headers=second).json()["name"] == "ours"
