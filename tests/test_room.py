"""The bin of jobs, and what else gives room on the disk back."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import time
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from tests import library, tiny

from loraloom import files
from loraloom.errors import DiskFull, PictureUnknown
from loraloom.studio import registering
from loraloom.studio.imports import Import
from loraloom.studio.job import Job, Reason
from loraloom.studio.leases import Leases
from loraloom.studio.library import Library
from loraloom.studio.picture import Ask
from loraloom.studio.rights import Person, Role
from loraloom.studio.room import empty_bin
from loraloom.studio.studio import Studio
from loraloom.studio.workbench import Workbench

MONTH_S = 31 * 24 * 3600


@pytest.fixture
def finished(studio: Studio, base: Path, pictures: Path) -> Job:
    """A run with its adapter, a sample and what it could go on from."""
    job = library.finish(studio, base, pictures)
    for name in ("checkpoints/step-000006/state.json", "cache/latents/a.safetensors"):
        path = job.run_folder / name
        path.parent.mkdir(parents=True)
        path.write_bytes(bytes(1000))
    return job


def fail(studio: Studio, base: Path, pictures: Path, name: str = "cups") -> Job:
    job = studio.jobs.add(tiny.config(base, pictures), name)
    leases = Leases(studio.database)
    held = leases.claim("test")
    assert held is not None
    leases.fail(held.lease, Reason.DISK, "The disk is full.")
    return studio.jobs.get(job.id)


def listed(client: TestClient, **query: object) -> list[int]:
    answer = client.get("/api/v1/jobs", params=query)  # type: ignore[arg-type]
    return [job["id"] for job in answer.json()["jobs"]]


def test_an_ended_run_goes_into_the_bin_and_comes_back(
    client: TestClient, studio: Studio, finished: Job
) -> None:
    thrown = client.delete(f"/api/v1/jobs/{finished.id}").json()
    assert thrown["trashed"] is not None
    assert (listed(client), listed(client, trashed=1)) == ([], [finished.id])
    assert "This run is in the bin" in client.get(f"/train/{finished.id}").text
    assert f'id="job-{finished.id}"' not in client.get("/train").text
    assert f'id="job-{finished.id}"' in client.get("/train?show=bin").text
    again = client.delete(f"/api/v1/jobs/{finished.id}").json()
    assert again["trashed"] == thrown["trashed"]
    back = client.post(f"/train/{finished.id}/restore", data={"then": "/train/1"})
    assert (back.status_code, back.headers["location"]) == (303, "/train/1")
    assert (listed(client), listed(client, trashed=1)) == ([finished.id], [])


def test_what_has_not_ended_stays(
    client: TestClient, studio: Studio, finished: Job, base: Path, pictures: Path
) -> None:
    waiting = studio.jobs.add(tiny.config(base, pictures), "waits")
    answer = client.delete(f"/api/v1/jobs/{waiting.id}")
    assert (answer.status_code, "Cancel it first" in answer.text) == (409, True)
    both = client.post("/train/trash", data={"job": [finished.id, waiting.id]})
    assert both.status_code == 409
    assert listed(client) == [waiting.id, finished.id]  # all or none
    studio.jobs.cancel(waiting.id)
    broken = fail(studio, base, pictures)
    studio.jobs.trash([broken.id])
    assert "is in the bin" in client.post(f"/api/v1/jobs/{broken.id}/resume").json()["detail"]


def test_several_go_at_once(
    client: TestClient, studio: Studio, finished: Job, base: Path, pictures: Path
) -> None:
    ids = [fail(studio, base, pictures, f"run {number}").id for number in range(3)]
    for action in ("trash", "restore"):
        assert client.post(f"/train/{action}", data={"job": [2**63]}).status_code == 422
    assert "All failed and cancelled into the bin" in client.get("/train?show=failed").text
    ticked = client.post("/train/trash", data={"job": ids[:1], "then": "/train?show=all"})
    assert ticked.headers["location"] == "/train?show=all"
    assert listed(client) == [ids[2], ids[1], finished.id]
    client.post("/train/trash", data={"all_failed": "1"})
    assert listed(client) == [finished.id]
    client.post("/train/restore", data={"job": ids[1:]})
    assert listed(client) == [ids[2], ids[1], finished.id]
    client.post("/train/trash")
    assert len(listed(client)) == 3


def test_a_month_later_the_files_are_gone_and_the_library_is_whole(
    client: TestClient, studio: Studio, finished: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = studio.library.keep(finished, 3)
    sample = (finished.run_folder / "samples" / "step-000006-0.png").read_bytes()
    studio.jobs.trash([finished.id])
    client.get("/train?show=bin")
    assert finished.folder.is_dir()
    month = time.time() + MONTH_S
    monkeypatch.setattr(time, "time", lambda: month)
    assert f'id="job-{finished.id}"' not in client.get("/train?show=bin").text
    assert not finished.folder.exists()
    found = client.get("/api/v1/adapters").json()["adapters"]
    assert {one["id"] for one in found} >= {kept.id}
    assert len(found) == 2
    for one in found:
        content = client.get(f"/api/v1/adapters/{one['id']}/file").content
        assert hashlib.sha256(content).hexdigest() == one["sha256"]
        assert client.get(f"/api/v1/adapters/{one['id']}/cover").content == sample
        assert client.get(f"/adapters/{one['id']}").status_code == 200
    page = client.get(f"/train/{finished.id}").text
    assert "have left the bin for good" in page
    assert "Train again with changes" in page
    refused = client.post(f"/api/v1/jobs/{finished.id}/restore")
    assert (refused.status_code, refused.json()["type"][-10:]) == (409, "JobRefused")
    assert client.get(f"/api/v1/jobs/{finished.id}").json()["gone"] is True


def test_what_nobody_saw_in_the_library_yet_survives_too(
    client: TestClient, studio: Studio, finished: Job
) -> None:
    content = (finished.run_folder / "adapter.safetensors").read_bytes()
    studio.jobs.trash([finished.id])
    assert client.delete("/api/v1/storage/bin").json()["bytes"] > 2000
    assert not finished.folder.exists()
    (found,) = client.get("/api/v1/adapters").json()["adapters"]
    assert client.get(f"/api/v1/adapters/{found['id']}/file").content == content


def test_drawn_pictures_go_with_their_job(client: TestClient, studio: Studio) -> None:
    job = studio.pictures.ask(Ask(prompt="a cup", count=2))
    studio.jobs.cancel(job.id)
    first, second = studio.pictures.of_job(job.id)
    studio.pictures.trash(first.id)
    studio.jobs.trash([job.id])
    assert studio.pictures.page() == []
    assert f'id="job-{job.id}"' in client.get("/train?show=bin").text
    studio.jobs.restore(job.id)
    assert [one.id for one in studio.pictures.page()] == [second.id]
    # One that is taken out alone keeps the folder that it lies in.
    studio.jobs.trash([job.id])
    studio.pictures.restore(first.id)
    first.path.parent.mkdir(parents=True)
    first.path.write_bytes(b"png")
    client.delete("/api/v1/storage/bin")
    assert first.path.is_file()
    studio.pictures.trash(first.id)
    client.delete("/api/v1/storage/bin")
    assert not first.path.exists()


def test_a_full_disk_does_not_keep_the_bin_from_being_emptied(
    client: TestClient, studio: Studio, finished: Job, base: Path, pictures: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    broken = fail(studio, base, pictures)
    studio.library.register()
    studio.jobs.trash([finished.id, broken.id])

    def full(*_: object, **more: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def refuse(*_: object) -> None:
        raise DiskFull("The disk is full.")

    monkeypatch.setattr(files, "write_synced", full)
    monkeypatch.setattr(shutil, "copyfile", full)
    month = time.time() + MONTH_S
    with monkeypatch.context() as later:
        later.setattr(time, "time", lambda: month)
        later.setattr(Library, "keep_covers", refuse)
        assert client.get("/settings").status_code == 200
        assert client.get("/train?show=bin").status_code == 200
    assert finished.folder.is_dir()
    assert client.delete("/api/v1/storage/bin").json()["bytes"] > 2000
    assert not finished.folder.exists() and not broken.folder.exists()
    (adapter,) = studio.library.page()
    assert adapter.cover_path is not None


def test_what_one_job_of_the_bin_lacks_keeps_no_other(
    studio: Studio, finished: Job, base: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = fail(studio, base, pictures)
    broken.folder.mkdir(parents=True, exist_ok=True)
    studio.jobs.trash([finished.id, broken.id])

    def full(*_: object) -> None:
        raise DiskFull("The disk is full.")

    monkeypatch.setattr(registering, "sync_folder", full)  # the adapter cannot be taken in
    empty_bin(studio, days=0)
    assert finished.folder.is_dir() and not broken.folder.exists()
    assert studio.jobs.get(finished.id).trashed_at


def test_a_picture_that_is_taken_out_keeps_its_file(studio: Studio) -> None:
    job = studio.pictures.ask(Ask(prompt="a cup"))
    studio.jobs.cancel(job.id)
    (picture,) = studio.pictures.of_job(job.id)
    studio.jobs.trash([job.id])
    studio.pictures.restore(picture.id)  # after the bin was looked at
    thrown = time.time()
    assert not studio.jobs.give_up(job.id, thrown)
    studio.pictures.trash(picture.id)  # and has its own time in the bin
    assert studio.jobs.thrown(thrown) == [] and not studio.jobs.give_up(job.id, thrown)
    assert studio.jobs.give_up(job.id, time.time())
    with pytest.raises(PictureUnknown, match="has left the bin for good"):
        studio.pictures.restore(picture.id)


def test_uploads_that_are_in_use_stay(studio: Studio, home: Path) -> None:
    bench = Workbench(studio)
    maria, tom = Person(1, "maria", Role.MEMBER), Person(2, "tom", Role.MEMBER)
    old = time.time() - 7200
    sent = []
    for person in (maria, maria, tom, tom):
        upload = bench.uploads.seen_by(person).begin("a.zip", 900)
        sent.append(upload.id)
        os.utime(studio.data / "uploads" / f"{upload.id}.part", (old, old))
    os.utime(studio.data / "uploads" / f"{sent[0]}.part")  # a byte comes
    bench.imports._all["x"] = Import("x", "cups", (sent[2],), "keep")
    idle = bench.uploads.idle(bench.imports.uploads())
    assert [one.id for one in idle] == [sent[3]]


def test_freeing_the_cache_leaves_what_is_on_its_way(client: TestClient, studio: Studio) -> None:
    cache = studio.data / "cache"
    going = [cache / "exports/ab/.export.zip.tmp", cache / "exports/ab/done.zip",
             cache / "measures/.x.json.tmp"]  # fmt: skip
    old, small = cache / "exports/cd/left.zip", cache / "thumbs/a.webp"
    for path in (*going, old, small):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"1234")
    os.utime(old, (1, 1))
    assert client.delete("/api/v1/storage/cache").json()["bytes"] == 8
    assert all(path.is_file() for path in going) and not (old.exists() or small.exists())


def test_what_is_taken_out_while_the_bin_is_emptied_stays(studio: Studio, finished: Job) -> None:
    studio.jobs.trash([finished.id])
    studio.jobs.restore(finished.id)
    assert not studio.jobs.give_up(finished.id, time.time())
    assert studio.jobs.get(finished.id).trashed_at is None


def test_only_what_nobody_needs_is_freed(
    client: TestClient, studio: Studio, finished: Job, base: Path, pictures: Path
) -> None:
    broken = fail(studio, base, pictures)
    needed = broken.run_folder / "checkpoints" / "state.json"
    needed.parent.mkdir(parents=True)
    needed.write_bytes(bytes(500))
    small = studio.data / "cache" / "thumbs" / "a.webp"
    small.parent.mkdir(parents=True)
    small.write_bytes(bytes(300))
    ids = [
        client.post("/api/v1/uploads", json={"name": "a.zip", "size": 900}).json()["id"]
        for _ in range(2)
    ]
    for old in (studio.data / "uploads" / f"{one}.part" for one in ids):
        old.write_bytes(bytes(35))
        os.utime(old, (0, time.time() - 7200))
    told = client.get("/api/v1/storage").json()
    assert told["freeable"] == {"checkpoints": 2000, "bin": 0, "uploads": 70, "cache": 300}
    page = client.get("/settings").text
    assert "Free checkpoints of finished runs" in page
    assert "Empty the bin of runs</a>" not in page
    for room, freed in (("checkpoints", 2000), ("uploads", 70), ("cache", 300)):
        assert client.delete(f"/api/v1/storage/{room}").json() == {"bytes": freed}
    assert needed.exists()
    assert (finished.run_folder / "adapters" / "step-000003.safetensors").exists()
    assert [client.get(f"/api/v1/uploads/{one}").status_code for one in ids] == [404, 404]
    assert small.parent.is_dir()
    studio.jobs.trash([broken.id])
    answer = client.post("/settings/storage/bin")
    assert (answer.status_code, answer.headers["location"]) == (303, "/settings#room")
    assert not broken.folder.exists()
    assert client.delete("/api/v1/storage/datasets").status_code == 422
