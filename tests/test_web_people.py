"""Who gets in, what each role may ask for, and what the guard lets through."""

import asyncio
import re
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from fastapi.params import Path as PathParameter
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from PIL import Image
from playwright.sync_api import Browser, expect
from starlette.responses import PlainTextResponse
from starlette.types import Message, Scope
from tests.loops import in_a_loop

from loraloom.captions import bulk
from loraloom.config import TrainConfig
from loraloom.dataset.intake import import_into
from loraloom.dataset.snapshot import Concept
from loraloom.errors import ServerRefused
from loraloom.studio import passwords, starting
from loraloom.studio.grids import GridAsk
from loraloom.studio.imports import Import
from loraloom.studio.library import Edit
from loraloom.studio.people import Account
from loraloom.studio.picture import Ask
from loraloom.studio.projects import Edit as ProjectEdit
from loraloom.studio.projects import New
from loraloom.studio.rights import ALONE, Role, Visibility
from loraloom.studio.studio import Studio
from loraloom.train import recipe
from loraloom.web import api, pages, server
from loraloom.web.app import create_app
from loraloom.web.guard import SAFE, Guard, canonical
from loraloom.web.live import Live
from loraloom.web.who import OPEN, OWNED, PERSONAL, Entry, below

HOST = "127.0.0.1"
OWN = {"Origin": f"http://{HOST}"}
WORDS = {"Maria": "blue horses swim far", "Tom": "seven quiet teapots", "Vera": "nine round clouds"}
SHARED = {"action", "name", "person", "session", "token", "code", "number", "version", "sha256",
          "room", "addition", "first", "second"}  # fmt: skip
"""Parameters of paths that name nothing that a member owns, or what the routes look after."""


ADAPTER = {
    "token": "0" * 8, "name": "hers", "description": "", "kind": "", "tags": "[]", "base": "",
    "family": "sd15", "type": "lora", "rank": 8, "trigger": "zk", "layout": "kohya",
    "sha256": "0" * 64, "size_bytes": 1, "facts": "{}", "scale": 1.0, "dataset": "",
    "dataset_hash": "", "visibility": "private", "starred": False, "alias": "", "cover": "",
    "created_at": 0.0,
}  # fmt: skip


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes that take a millisecond."""
    monkeypatch.setattr(passwords, "HASHER", PasswordHasher(1, 8, 1))


class Team:
    """A studio with an owner, a member and a viewer, and the routes as each asks them."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.app = create_app(studio, frozenset({HOST}))
        roles = {"Maria": Role.OWNER, "Tom": Role.MEMBER, "Vera": Role.VIEWER}
        self.accounts: dict[str, Account] = {
            name: studio.people.add(ALONE, name, role, WORDS[name]) for name, role in roles.items()
        }

    def stranger(self, **options: typing.Any) -> TestClient:
        """Nobody, asking as the studio's own pages do."""
        options = {"client": (HOST, 5000), "base_url": f"http://{HOST}"} | options
        return TestClient(self.app, headers=OWN, follow_redirects=False, **options)

    def signed_in(self, name: str) -> TestClient:
        """Somebody, in a browser."""
        client = self.stranger()
        answer = client.post("/sign-in", data={"name": name, "password": WORDS[name]})
        assert answer.status_code == 303, answer.text
        return client


@pytest.fixture
def team(studio: Studio) -> Team:
    """In which everybody signs in."""
    return Team(studio)


@pytest.fixture
def alone(studio: Studio) -> Iterator[TestClient]:
    """The routes of a studio without accounts, asked from its own machine."""
    app = create_app(studio, frozenset({HOST}))
    with TestClient(
        app, f"http://{HOST}", client=(HOST, 5000), headers=OWN, follow_redirects=False
    ) as asking:
        yield asking


@pytest.fixture
def settings(tmp_path: Path) -> TrainConfig:
    """Of a run; nothing reads its pictures here."""
    return recipe.resolve({"base": "starter", "data": {"folder": str(tmp_path)}})


def routes() -> list[tuple[str, APIRoute]]:
    """Every route of the API and the pages, with its path."""
    found = []
    for prefix, routers in (("/api/v1", api.ROUTERS), ("", pages.ROUTERS)):
        for router in routers:
            for route in router.routes:
                assert isinstance(route, APIRoute), f"{route} is not seen by these tests"
                found.append((prefix + route.path, route))
    return found


def parameters(route: APIRoute) -> dict[str, typing.Any]:
    """Names in the path -> a value that the route accepts."""
    values = {}
    for one in route.dependant.path_params:
        choices = typing.get_args(one.field_info.annotation)
        values[one.alias] = choices[0] if choices and isinstance(choices[0], str) else "1"
        assert isinstance(one.field_info, PathParameter)
    return values


def asked(path: str, route: APIRoute, **given: object) -> list[tuple[str, str]]:
    """Method and address of each way to ask."""
    values = parameters(route) | given
    plain = re.sub(r"\{(\w+)(:\w+)?\}", lambda found: str(values.get(found[1], "1")), path)
    return [(method, plain) for method in sorted(route.methods)]


class TestEveryRoute:
    def test_a_stranger_is_refused(self, team: Team) -> None:
        stranger = team.stranger()
        count = 0
        more = [("GET", "/api/v1/openapi.json"), ("GET", "/nothing"), ("GET", "/api/v1/nothing")]
        for method, path in [*more, *(a for p, r in routes() for a in asked(p, r))]:
            if below(path, OPEN):
                continue
            answer = stranger.request(method, path)
            if path.startswith("/api/"):
                assert answer.status_code == 401, (method, path)
                assert answer.headers["www-authenticate"] == "Bearer"
            else:
                assert answer.status_code == 303, (method, path)
                assert answer.headers["location"].startswith("/sign-in?then=/"), (method, path)
            bearer = stranger.request(method, path, headers={"Authorization": "Bearer guessed"})
            assert bearer.status_code in (303, 401, 429), (method, path)
            count += 1
        assert count > 40

    def test_a_viewer_changes_nothing(self, team: Team) -> None:
        vera = team.signed_in("Vera")
        for path, route in routes():
            for method, url in asked(path, route):
                if method not in SAFE and not below(url, OPEN + PERSONAL):
                    assert vera.request(method, url).status_code == 403, (method, url)

    def test_others_private_things_are_not_there(self, team: Team, settings: TrainConfig) -> None:
        hers = team.studio.seen_by(team.accounts["Maria"].person)
        job = hers.jobs.add(settings, "hers").id
        adapter = hers.library.add(ADAPTER)
        adapter.folder.mkdir(parents=True)
        adapter.path.write_bytes(b"weights")
        picture = hers.pictures.of_job(hers.pictures.ask(Ask(prompt="a cup")).id)[0]
        grid = hers.grids.start(GridAsk(adapter=adapter.id, prompts=["a cup"]))
        hers.pictures.save_prompt("a cup", "")
        hers.datasets.create("hers")
        bench = team.app.state.workbench.seen_by(team.accounts["Maria"].person)
        begun = Import("0123", "hers", (), "keep", owner_id=team.accounts["Maria"].id)
        bench.imports._all[begun.id] = begun
        things = {
            "job": job, "adapter": adapter.id, "picture": picture.id, "grid": grid.id,
            "prompt": hers.pictures.saved()[0].id, "dataset": "hers", "import": begun.id,
            "project": hers.projects.create(New(name="Hers")).id,
            "upload": bench.uploads.begin("cups.zip", 10).id,
        }  # fmt: skip
        assert things.keys() == OWNED, "make a thing of each kind here"
        tom = team.signed_in("Tom")
        walked = [(path, route, parameters(route).keys() & OWNED) for path, route in routes()]
        for path, route, owned in walked:
            for method, url in asked(path, route, **things) if owned else []:
                assert tom.request(method, url).status_code == 404, (method, url)
        for number in (job, grid.id):
            team.studio.jobs.share(number, Visibility.PUBLIC)
        team.studio.pictures.share(picture.id, Visibility.PUBLIC)
        team.studio.projects.edit(things["project"], ProjectEdit(visibility=Visibility.PUBLIC))
        team.studio.datasets.share("hers", Visibility.PUBLIC)
        team.studio.library.edit(adapter.id, Edit(visibility=Visibility.PUBLIC))
        for path, route, owned in walked:
            for method, url in asked(path, route, **things) if owned else []:
                if method not in SAFE:
                    expected = 404 if owned & {"prompt", "import", "upload"} else 403
                    assert tom.request(method, url).status_code == expected, (method, url)
        for url in (f"jobs/{job}", f"adapters/{adapter.id}", f"pictures/{picture.id}",
                    f"grids/{grid.id}", "datasets/hers"):  # fmt: skip
            assert tom.get(f"/api/v1/{url}").status_code == 200, url
        assert team.studio.jobs.get(job).state == "queued"

    def test_whose_each_parameter_is_was_thought_of(self) -> None:
        for path, route in routes():
            unknown = parameters(route).keys() - OWNED - SHARED
            assert not unknown, f"{path}: add {unknown} to OWNED in web/who.py, or to SHARED here"

    def test_people_are_the_owners_affair(self, team: Team) -> None:
        tom = team.signed_in("Tom")
        for path, route in routes():
            for method, url in asked(path, route):
                if below(url, ("/settings/people", "/api/v1/people")):
                    assert tom.request(method, url).status_code == 403, (method, url)

    def test_strangers_get_what_is_open(self, team: Team) -> None:
        stranger = team.stranger()
        assert stranger.get("/sign-in").status_code == 200
        assert stranger.get("/api/v1/health").json() == {"status": "ok"}
        assert stranger.get(
            stranger.get("/sign-in").text.split('href="')[2].split('"')[0]
        ).is_success
        for path in ("/sign-inx", "/statics", "/api/v1/healthy", "//static/x", "/static/../"):
            assert stranger.get(path).status_code in (303, 401), path


class TestNamingWhatIsOthers:
    """Not in the path, but in the query or the body."""

    @pytest.fixture
    def hers(self, team: Team, tmp_path: Path) -> Studio:
        """Maria's part of the studio, with pictures whose captions are secret."""
        hers = team.studio.seen_by(team.accounts["Maria"].person)
        folder = tmp_path / "secret"
        folder.mkdir()
        for number in range(3):
            Image.new("RGB", (64, 64), (40 * number, 90, 10)).save(folder / f"{number}.png")
            (folder / f"{number}.txt").write_text(f"hush {number}")
        stored = hers.datasets.create("secret")
        import_into(stored, [folder])
        stored.set_concepts([Concept("main", "hushword", 7)])
        return hers

    def test_datasets_of_trainings(self, team: Team, hers: Studio, tmp_path: Path) -> None:
        tom = team.signed_in("Tom")
        version = hers.datasets.open("secret").snapshot("kept")
        named = ("secret", f"secret@{version[:8]}", str(tmp_path), f"{hers.data}/datasets/secret")
        trees: list[dict[str, object]] = [{"folder": name} for name in named]
        trees += [{"concepts": [{"folder": name, "trigger": "x"}]} for name in named]
        told = set()
        for data in trees:
            asked = {"settings": {"base": "starter", "trigger": "zk", "data": data}}
            for url in ("jobs", "recipes", "plans"):
                answer = tom.post(f"/api/v1/{url}", json=asked)
                assert answer.status_code == 422, (url, data)
                assert "hush" not in answer.text
                told.add(re.sub("'[^']*'", "", answer.json()["detail"]))
        assert len(told) == 1, "what is private is told from what is not there"
        for name in ("secret", "nothing"):
            page = tom.get("/train/new", params={"dataset": name, "kind": "object"}).text
            assert "is not possible here" in page
            assert "hushword" not in page and "3 pictures" not in page
            assert tom.post("/train/new", data={"dataset": name}).status_code == 422
        assert "secret" not in tom.get("/train/new").text
        assert team.studio.jobs.all() == []
        hers.datasets.share("secret", Visibility.PUBLIC)
        settings = {"base": "starter", "trigger": "zk", "data": {"folder": "secret"}}
        made = tom.post("/api/v1/jobs", json={"settings": settings})
        assert made.json()["owner"] == team.accounts["Tom"].id

    def test_folders_are_the_owners_to_name(
        self, team: Team, hers: Studio, settings: TrainConfig, tmp_path: Path
    ) -> None:
        tom = team.signed_in("Tom")
        his = team.studio.seen_by(team.accounts["Tom"].person)
        hers.datasets.share("secret", Visibility.PUBLIC)
        tree = {"base": "starter", "trigger": "zk", "data": {"folder": "secret"}}
        job = tom.post("/api/v1/jobs", json={"settings": tree}).json()["id"]
        hers.datasets.share("secret", Visibility.PRIVATE)
        for setting, value in (
            ("adapter.rank", "4"), ("base", str(tmp_path)), ("data.folder", str(tmp_path)),
            ("prior.folder", str(tmp_path)),
        ):  # fmt: skip
            body = {"setting": setting, "values": [value]}
            answer = tom.post(f"/api/v1/jobs/{job}/sweep", json=body)
            assert (answer.status_code, "not possible here" in answer.text) == (422, True), setting
            form = {"setting": setting, "values": value}
            assert tom.post(f"/train/{job}/sweep", data=form).status_code == 422
        assert "3 pictures" not in tom.get(f"/train/new?from={job}").text
        ask = {"prompt": "a cup", "base": str(tmp_path)}
        assert "Only an owner" in tom.post("/api/v1/pictures", json=ask).text
        assert tom.post("/play", data=ask).status_code == 422
        assert tom.get("/play", params=ask).status_code == 200
        adapter = his.library.add(ADAPTER).id
        grid = {"adapter": adapter, "prompts": ["a cup"], "base": str(tmp_path)}
        assert tom.post("/api/v1/grids", json=grid).status_code in (409, 422)
        edit = tom.patch(f"/api/v1/adapters/{adapter}", json={"base": str(tmp_path)})
        assert edit.status_code == 422
        his.datasets.create("mine")
        check = {"kind": "style", "base": str(tmp_path)}
        assert tom.post("/api/v1/datasets/mine/checks", json=check).status_code == 422
        assert tom.post("/datasets/mine/checks", data=check).status_code == 422

    def test_adapters_and_pictures(self, team: Team, hers: Studio) -> None:
        tom = team.signed_in("Tom")
        adapter = hers.library.add({**ADAPTER, "name": "hush"})
        adapter.folder.mkdir(parents=True)
        adapter.path.write_bytes(b"weights")
        use = {"prompt": "a cup", "adapters": [{"adapter": adapter.id}]}
        assert tom.post("/api/v1/pictures", json=use).status_code == 404
        form = {"prompt": "a cup", "adapter": adapter.id, "scale": "1", "on": adapter.id}
        assert tom.post("/play", data=form).status_code == 404
        grid = {"adapter": adapter.id, "prompts": ["a cup"]}
        assert tom.post("/api/v1/grids", json=grid).status_code == 404
        assert tom.get("/grid/new", params={"adapter": adapter.id}).status_code == 404
        assert tom.post("/grid/new", data={**grid, "prompts": "a cup"}).status_code == 404
        job = hers.pictures.ask(Ask(prompt="hush"))
        picture = hers.pictures.of_job(job.id)[0]
        hers.pictures.save_prompt("hush", "")
        assert tom.get("/play", params={"like": picture.id}).status_code == 404
        for url in ("/", "/play", f"/play?adapter={adapter.id}:1", "/adapters", "/datasets",
                    "/grid", "/grid/new", "/train", "/train/new", "/compare",
                    "/api/v1/datasets", "/api/v1/adapters", "/api/v1/pictures",
                    f"/api/v1/pictures?job={job.id}", "/api/v1/jobs?task=generate"):  # fmt: skip
            answer = tom.get(url)
            assert answer.status_code == 200, url
            assert "hush" not in answer.text and "secret" not in answer.text, url

    def test_datasets_of_pictures_uploads_and_imports(self, team: Team, hers: Studio) -> None:
        tom = team.signed_in("Tom")
        his = team.studio.seen_by(team.accounts["Tom"].person)
        picture = his.pictures.of_job(his.pictures.ask(Ask(prompt="a cup")).id)[0]
        picture.path.parent.mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(picture.path)
        send = {"dataset": "secret", "caption": "x"}
        assert tom.post(f"/play/{picture.id}/send", data=send).status_code == 404
        upload = team.signed_in("Maria").post(
            "/api/v1/uploads", json={"name": "a.png", "size": 0}
        ).json()["id"]  # fmt: skip
        mine = tom.post("/api/v1/uploads", json={"name": "a.png", "size": 0}).json()["id"]
        body = {"uploads": [upload], "store": True}
        assert tom.post("/api/v1/datasets/new/imports", json=body).status_code == 404
        body = {"uploads": [mine], "store": True}
        assert tom.post("/api/v1/datasets/secret/imports", json=body).status_code == 404
        begun = tom.post("/imports", data={"dataset": "secret", "upload": mine})
        assert "taken" in begun.text
        assert tom.post("/api/v1/datasets", json={"name": "secret"}).status_code == 422
        hers.datasets.share("secret", Visibility.PUBLIC)
        assert tom.post(f"/play/{picture.id}/send", data=send).status_code == 403
        begun = tom.post("/imports", data={"dataset": "secret", "upload": mine})
        assert begun.status_code == 403
        assert len(hers.datasets.open("secret").working.pictures) == 3

    def test_the_bin_is_each_ones_own(self, team: Team, hers: Studio) -> None:
        tom = team.signed_in("Tom")
        his = team.studio.seen_by(team.accounts["Tom"].person)
        hers.datasets.remove("secret")
        assert "secret" not in tom.get("/datasets").text
        assert tom.post("/datasets/secret/recover").status_code == 404
        his.datasets.create("secret")
        his.datasets.remove("secret")
        assert tom.post("/api/v1/datasets/secret/recover").json()["pictures"] == 0
        his.datasets.remove("secret")
        assert hers.datasets.removed()  # an owner's, and what else there is

    def test_all_that_failed_are_ones_own_runs(
        self, team: Team, hers: Studio, settings: TrainConfig
    ) -> None:
        his = team.studio.seen_by(team.accounts["Tom"].person)
        for one in (hers, his):
            one.jobs.cancel(one.jobs.add(settings, "run").id)
        team.signed_in("Maria").post("/train/trash", data={"all_failed": "1"})
        assert [job.owner_id for job in team.studio.jobs.all()] == [team.accounts["Tom"].id]

    def test_comparing_tells_nothing_of_private_datasets(self, team: Team, hers: Studio) -> None:
        tom = team.signed_in("Tom")
        stored = hers.datasets.open("secret")
        jobs = []
        for caption in ("hush one", "hush two"):
            bulk.set_caption(stored, stored.working.pictures[0].sha256, caption, None)
            tree = {"base": "starter", "data": {"folder": "secret"}}
            jobs.append(starting.start(hers.jobs, tree, name="run")[0].id)
        a, b = jobs
        assert tom.get(f"/compare?a={a}&b={b}").status_code == 404
        for number in jobs:
            hers.jobs.share(number, Visibility.PUBLIC)
        page = tom.get(f"/compare?a={a}&b={b}")
        assert page.status_code == 200
        assert "hush one" not in page.text
        assert "hush one" in team.signed_in("Maria").get(f"/compare?a={a}&b={b}").text

    def test_what_was_found_on_comparing_is_each_ones_own(
        self, team: Team, settings: TrainConfig
    ) -> None:
        hers = team.studio.seen_by(team.accounts["Maria"].person)
        a, b = (hers.jobs.add(settings, "hers").id for _ in range(2))
        hers.verdicts.give(a, b, b, "hers alone")
        tom, told = team.signed_in("Tom"), f"/api/v1/comparisons/{a}/{b}"
        assert tom.put(told, json={"note": "his"}).status_code == 404
        for number in (a, b):
            hers.jobs.share(number, Visibility.PUBLIC)
        assert "hers alone" not in tom.get(f"/compare?a={a}&b={b}").text
        assert tom.put(told, json={"note": "his"}).status_code == 200
        kept = hers.verdicts.of(b, a)
        assert kept is not None
        assert (kept.winner, kept.note) == (b, "hers alone")
        assert tom.get("/api/v1/comparisons").json()["comparisons"][0]["note"] == "his"
        hers.jobs.share(b, Visibility.PRIVATE)
        assert tom.get("/api/v1/comparisons").json()["comparisons"] == []
        assert "hers" not in tom.get("/compare").text

    def test_keys_of_starts_are_each_ones_own(self, team: Team, hers: Studio) -> None:
        hers.datasets.share("secret", Visibility.PUBLIC)
        settings = {"base": "starter", "data": {"folder": "secret"}}
        made = [
            team.signed_in(name).post(
                "/api/v1/jobs", json={"settings": settings}, headers={"Idempotency-Key": "k"}
            ).json()["owner"]
            for name in ("Maria", "Tom", "Tom")
        ]  # fmt: skip
        assert made == [team.accounts[name].id for name in ("Maria", "Tom", "Tom")]
        assert len(team.studio.jobs.all()) == 2


class TestSharing:
    def test_the_switch_is_there_for_whom_it_is(
        self, team: Team, settings: TrainConfig, alone: TestClient
    ) -> None:
        his = team.studio.seen_by(team.accounts["Tom"].person)
        job, adapter = his.jobs.add(settings, "his"), his.library.add(ADAPTER)
        his.datasets.create("his")
        tom, vera, maria = (team.signed_in(name) for name in ("Tom", "Vera", "Maria"))
        for url in (f"/train/{job.id}", f"/adapters/{adapter.id}", "/datasets/his"):
            assert f'action="{url}/share"' in tom.get(url).text
            assert vera.get(url).status_code == 404
            assert tom.post(f"{url}/share", data={"visibility": "public"}).status_code == 303
            seen = vera.get(url)
            assert "by Tom" in seen.text and "Public" in seen.text
            assert "by Tom" in maria.get(url).text
            assert 'method="post"' not in seen.text.partition("<main")[2].partition("</main")[0]
            assert vera.post(f"{url}/share", data={"visibility": "private"}).status_code == 403
            assert tom.post(f"{url}/share", data={"visibility": "private"}).status_code == 303
            assert vera.get(url).status_code == 404
        for url in ("/", "/datasets", "/train", "/adapters", "/play", "/grid"):
            seen = vera.get(url).text.partition("<main")[2].partition("</main")[0]
            assert 'method="post"' not in seen, url

    def test_who_is_alone_has_no_switch(
        self, studio: Studio, settings: TrainConfig, alone: TestClient
    ) -> None:
        url = f"/train/{studio.jobs.add(settings, 'mine').id}"
        assert "/share" not in alone.get(url).text

    def test_what_somebody_had_goes_to_the_owners(self, team: Team) -> None:
        his = team.studio.seen_by(team.accounts["Tom"].person)
        adapter = his.library.add(ADAPTER)
        his.datasets.create("his")
        his.pictures.save_prompt("a cup", "")
        team.studio.people.remove(ALONE, team.accounts["Tom"].id)
        assert team.studio.library.get(adapter.id).owner_id is None
        assert team.studio.datasets.names() == ["his"]
        assert team.studio.pictures.saved() == []


class TestSigningIn:
    def test_the_cookie_is_kept_from_scripts_and_other_sites(self, team: Team) -> None:
        data = {"name": "Maria", "password": WORDS["Maria"]}
        plain = team.stranger().post("/sign-in", data=data).headers["set-cookie"].lower()
        assert "httponly" in plain
        assert "samesite=strict" in plain
        assert "secure" not in plain
        secure = team.stranger(base_url=f"https://{HOST}")
        told = secure.post("/sign-in", data=data, headers={"Origin": f"https://{HOST}"})
        assert told.headers["set-cookie"].startswith("__Host-loraloom=")
        assert "secure" in told.headers["set-cookie"].lower()

    def test_it_leads_back_and_never_elsewhere(self, team: Team) -> None:
        stranger = team.stranger()
        assert stranger.get("/train?a=b").headers["location"] == "/sign-in?then=/train%3Fa%3Db"
        for then, where in (("/train?a=b", "/train?a=b"), ("//evil.example", "/")):
            data = {"name": "Maria", "password": WORDS["Maria"], "then": then}
            assert stranger.post("/sign-in", data=data).headers["location"] == where
            assert stranger.get("/sign-in", params={"then": then}).headers["location"] == where

    def test_signing_out_ends_the_session(self, team: Team) -> None:
        maria = team.signed_in("Maria")
        kept = dict(maria.cookies)
        assert maria.get("/api/v1/session").json()["by"] == "session"
        assert maria.post("/sign-out").headers["location"] == "/sign-in"
        again = team.stranger(cookies=kept)
        assert again.get("/api/v1/session").status_code == 401

    def test_guessing_is_slowed_down(self, team: Team) -> None:
        stranger = team.stranger()
        wrong = [
            stranger.post("/sign-in", data={"name": "Maria", "password": "x"}) for _ in "12345"
        ]
        assert {answer.status_code for answer in wrong} == {401}
        assert "not right" in wrong[0].text
        right = {"name": " MARIA", "password": WORDS["Maria"]}
        late = stranger.post("/sign-in", data=right)
        assert late.status_code == 429
        assert 1 <= int(late.headers["retry-after"]) <= 12
        assert "seconds" in late.text
        elsewhere = team.stranger(client=("192.0.2.7", 1))
        assert elsewhere.post("/sign-in", data=right).status_code == 303

    def test_guessing_tokens_and_links_is_slowed_down(self, team: Team) -> None:
        stranger = team.stranger()
        guess = {"Authorization": "Bearer loraloom_guessed"}
        codes = [stranger.get("/api/v1/jobs", headers=guess).status_code for _ in range(21)]
        assert codes == [401] * 20 + [429]
        other = team.stranger(client=("192.0.2.7", 1))
        codes = [other.get(f"/sign-in/link/{'x' * 43}").status_code for _ in range(21)]
        assert codes == [404] * 20 + [429]

    def test_a_link_lets_choose_a_password(self, team: Team) -> None:
        maria = team.signed_in("Maria")
        page = maria.post("/settings/people", data={"name": "<b>Eve", "role": "viewer"})
        assert "<b>Eve" not in page.text
        link = re.findall(r'value="http://127.0.0.1(/sign-in/link/[^"]+)"', page.text)[0]
        eve = team.stranger()
        assert "&lt;b&gt;Eve" in eve.get(link).text
        assert eve.post(link, data={"password": "short"}).status_code == 422
        assert eve.post(link, data={"password": "ten loud kettles"}).headers["location"] == "/"
        assert eve.get("/api/v1/session").json()["role"] == "viewer"
        assert team.stranger().get(link).status_code == 404

    def test_a_new_password_needs_the_old_one(self, team: Team) -> None:
        tom = team.signed_in("Tom")
        given = {"current": "wrong", "password": "ten loud kettles"}
        assert tom.post("/settings/account/password", data=given).status_code == 401
        given["current"] = WORDS["Tom"]
        other = team.signed_in("Tom")
        assert tom.post("/settings/account/password", data=given).status_code == 303
        assert tom.get("/api/v1/session").status_code == 200
        assert other.get("/api/v1/session").status_code == 401

    def test_a_changed_role_holds_at_once(self, team: Team) -> None:
        tom, maria = team.signed_in("Tom"), team.signed_in("Maria")
        number = team.accounts["Tom"].id
        maria.patch(f"/api/v1/people/{number}", json={"role": "owner"})
        assert tom.get("/api/v1/people").status_code == 200
        maria.patch(f"/api/v1/people/{number}", json={"role": "viewer"})
        assert tom.get("/api/v1/people").status_code == 403
        assert maria.delete(f"/api/v1/people/{number}").status_code == 204
        assert tom.get("/api/v1/session").status_code == 401
        told = [entry["action"] for entry in maria.get("/api/v1/people/audit").json()]
        assert told[:3] == ["person removed", "role changed", "role changed"]


class TestTokens:
    def test_a_program_asks_by_its_token(self, team: Team, settings: TrainConfig) -> None:
        vera, tom = team.signed_in("Vera"), team.signed_in("Tom")
        made = tom.post("/api/v1/tokens", json={"name": "nightly"}).json()
        program = team.stranger()
        program.headers = {"Authorization": f"Bearer {made['secret']}"}  # type: ignore[assignment]
        assert program.get("/api/v1/session").json() == {
            "id": team.accounts["Tom"].id, "name": "Tom", "role": "member", "by": "token",
        }  # fmt: skip
        job = team.studio.jobs.seen_by(team.accounts["Tom"].person).add(settings, "his").id
        assert program.post(f"/api/v1/jobs/{job}/cancel").json()["state"] == "cancelled"
        assert program.get("/train").status_code == 303  # of pages, sessions alone
        for method, path in (
            ("POST", "/api/v1/tokens"), ("DELETE", "/api/v1/sessions/1"),
            ("DELETE", f"/api/v1/tokens/{made['token']['id']}"),
        ):  # fmt: skip
            assert program.request(method, path).status_code == 403
        assert vera.delete(f"/api/v1/tokens/{made['token']['id']}").status_code == 404
        assert tom.delete(f"/api/v1/tokens/{made['token']['id']}").status_code == 204
        assert program.get("/api/v1/session").status_code == 401

    def test_a_token_is_shown_once(self, team: Team) -> None:
        tom = team.signed_in("Tom")
        page = tom.post("/settings/account/tokens", data={"name": "nightly", "days": 7}).text
        secret = re.findall(r'value="(loraloom_[^"]+)"', page)[0]
        assert secret not in tom.get("/settings/account").text
        assert "secret" not in tom.get("/api/v1/tokens").json()[0]

    def test_asking_too_often_is_told(self, team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
        from loraloom.web.limits import Limit

        tom, vera = team.signed_in("Tom"), team.signed_in("Vera")
        monkeypatch.setattr(team.app.state.limits, "_asking", Limit(3, 60))
        codes = [tom.get("/api/v1/session").status_code for _ in range(4)]
        assert codes == [200, 200, 200, 429]
        assert int(tom.get("/api/v1/session").headers["retry-after"]) <= 20
        assert vera.get("/api/v1/session").status_code == 200


class TestAlone:
    def test_without_accounts_one_is_the_owner(self, alone: TestClient) -> None:
        assert alone.get("/api/v1/session").json()["by"] == "alone"
        assert alone.get("/sign-in").headers["location"] == "/"
        assert "Sign out" not in alone.get("/").text

    def test_the_first_account_is_made_here_and_goes_on(self, alone: TestClient) -> None:
        given = {"name": "Maria", "password": "short"}
        assert alone.post("/settings/people/first", data=given).status_code == 422
        given["password"] = WORDS["Maria"]
        assert alone.post("/settings/people/first", data=given).status_code == 303
        assert "Sign out" in alone.get("/settings/people").text
        assert alone.post("/settings/people/first", data=given).status_code == 403
        alone.cookies.clear()
        assert alone.get("/").status_code == 303

    def test_not_from_elsewhere(self, studio: Studio) -> None:
        app = create_app(studio, frozenset({HOST}))
        far = TestClient(app, f"http://{HOST}", client=("192.0.2.7", 1), headers=OWN)
        given = {"name": "Eve", "password": "ten loud kettles"}
        assert far.post("/settings/people/first", data=given).status_code == 403
        assert not studio.people.any()

    def test_open_to_others_nobody_gets_in_without_accounts(self, studio: Studio) -> None:
        app = create_app(studio, frozenset({HOST}), for_others=True)
        far = TestClient(app, f"http://{HOST}", headers=OWN, follow_redirects=False)
        assert far.get("/api/v1/jobs").status_code == 401
        assert far.post("/settings/people/first").status_code == 303
        studio.people.add(ALONE, "Maria", Role.OWNER, WORDS["Maria"])
        studio.people.remove(ALONE, 1, last=True)
        assert far.get("/api/v1/jobs").status_code == 401

    @pytest.mark.parametrize("options", [{"host": "0.0.0.0"}, {"host": HOST, "behind_proxy": True}])
    def test_others_are_served_with_accounts_only(
        self, studio: Studio, options: dict[str, typing.Any]
    ) -> None:
        with pytest.raises(ServerRefused, match=r"no accounts.*people add NAME --owner"):
            server.serve(studio, port=0, worker=False, **options)

    def test_a_name_that_is_none_is_refused(self, studio: Studio) -> None:
        with pytest.raises(ServerRefused, match="no name of a host"):
            server.serve(studio, HOST, 0, names=["http://studio.example/"], worker=False)


class TestBodies:
    def test_large_bodies_are_refused(self, team: Team) -> None:
        stranger, tom = team.stranger(), team.signed_in("Tom")
        big = b"x" * (17 * 2**10)
        assert stranger.post("/sign-in", content=big).status_code == 413
        assert stranger.post("/sign-in", files={"a": ("a", big)}).status_code == 413
        answer = tom.post("/api/v1/tokens", content=b"x" * (4 * 2**20 + 1))
        assert answer.status_code == 413
        assert answer.headers["content-type"] == "application/problem+json"

    def test_so_are_those_that_do_not_tell_their_size(self, team: Team) -> None:
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        stranger = team.stranger()
        endless = (b"x" * 4096 for _ in range(100))
        assert stranger.post("/sign-in", content=endless, headers=form).status_code == 413


class TestLive:
    def test_everybody_hears_of_what_they_may_see(self, team: Team, settings: TrainConfig) -> None:
        hers, his = (
            team.studio.jobs.seen_by(team.accounts[name].person) for name in ("Maria", "Tom")
        )
        hers.add(settings, "before")
        mine = his.add(settings, "before").id
        allowed = True

        async def listen() -> list[bytes]:
            live = Live(team.studio.jobs, lambda entry: allowed)
            async with live.running():
                tom = live.stream(0, Entry(team.accounts["Tom"].person, is_team=True))
                heard = [await anext(tom), await anext(tom)]
                waiting = asyncio.ensure_future(anext(tom))
                await asyncio.sleep(0)
                hers.add(settings, "live")
                his.cancel(mine)
                heard.append(await asyncio.wait_for(waiting, 30))
                nonlocal allowed
                allowed = False
                his.add(settings, "unheard")
                with pytest.raises(StopAsyncIteration):
                    await asyncio.wait_for(anext(tom), 30)
                return heard

        _, missed, now = in_a_loop(listen())
        for batch in (missed, now):
            assert set(re.findall(rb'"job": (\d+)', batch)) == {str(mine).encode()}


async def _answers(scope: Scope, receive: object, send: typing.Any) -> None:
    await PlainTextResponse("in")(scope, receive, send)  # type: ignore[arg-type]


def status(
    *headers: tuple[str, str], method: str = "GET", scheme: str = "http",
    hosts: tuple[str, ...] = ("127.0.0.1:8420", "[::1]:8420", "studio.example"),
    addresses_at: int | None = None,
) -> int:  # fmt: skip
    """What the guard answers; `headers` as they come, so that one may stand twice."""
    told: list[Message] = []

    async def send(message: Message) -> None:
        told.append(message)

    scope: Scope = {
        "type": "http", "method": method, "scheme": scheme, "path": "/api/v1/x",
        "query_string": b"",
        "http_version": "1.0", "headers": [(n.lower().encode(), v.encode()) for n, v in headers],
    }  # fmt: skip
    guard = Guard(_answers, frozenset(hosts), addresses_at=addresses_at)
    in_a_loop(guard(scope, None, send))  # type: ignore[arg-type]
    return int(told[0]["status"])


class TestGuard:
    @pytest.mark.parametrize(
        "host",
        ["127.0.0.1:8420", "[::1]:8420", "[0:0:0:0:0:0:0:1]:8420", "studio.example",
         "STUDIO.Example:8420", "studio.example.:9"],
    )  # fmt: skip
    def test_own_names_in_all_their_forms(self, host: str) -> None:
        assert status(("Host", host)) == 200

    @pytest.mark.parametrize(
        "host",
        ["evil.example", "127.0.0.1", "127.0.0.1:80", "127.0.0.1:8421", "[::1]", "[::2]:8420",
         "::1:8420", "studio.example.evil.example", "evil.example:8420",
         "studio.example@evil.example",
         "127.0.0.1:8420@evil.example", "127.0.0.1:8420, evil.example", "", " ", "127.0.0.1:08420x",
         "studio.example:99999", "[::1%25lo]:8420", "192.0.2.7:8420", "studio.example/",
         "2130706433:8420"],
    )  # fmt: skip
    def test_other_names_are_refused(self, host: str) -> None:
        assert status(("Host", host)) == 421

    def test_no_host_and_two_hosts_are_refused(self) -> None:
        assert status() == 421
        assert status(("Host", "127.0.0.1:8420"), ("Host", "evil.example")) == 421
        assert status(("Host", "127.0.0.1:8420"), ("Host", "127.0.0.1:8420")) == 421

    @pytest.mark.parametrize(
        ("host", "expected"),
        [("192.0.2.7:8420", 200), ("[2001:db8::1]:8420", 200), ("192.0.2.7:80", 421),
         ("192.0.2.7", 421), ("evil.example:8420", 421), ("2130706433:8420", 421),
         ("0x7f.1:8420", 421)],
    )  # fmt: skip
    def test_bound_everywhere_every_address_in_numbers_is_ours(
        self, host: str, expected: int
    ) -> None:
        assert status(("Host", host), addresses_at=8420) == expected

    def test_usual_ports_may_be_left_out(self) -> None:
        hosts = ("studio.example:443", "studio.example:80")
        assert status(("Host", "studio.example"), scheme="https", hosts=hosts) == 200
        assert status(("Host", "studio.example"), hosts=hosts[:1]) == 421
        assert canonical("studio.example", "https") == "studio.example:443"

    @pytest.mark.parametrize(
        ("headers", "expected"),
        [
            ([], 200),  # no browser
            ([("Cookie", "theme=dark")], 200),
            ([("Cookie", "loraloom-8420=x")], 403),  # a browser that tells nothing
            ([("Sec-Fetch-Site", "same-origin")], 200),
            ([("Sec-Fetch-Site", "none")], 200),
            ([("Sec-Fetch-Site", "same-site")], 403),
            ([("Sec-Fetch-Site", "cross-site")], 403),
            ([("Sec-Fetch-Site", "same-origin"), ("Origin", "http://evil.example")], 403),
            ([("Sec-Fetch-Site", "cross-site"), ("Origin", "http://127.0.0.1:8420")], 403),
            ([("Origin", "http://127.0.0.1:8420")], 200),
            ([("Origin", "HTTP://127.0.0.1:8420")], 200),
            ([("Origin", "https://127.0.0.1:8420")], 200),  # encrypted by a proxy
            ([("Origin", "http://127.0.0.1:8421")], 403),
            ([("Origin", "http://localhost:8420")], 403),
            ([("Origin", "http://127.0.0.1")], 403),
            ([("Origin", "null")], 403),
            ([("Origin", "")], 403),
            ([("Origin", "127.0.0.1:8420")], 403),
            ([("Origin", "ftp://127.0.0.1:8420")], 403),
            ([("Origin", "http://evil.example@127.0.0.1:8420")], 403),
            ([("Origin", "http://127.0.0.1:8420"), ("Origin", "http://evil.example")], 403),
            ([("Referer", "http://127.0.0.1:8420/train?a=b")], 200),
            ([("Referer", "http://evil.example/127.0.0.1:8420")], 403),
            ([("Referer", "http://127.0.0.1:8420.evil.example/")], 403),
            ([("Referer", "http://127.0.0.1:8420@evil.example/")], 403),
            ([("Referer", "http://[")], 403),
        ],
    )
    def test_changes_come_from_our_own_pages(
        self, headers: list[tuple[str, str]], expected: int
    ) -> None:
        for method in ("POST", "PUT", "PATCH", "DELETE", "X"):
            assert status(("Host", "127.0.0.1:8420"), *headers, method=method) == expected

    def test_what_is_encrypted_stays_so(self) -> None:
        own = ("Host", "studio.example")
        for origin, expected in (("https://studio.example", 200), ("http://studio.example", 403)):
            asked = status(own, ("Origin", origin), method="POST", scheme="https")
            assert asked == expected
        # encrypted by a proxy that does not tell
        assert status(own, ("Origin", "https://studio.example"), method="POST") == 200

    def test_a_proxy_is_believed_only_where_it_is_said(self, studio: Studio) -> None:
        studio.people.add(ALONE, "Maria", Role.OWNER, WORDS["Maria"])
        told = {"X-Forwarded-For": "10.1.1.1, 192.0.2.7", "X-Forwarded-Proto": "https"}
        data = {"name": "Maria", "password": WORDS["Maria"]}
        seen = []
        for behind in (False, True):
            app = create_app(studio, frozenset({HOST}), behind_proxy=behind)
            client = TestClient(app, f"http://{HOST}", client=(HOST, 1), follow_redirects=False)
            origin = f"{'https' if behind else 'http'}://{HOST}"
            answer = client.post("/sign-in", data=data, headers=told | {"Origin": origin})
            seen.append("secure" in answer.headers["set-cookie"].lower())
        assert seen == [False, True]
        assert {s.address for s in studio.sessions.of(1)} == {HOST, "192.0.2.7"}


class TestPages:
    def test_every_tab_answers_whoever_may_see_it(self, team: Team, alone: TestClient) -> None:
        tabs = ("", "/people", "/account", "/privacy", "/about")
        maria, tom = team.signed_in("Maria"), team.signed_in("Tom")
        assert [maria.get(f"/settings{tab}").status_code for tab in tabs] == [200] * 5
        assert [tom.get(f"/settings{tab}").status_code for tab in tabs] == [303, 403, 200, 200, 200]
        about = maria.get("/settings/about").text
        assert "argon2-cffi" in about
        assert "Apache-2.0" in about
        for tab in tabs:
            assert not re.search(r"<script(?![^>]* src=)|style=|onclick=", maria.get(
                f"/settings{tab}").text)  # fmt: skip

    def test_secrets_of_the_database_are_not_shown(
        self, alone: TestClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LORALOOM_DATABASE", "postgresql://me:hush-hush@db.example/x")
        page = alone.get("/settings").text
        assert "db.example" in page
        assert "hush" not in page


def test_a_team_in_a_browser(served: str, browser: Browser) -> None:
    maria = browser.new_context().new_page()
    maria.goto(f"{served}/settings/people")
    maria.get_by_label("Your name").fill("Maria")
    maria.get_by_label("Password").fill(WORDS["Maria"])
    maria.get_by_role("button", name="Make the first account").click()
    add = maria.locator("form", has_text="Add and make a link")
    add.get_by_label("Name").fill("Tom")
    add.get_by_role("button").click()
    link = maria.get_by_label("A link for Tom").input_value()
    maria.locator("form", has_text="Add and make a link").get_by_label("Name").fill("tom")
    add.get_by_role("button").click()
    expect(maria.get_by_role("alert")).to_contain_text("already")
    expect(maria.get_by_label("A link for Tom")).to_be_visible()

    tom = browser.new_context().new_page()
    tom.goto(f"{served}/train")
    expect(tom).to_have_url(re.compile(r"/sign-in\?then=/train"))
    tom.goto(link)
    tom.get_by_label("Password").fill(WORDS["Tom"])
    tom.get_by_role("button", name="Choose a password").click()
    expect(tom.get_by_role("heading", name="Welcome to Loraloom")).to_be_visible()
    tom.get_by_label("Account").click()
    tom.get_by_role("button", name="Sign out").click()
    tom.get_by_label("Name").fill("Tom")
    tom.get_by_label("Password").fill("wrong")
    tom.keyboard.press("Enter")
    expect(tom.get_by_role("alert")).to_contain_text("not right")
    for page in (maria, tom):
        page.context.close()
