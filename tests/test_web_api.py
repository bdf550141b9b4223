"""The API as programs meet it: every answer is one that the OpenAPI description tells."""

from __future__ import annotations

import itertools
import runpy
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from argon2 import PasswordHasher
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from PIL import Image
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.python.asgi import HOST
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests import library

from loraloom.dataset import intake
from loraloom.generate import order as orders
from loraloom.settings import STARTER
from loraloom.studio import passwords
from loraloom.studio.grids import GridAsk
from loraloom.studio.leases import Leases
from loraloom.studio.picture import Ask
from loraloom.studio.rights import ALONE, Role
from loraloom.studio.studio import Studio
from loraloom.train import recipe
from loraloom.web.app import create_app
from loraloom.web.guard import COOKIE

CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance,
    response_headers_conformance, response_schema_conformance,
]  # fmt: skip
ABOUT_PEOPLE = r"/api/v1/(people|tokens|sessions?)(/|$)"
NOT_ASKED = r"/api/v1/(events|plans)$"
"""A stream that has no end, and what starts a process with torch."""


@dataclass
class World:
    """A studio in use, and what can be named in paths."""

    app: FastAPI
    names: dict[str, list[Any]] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Three captioned pictures."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(3):
        Image.new("RGB", (96, 64), (number * 80, 90, 200)).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"zk person, number {number}")
    return folder


@pytest.fixture
def world(studio: Studio, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A dataset, runs that ended and that wait, an adapter, pictures and a grid; no hub."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    stored = studio.datasets.place("cups")
    intake.import_into(stored, [pictures])
    stored.snapshot()
    tree = {"base": STARTER, "kind": "character", "trigger": "zk person",
            "data": {"folder": str(pictures)}}  # fmt: skip
    config = recipe.resolve(tree)
    done = studio.jobs.add(config, "cups")
    leases = Leases(studio.database)
    held = leases.claim("test")
    assert held is not None
    library.save_adapter(done.run_folder / "adapter.safetensors")
    (done.run_folder / "log.txt").write_text("step 1\n")
    leases.finish(held.lease)
    studio.library.register()
    adapter = studio.library.of_job(done.id)
    assert adapter is not None
    drawn = studio.pictures.ask(Ask(prompt="a cup", count=2))
    for place in (orders.picture_file, orders.small_file):
        path = place(drawn.run_folder, 0)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"picture")
    grid = studio.grids.start(GridAsk(adapter=adapter.id, prompts=["a cup"], base=STARTER))
    waiting = [studio.jobs.add(config, f"run {number}").id for number in range(3)]
    names: dict[str, list[Any]] = {
        "dataset": ["cups"], "job": [done.id, *waiting], "adapter": [adapter.id],
        "picture": [1, 2], "grid": [grid.id], "number": [0, 1],
        "sha256": [picture.sha256 for picture in stored.working.pictures],
        "name": ["adapter.safetensors", "log.txt"],
    }  # fmt: skip
    return World(create_app(studio, frozenset({HOST})), names)


@pytest.fixture
def team(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> World:
    """A studio with accounts, as an owner asks it in a browser."""
    monkeypatch.setattr(passwords, "HASHER", PasswordHasher(1, 8, 1))
    owner = studio.people.add(ALONE, "Maria", Role.OWNER, "blue horses swim far")
    secret = studio.sessions.begin(owner, "a browser", "127.0.0.1")
    studio.sessions.begin(owner, "another", "127.0.0.1")
    person = studio.sessions.who(secret)
    assert person is not None
    for number in range(3):
        studio.people.add(person[0], f"person {number}", Role.MEMBER, "seven quiet teapots")
        studio.tokens.make(person[0], f"token {number}", 30)
    return World(
        create_app(studio, frozenset({HOST})),
        {"person": [2, 3, 4], "session": [2], "token": [1, 2, 3]},
        {"Cookie": f"{COOKIE}={secret}", "Sec-Fetch-Site": "same-origin"},
    )


def broken(world: World, examples: int, **wanted: str) -> list[str]:
    """What answers otherwise than the description tells."""
    schema = schemathesis.openapi.from_asgi(
        "/api/v1/openapi.json", world.app, headers=world.headers
    )
    schema.hook("map_path_parameters")(_often(world.names))
    schema.hook("map_query")(map_query)
    wrong = []
    asked = schema.include(**wanted).exclude(path_regex=NOT_ASKED).get_all_operations()
    operations = [found.ok() for found in asked]
    for operation in sorted(operations, key=lambda one: one.method.lower() == "delete"):

        @given(case=operation.as_strategy())
        @settings(
            max_examples=examples, derandomize=True, database=None, deadline=None,
            phases=[Phase.generate], suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        def ask(case: schemathesis.Case) -> None:
            case.call_and_validate(checks=CHECKS, headers=world.headers)

        try:
            ask()
        except FailureGroup as group:
            wrong += [f"{operation.label}: {one}" for one in group.exceptions]
        except Exception as error:  # noqa: BLE001 - what the application did not answer
            wrong.append(f"{operation.label}: {type(error).__name__}: {error}")
    return wrong


def _often(names: dict[str, list[Any]]) -> Callable[[Any, Any], Any]:
    """Puts what is there into paths, three times of four."""
    counter = itertools.count()

    def map_path_parameters(context: Any, path_parameters: Any) -> Any:
        turn = next(counter)
        if not path_parameters or turn % 4 == 3:
            return path_parameters
        return {
            name: names[name][turn // 4 % len(names[name])] if name in names else value
            for name, value in path_parameters.items()
        }

    return map_path_parameters


def map_query(context: Any, query: Any) -> Any:
    """Files in other layouts are made by a process with torch."""
    return {**query, "layout": "original"} if query and "layout" in query else query


def test_answers_are_as_described(world: World) -> None:
    assert broken(world, 3, path_regex=r"^(?!" + ABOUT_PEOPLE + ")") == []


def test_answers_about_people_are_as_described(team: World) -> None:
    assert broken(team, 6, path_regex=ABOUT_PEOPLE) == []


@pytest.mark.matrix
def test_many_answers_are_as_described(world: World) -> None:
    assert broken(world, 150, path_regex=r"^(?!" + ABOUT_PEOPLE + ")") == []


def test_the_reference_is_up_to_date() -> None:
    path = Path(__file__).parents[1] / "assets" / "api.py"
    written = runpy.run_path(str(path))
    assert (path.parents[1] / "docs" / "api.md").read_text(encoding="utf-8") == written["page"](), (
        "run: python assets/api.py"
    )
