"""Projects: what belongs together, what joins by itself, and training sets made of it."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from tests import library, tiny
from tests.test_texts import CHINESE
from tests.test_web_play import drawn

from loraloom.dataset.intake import import_into
from loraloom.dataset.stored import StoredDataset
from loraloom.errors import DatasetBusy, DatasetNameInvalid, Forbidden, ProjectUnknown
from loraloom.studio.job import Task
from loraloom.studio.library import Edit as LibraryEdit
from loraloom.studio.picture import Ask, Use
from loraloom.studio.projects import Edit, New, Next, Projects, Step, Things
from loraloom.studio.rights import Person, Role, Visibility
from loraloom.studio.studio import Studio


@pytest.fixture
def projects(studio: Studio) -> Projects:
    return studio.projects


def fill(studio: Studio, name: str, folder: Path, colours: dict[str, str]) -> None:
    """A stored dataset of plain pictures: the caption of each colour, "" for none."""
    folder.mkdir()
    for colour, caption in colours.items():
        Image.new("RGB", (600, 600), colour).save(folder / f"{colour}.png")
        if caption:
            (folder / f"{colour}.txt").write_text(caption)
    import_into(studio.datasets.create(name), [folder])


def step(projects: Projects, number: int) -> Step:
    return projects.next(number, projects.inside(number))


def test_the_next_step_follows_what_is_there(
    studio: Studio, projects: Projects, base: Path, pictures: Path, tmp_path: Path
) -> None:
    number = projects.create(New(name="Comic")).id
    assert step(projects, number) == Step(Next.BRING)
    studio.datasets.create("empty")
    projects.put(number, Things(datasets=["empty"]))
    assert step(projects, number) == Step(Next.BRING, "empty")
    projects.put(None, Things(datasets=["empty"]))
    fill(studio, "mira", tmp_path / "a", {"red": "zk person", "blue": ""})
    projects.put(number, Things(datasets=["mira"]))
    assert step(projects, number) == Step(Next.DESCRIBE, "mira")
    (bare,) = (one for one in studio.datasets.open("mira").working.pictures if not one.caption)
    studio.datasets.open_to_change("mira").set_captions({bare.sha256: "zk person in blue"})
    assert step(projects, number) == Step(Next.TRAIN, "mira")
    job = studio.jobs.add(
        tiny.config(base, pictures), "run", project=studio.datasets.project_of(
            {"data": {"folder": "mira@1"}}
        )
    )  # fmt: skip
    assert job.project_id == number
    assert step(projects, number) == Step(Next.WATCH, str(job.id))


def test_what_comes_of_an_adapter_joins_its_project(
    studio: Studio, projects: Projects, base: Path, pictures: Path
) -> None:
    adapter = library.one(studio, base, pictures)
    number = projects.create(New(name="Comic")).id
    projects.put(number, Things(adapters=[adapter.id]))
    assert step(projects, number) == Step(Next.TRY, str(adapter.id))
    job = studio.pictures.ask(Ask(prompt="on a table", adapters=[Use(adapter=adapter.id)]))
    assert job.task is Task.GENERATE and job.project_id == number
    drawn(studio, job.id)
    inside = projects.inside(number)
    assert [one.id for one in inside.adapters] == [adapter.id]
    (picture,) = inside.pictures
    assert step(projects, number).next is Next.NOTHING
    studio.pictures.star(picture.id, starred=True)
    assert step(projects, number).next is Next.PACK
    other = projects.create(New(name="Other")).id
    projects.put(other, Things(pictures=[picture.id]))
    assert not projects.inside(number).pictures
    assert [one.id for one in projects.inside(other).pictures] == [picture.id]


def test_a_training_set_of_pictures_and_datasets(
    studio: Studio, projects: Projects, base: Path, pictures: Path, tmp_path: Path
) -> None:
    adapter = library.one(studio, base, pictures)
    number = projects.create(New(name="Comic")).id
    fill(studio, "mira", tmp_path / "a", {"red": "zk person", "blue": "zk person, night"})
    projects.put(number, Things(adapters=[adapter.id], datasets=["mira"]))
    ask = Ask(prompt="on a table", count=2, seed=5, adapters=[Use(adapter=adapter.id)])
    job = studio.pictures.ask(ask)
    for place, picture in enumerate(studio.pictures.of_job(job.id)):
        picture.path.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((300 + place, 300), 90).convert("RGB").save(picture.path)
    kept = studio.pictures.of_job(job.id)[1]
    studio.pictures.star(kept.id, starred=True)

    assert projects.pack(number, "next", starred=True, sets=True) == "next"
    made = studio.datasets.open("next").working.pictures
    assert sorted(one.caption for one in made) == ["on a table", "zk person", "zk person, night"]
    (from_playground,) = (one for one in made if one.caption == "on a table")
    assert adapter.name in from_playground.generated_by
    assert "next" in projects.inside(number).datasets
    assert len(studio.datasets.open("mira").working.pictures) == 2
    projects.pack(number, "drawn", starred=False, sets=False)
    assert len(studio.datasets.open("drawn").working.pictures) == 2
    with pytest.raises(DatasetNameInvalid):
        projects.pack(number, "next")


def test_a_training_set_that_fails_leaves_nothing(
    studio: Studio, projects: Projects, tmp_path: Path
) -> None:
    number = projects.create(New(name="Comic")).id
    fill(studio, "mira", tmp_path / "a", {"red": "zk person"})
    projects.put(number, Things(datasets=["mira"]))
    stored = studio.datasets.open("mira")
    stored.objects.path(stored.working.pictures[0].sha256).write_bytes(b"broken")
    with pytest.raises(Exception, match="not what was stored"):
        projects.pack(number, "next")
    assert studio.datasets.is_free("next")


def test_each_concept_of_a_training_set_keeps_its_trigger(
    studio: Studio, projects: Projects, tmp_path: Path
) -> None:
    number = projects.create(New(name="Comic")).id
    for name, colour in (("mira", "red"), ("tom", "blue")):
        fill(studio, name, tmp_path / name, {colour: f"{name} in {colour}"})
        stored = studio.datasets.open_to_change(name)
        stored.set_concepts(
            replace(one, trigger=f"zk {name}", repeats=2) for one in stored.working.concepts
        )
    stored = studio.datasets.open_to_change("mira")
    sha = stored.working.pictures[0].sha256
    stored.edit(
        lambda now: replace(now, pictures=(replace(now.pictures[0], crop=(0, 0, 512, 512)),)), "x"
    )
    fill(studio, "twins", tmp_path / "twins", {"green": "one", "yellow": "other"})
    twins = studio.datasets.open_to_change("twins")
    alike = twins.keep_both(*(one.sha256 for one in twins.working.pictures)).alike
    projects.put(number, Things(datasets=["mira", "tom", "twins"]))
    projects.pack(number, "both")
    both = studio.datasets.open("both").working
    assert both.alike == alike != ()
    triggers = {one.concept: both.concept(one.concept) for one in both.pictures}
    assert {n: (c.trigger, c.repeats) for n, c in triggers.items()} == {
        "mira": ("zk mira", 2), "tom": ("zk tom", 2), "twins": ("", 1),
    }  # fmt: skip
    assert next(one.crop for one in both.pictures if one.sha256 == sha) == (0, 0, 512, 512)
    projects.put(None, Things(datasets=["tom", "twins", "both"]))
    projects.pack(number, "copy")
    copy = studio.datasets.open("copy")
    assert copy.working.hash == stored.working.hash
    assert all(copy.objects.is_sound(one.sha256) for one in copy.working.pictures)


def test_two_of_one_name_do_not_meet(studio: Studio, projects: Projects, tmp_path: Path) -> None:
    number = projects.create(New(name="Comic")).id
    fill(studio, "mira", tmp_path / "a", {"red": "zk person"})
    projects.put(number, Things(datasets=["mira"]))
    first = studio.datasets.place("next")
    with first.changing():  # as a pack that is going on, and which ends while the second waits
        threading.Timer(0.5, fill_now, [studio, first]).start()
        with pytest.raises((DatasetNameInvalid, DatasetBusy)):
            projects.pack(number, "next")
    assert studio.datasets.open("next").exists


def fill_now(studio: Studio, stored: StoredDataset) -> None:
    source = studio.datasets.open("mira")
    stored.put(source.working, "x")


def test_a_damaged_dataset_leaves_the_pages_be(
    client: TestClient, studio: Studio, projects: Projects, tmp_path: Path
) -> None:
    number = projects.create(New(name="Comic")).id
    fill(studio, "mira", tmp_path / "a", {"red": "zk person"})
    projects.put(number, Things(datasets=["mira"]))
    for path in (studio.datasets.open("mira").root / "working").glob("*.json"):
        path.write_text("x")
    for address in ("/", "/projects", f"/projects/{number}", f"/api/v1/projects/{number}/contents"):
        assert client.get(address).status_code == 200, address


@pytest.mark.parametrize("things", [{"adapters": [2**70]}, {"jobs": [0]}, {"prompts": [-1]}])
def test_numbers_that_nothing_has(client: TestClient, things: object) -> None:
    client.post("/api/v1/projects", json={"name": "Comic"})
    assert client.post("/api/v1/projects/1/contents", json=things).status_code == 422
    form = {"kind": "adapters", "thing": "9" * 30, "into": "1"}
    assert client.post("/projects/put", data=form).status_code == 422
    assert client.post("/projects/put", data={**form, "into": "abc"}).status_code == 422


def test_what_others_make_of_a_public_thing_does_not_join(
    studio: Studio, base: Path, pictures: Path
) -> None:
    ann, ben = (Person(n, name, Role.MEMBER) for n, name in ((1, "Ann"), (2, "Ben")))
    adapter = library.one(studio, base, pictures)
    number = studio.projects.create(New(name="Comic")).id
    studio.projects.put(number, Things(adapters=[adapter.id]))
    studio.library.edit(adapter.id, LibraryEdit(visibility=Visibility.PUBLIC))
    ask = Ask(prompt="x", adapters=[Use(adapter=adapter.id)])
    for person in (ann, ben):
        assert studio.seen_by(person).pictures.ask(ask).project_id is None
    assert studio.pictures.ask(ask).project_id == number
    assert len(studio.projects.inside(number).pictures) == 1
    studio.projects.trash(number)
    assert studio.pictures.ask(ask).project_id is None  # it is in the bin


def test_the_bin_keeps_what_is_inside(studio: Studio, projects: Projects) -> None:
    number = projects.create(New(name="Comic")).id
    studio.datasets.create("mira")
    projects.put(number, Things(datasets=["mira"]))
    projects.trash(number)
    assert projects.all() == [] and [one.id for one in projects.all(trashed=True)] == [number]
    assert studio.datasets.has("mira")
    projects.restore(number)
    assert projects.inside(number).datasets == ["mira"]
    with pytest.raises(ProjectUnknown):
        projects.get(99)


def test_others_see_only_what_is_public(studio: Studio) -> None:
    ann, ben = (Person(n, name, Role.MEMBER) for n, name in ((1, "Ann"), (2, "Ben")))
    viewer = Person(3, "Vi", Role.VIEWER)
    hers, his = studio.seen_by(ann), studio.seen_by(ben)
    number = hers.projects.create(New(name="Comic")).id
    hers.datasets.create("mira")
    hers.projects.put(number, Things(datasets=["mira"]))
    with pytest.raises(ProjectUnknown):
        his.projects.get(number)
    hers.projects.edit(number, Edit(visibility=Visibility.PUBLIC))
    assert his.projects.get(number).name == "Comic"
    assert his.projects.inside(number).datasets == []  # which is private
    his.datasets.create("ben")
    with pytest.raises(Forbidden):
        his.projects.put(number, Things(datasets=["ben"]))
    with pytest.raises(Forbidden):
        his.projects.edit(number, Edit(name="Mine"))
    with pytest.raises(Forbidden):
        studio.seen_by(viewer).projects.create(New(name="x"))
    hers.datasets.share("mira", Visibility.PUBLIC)
    with pytest.raises(Forbidden):
        his.projects.put(None, Things(datasets=["mira"]))


def test_pages(client: TestClient, studio: Studio, tmp_path: Path) -> None:
    assert "No project yet" in client.get("/projects").text
    made = client.post("/projects", data={"name": " Comic ", "description": "about <Mira>"})
    assert made.headers["location"] == "/projects/1"
    assert client.post("/projects", data={"name": " "}).status_code == 422
    fill(studio, "mira", tmp_path / "a", {"red": "zk person"})
    moved = {"kind": "datasets", "thing": "mira", "into": "1", "then": "/projects/1"}
    assert client.post("/projects/put", data=moved).status_code == 303
    page = client.get("/projects/1").text
    assert "about &lt;Mira&gt;" in page and "/train/new?dataset=mira" in page
    assert "mira has not been trained on yet" in client.get("/").text
    done = client.post("/projects/1/pack", data={"name": "next", "sets": "1"})
    assert done.headers["location"] == "/datasets/next"
    assert client.post("/projects/1/dataset", data={"name": "new"}).status_code == 303
    assert studio.datasets.belonging("new").project_id == 1
    assert "專案" in client.get("/projects", headers=CHINESE).text
    client.post("/projects/1/trash")
    assert "Bring back" in client.get("/projects").text
    assert client.post("/projects/put", data={**moved, "into": "7"}).status_code == 404


def test_api(client: TestClient, studio: Studio) -> None:
    made = client.post("/api/v1/projects", json={"name": "Comic"}).json()
    address = f"/api/v1/projects/{made['id']}"
    studio.datasets.create("mira")
    inside = client.post(f"{address}/contents", json={"datasets": ["mira"]}).json()
    assert (inside["datasets"], inside["next"], inside["next_with"]) == (["mira"], "bring", "mira")
    assert client.get("/api/v1/datasets/mira").json()["project"] == made["id"]
    assert client.patch(address, json={"name": "Tale"}).json()["name"] == "Tale"
    assert client.delete(address).json()["trashed"]
    assert client.get("/api/v1/projects").json() == []
    assert client.post(f"{address}/restore").json()["trashed"] is None
    nothing = client.post(f"{address}/training-set", json={"name": "x"})
    assert nothing.status_code == 422 and "no picture to pack" in nothing.json()["detail"]
    assert client.get("/api/v1/adapters", params={"project": made["id"]}).json()["adapters"] == []


def test_command_line(studio: Studio, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from loraloom.cli import app

    fill(studio, "mira", tmp_path / "a", {"red": "zk person"})
    for words in (
        ["add", "Comic"], ["list"], ["put", "1", "--dataset", "mira"], ["show", "1"],
        ["pack", "1", "next", "--all"],
    ):  # fmt: skip
        app(["projects", *words], standalone_mode=False)
    told = capsys.readouterr().out
    assert "Comic" in told and "datasets: mira" in told and "next: train mira" in told
    assert studio.datasets.has("next")
