"""Base models in the studio: what is here, what is on its way, and who may change it."""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from fastapi.testclient import TestClient
from tests import tiny
from tests.hub_server import Hub, hub_with

from loraloom import families, settings
from loraloom.families.installed import describe
from loraloom.studio import audit, passwords
from loraloom.studio.anchored import anchored
from loraloom.studio.job import Task
from loraloom.studio.rights import ALONE, Role
from loraloom.studio.studio import Studio
from loraloom.train import recipe
from loraloom.web.app import create_app

NAME = "someone/tiny-base"
NUMBER = "someone--tiny-base"
LONG_S = 120.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_base(tmp_path_factory.mktemp("hub") / "tiny")


@pytest.fixture
def hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_with(NAME, folder) as found:
        monkeypatch.setenv("HF_ENDPOINT", found.address)
        yield found


def until(holds: Callable[[], object]) -> None:
    ends = time.monotonic() + LONG_S
    while not holds():
        assert time.monotonic() < ends, "it did not come to pass"
        time.sleep(0.05)


def addition(client: TestClient, number: str = NUMBER) -> dict[str, object]:
    answer = client.get(f"/api/v1/bases/additions/{number}")
    assert answer.status_code == 200, answer.text
    told: dict[str, object] = answer.json()
    return told


def test_a_base_of_the_hub_is_added_beside_the_queue(
    client: TestClient, studio: Studio, hub: Hub
) -> None:
    asked = client.post("/api/v1/bases", json={"source": NAME})
    assert (asked.status_code, asked.json()["id"], asked.json()["stage"]) == (
        202, NUMBER, "working",
    )  # fmt: skip
    until(lambda: addition(client)["stage"] != "working")
    told = addition(client)
    assert (told["stage"], told["name"], told["error"]) == ("added", "tiny-base", "")
    assert told["done_bytes"] == told["total_bytes"] == hub.sent_bytes
    assert studio.jobs.all() == []
    found = {one["name"]: one for one in client.get("/api/v1/bases").json()}
    assert found["tiny-base"]["source"] == NAME
    assert "It is here" in client.get("/settings/models").text
    assert client.delete("/api/v1/bases/tiny-base").status_code == 204
    assert client.get("/api/v1/bases/additions").json() == []
    assert [entry.action for entry in audit.newest(studio.database)] == [
        "base removed", "base asked for",
    ]  # fmt: skip


def test_one_that_is_stopped_goes_on_after_a_restart(
    client: TestClient, studio: Studio, hub: Hub
) -> None:
    hub.pause_s = 0.2
    client.post("/settings/models", data={"source": NAME, "name": "mine"})
    until(lambda: hub.sent_bytes > 300_000)
    again = client.post("/api/v1/bases", json={"source": NAME})
    assert again.json()["name"] == "mine", "it is under way already"
    for other in ({"name": "yours"}, {"revision": "v2"}):
        refused = client.post("/api/v1/bases", json={"source": NAME} | other)
        assert refused.status_code == 409 and "as 'mine'" in refused.json()["detail"]
    page = client.get("/settings/models").text
    assert 'hx-trigger="every 1s"' in page and "<progress" in page
    assert client.post(f"/settings/models/additions/{NUMBER}/stop").status_code == 303
    assert "mine" not in settings.base_folders()
    sent, hub.sent_bytes, hub.pause_s = hub.sent_bytes, 0, 0.0
    with TestClient(create_app(studio, frozenset({"testserver"}))) as anew:
        left = addition(anew)
        assert (left["stage"], left["name"]) == ("unfinished", "mine")
        assert "Stopped at" in anew.get("/settings/models").text
        anew.post("/api/v1/bases", json={"source": NAME, "name": "mine"})
        until(lambda: addition(anew)["stage"] == "added")
        whole = addition(anew)["total_bytes"]
    assert isinstance(whole, int) and hub.sent_bytes < whole
    assert sent + hub.sent_bytes >= whole
    assert families.detect("mine").load(settings.resolve_base("mine")).denoiser is not None


def test_what_was_fetched_of_a_stopped_one_is_removed(client: TestClient, hub: Hub) -> None:
    hub.pause_s = 0.2
    client.post("/api/v1/bases", json={"source": NAME})
    until(lambda: hub.sent_bytes > 300_000)
    busy = client.delete(f"/api/v1/bases/additions/{NUMBER}/fetched")
    assert busy.status_code == 409 and "stop it first" in busy.json()["detail"]
    for _ in range(2):
        assert client.delete(f"/api/v1/bases/additions/{NUMBER}").json()["id"] == NUMBER
        assert client.post(f"/settings/models/additions/{NUMBER}/stop").status_code == 303
        left = addition(client)
        assert left["stage"] == "unfinished", "stopping what is stopped changes nothing"
        assert left["kept_bytes"] == left["done_bytes"] and int(str(left["kept_bytes"])) > 300_000
    page = client.get("/settings/models").text
    assert "Remove what was fetched of tiny-base?" in page and "Dismiss" not in page
    assert client.delete(f"/api/v1/bases/additions/{NUMBER}/fetched").status_code == 204
    assert client.get("/api/v1/bases/additions").json() == []
    assert not list((settings.bases_folder() / ".partial").glob("*/"))
    assert client.get(f"/api/v1/bases/additions/{NUMBER}").status_code == 404


def test_two_of_one_name(client: TestClient, hub: Hub, tmp_path: Path, folder: Path) -> None:
    hub.pause_s = 0.2
    client.post("/api/v1/bases", json={"source": NAME})
    other = client.post("/api/v1/bases", json={"source": str(folder), "name": "tiny-base"})
    assert other.status_code == 409 and "is on its way already" in other.json()["detail"]
    client.delete(f"/api/v1/bases/additions/{NUMBER}")


def test_one_whose_process_cannot_start(
    client: TestClient, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loraloom.studio.additions.sys.executable", "/no/such/program")
    client.post("/api/v1/bases", json={"source": NAME})
    until(lambda: addition(client)["stage"] == "failed")
    assert "could not be added" in str(addition(client)["error"])


def test_dismissing_one_that_failed_keeps_what_was_fetched(client: TestClient, hub: Hub) -> None:
    hub.pause_s = 0.2
    client.post("/api/v1/bases", json={"source": NAME})
    until(lambda: hub.sent_bytes > 300_000)
    client.delete(f"/api/v1/bases/additions/{NUMBER}")
    hub.gated = True
    client.post("/api/v1/bases", json={"source": NAME})
    until(lambda: addition(client)["stage"] == "failed")
    page = client.get("/settings/models").text
    assert "Dismiss" in page and "Remove what was fetched of tiny-base?" in page
    client.post(f"/settings/models/additions/{NUMBER}/stop")
    assert addition(client)["stage"] == "unfinished"
    assert client.post(f"/settings/models/additions/{NUMBER}/remove").status_code == 303
    assert client.get("/api/v1/bases/additions").json() == []


def test_what_goes_wrong_is_told_on_the_page(client: TestClient, hub: Hub) -> None:
    hub.gated = True
    client.post("/settings/models", data={"source": NAME})
    until(lambda: addition(client)["stage"] == "failed")
    assert "is gated: accept its licence at" in str(addition(client)["error"])
    page = client.get("/settings/models", headers={"Accept-Language": "zh-TW"}).text
    assert f"{NAME} 需要授權" in page and "every 1s" not in page
    for body, status in (({"source": "a/b/c"}, 404), ({"source": "~nosuchuser/x"}, 404),
                         ({"source": "/" + "x" * 300}, 404),
                         ({"source": NAME, "name": "字" * 90}, 422),
                         ({"source": NAME, "name": "../x"}, 422),
                         ({"source": NAME, "name": "starter"}, 409), ({}, 422)):  # fmt: skip
        assert client.post("/api/v1/bases", json=body).status_code == status, body
    refused = client.post("/settings/models", data={}, headers={"HX-Request": "true"})
    assert "This cannot be a base" in refused.text


def test_a_folder_of_this_machine_is_linked_and_shown(
    client: TestClient, studio: Studio, folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "away")
    asked = client.post("/api/v1/bases", json={"source": str(tmp_path / "away")}).json()
    until(lambda: addition(client, asked["id"])["stage"] == "added")
    page = client.get("/settings/models").text
    assert str(tmp_path / "away") in page and "no training uses it" in page
    config = recipe.resolve({"base": "away", "data": {"folder": str(tmp_path)}}, keep=False)
    job = studio.jobs.add(config, "cups")
    assert studio.jobs.naming("away", task=Task.TRAIN) == [job.id]
    assert studio.jobs.naming("awa_") == studio.jobs.naming("way") == []
    assert "1 training uses it" in client.get("/settings/models").text
    kept = client.delete("/api/v1/bases/away")
    assert kept.status_code == 409 and f"Job {job.id} needs the base" in kept.json()["detail"]
    studio.jobs.cancel(job.id)
    shutil.rmtree(tmp_path / "away")
    assert "which is gone" in client.get("/settings/models").text
    assert client.post("/settings/models/away/remove").status_code == 303
    assert "which is gone" not in client.get("/settings/models").text
    assert client.delete("/api/v1/bases/starter").status_code == 409
    assert client.delete("/api/v1/bases/away").status_code == 404


def test_a_base_that_a_job_names_by_its_path_is_kept(
    client: TestClient, studio: Studio, folder: Path, tmp_path: Path
) -> None:
    own = settings.bases_folder() / "mine"
    shutil.copytree(folder, own)
    config = recipe.resolve({"base": str(own), "data": {"folder": str(tmp_path)}}, keep=False)
    job = studio.jobs.add(anchored(config), "cups")
    kept = client.delete("/api/v1/bases/mine")
    assert kept.status_code == 409 and f"Job {job.id} needs the base" in kept.json()["detail"]
    studio.jobs.cancel(job.id)
    assert client.delete("/api/v1/bases/mine").status_code == 204


def test_well_known_ones_of_each_family(client: TestClient) -> None:
    found = client.get("/api/v1/bases/hub").json()
    assert {one["family"] for one in found} == {info.id for info in families.all_infos()}
    flux = {one["id"]: one for one in found if one["family"] == "flux"}
    schnell = flux["black-forest-labs/FLUX.1-schnell"]
    assert (schnell["licence"], schnell["gated"]) == ("Apache-2.0", True)
    page = client.get("/settings/models").text
    for one in found:
        assert f'href="https://huggingface.co/{one["id"]}"' in page


def test_pages_lead_to_the_page_of_models(client: TestClient) -> None:
    for path in ("/welcome", "/train/new", "/settings"):
        assert 'href="/settings/models"' in client.get(path).text, path


def test_only_owners_change_bases_and_see_paths(
    studio: Studio, folder: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "HASHER", PasswordHasher(1, 8, 1))
    from loraloom.bases import place

    place.link(folder, "linked")
    words = "seven quiet teapots"
    studio.people.add(ALONE, "Maria", Role.OWNER, words)
    studio.people.add(ALONE, "Tom", Role.MEMBER, words)
    clients = {}
    for name in ("Maria", "Tom"):
        clients[name] = TestClient(
            create_app(studio, frozenset({"testserver"})),
            headers={"Origin": "http://testserver"}, follow_redirects=False,
        )  # fmt: skip
        clients[name].post("/sign-in", data={"name": name, "password": words})
    tom = clients["Tom"]
    assert tom.post("/api/v1/bases", json={"source": NAME}).status_code == 403
    assert tom.post("/settings/models", data={"source": NAME}).status_code == 403
    assert tom.get("/api/v1/bases/additions").status_code == 403
    assert tom.delete("/api/v1/bases/linked").status_code == 403
    assert tom.post("/settings/models/linked/remove").status_code == 403
    assert hub.fetched == [] and describe("linked")
    shown = tom.get("/settings/models").text
    assert "linked" in shown and str(folder) not in shown and 'name="source"' not in shown
    assert str(folder) in clients["Maria"].get("/settings/models").text
    assert 'href="/settings/models"' not in tom.get("/train/new").text
