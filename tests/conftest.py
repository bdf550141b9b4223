"""What holds for all tests."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from fastapi.testclient import TestClient
    from playwright.sync_api import Browser

    from loraloom.studio.studio import Studio

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is imported: one thread for each worker
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# That a machine is busy with something else is no fault of the code.
settings.register_profile("loraloom", deadline=None)
settings.load_profile("loraloom")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """The rows of a table that its `each_time` does not name are for `make matrix` alone."""
    for item in items:
        named = item.get_closest_marker("each_time")
        if named and item.callspec.id not in named.args:
            item.add_marker(pytest.mark.matrix)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny Stable Diffusion 1; tests that change files make their own."""
    from tests import tiny

    return tiny.save_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Captioned pictures; tests that change files make their own."""
    from tests import tiny

    return tiny.save_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder, with SQLite, that everything in the test uses."""
    folder = tmp_path / "home"
    monkeypatch.setenv("LORALOOM_HOME", str(folder))
    monkeypatch.delenv("LORALOOM_DATABASE", raising=False)
    return folder


@pytest.fixture
def studio(home: Path) -> "Iterator[Studio]":
    """An installation."""
    from loraloom.studio.studio import open_studio

    opened = open_studio()
    yield opened
    opened.database.close()


@pytest.fixture
def client(studio: "Studio") -> "Iterator[TestClient]":
    """Its routes, asked as its own pages ask; redirects are not followed."""
    from fastapi.testclient import TestClient

    from loraloom.web.app import create_app

    with TestClient(
        create_app(studio, frozenset({"testserver"})), follow_redirects=False
    ) as asking:
        yield asking


@pytest.fixture
def served(home: Path) -> "Iterator[str]":
    """The address of a real server with a real worker, both child processes of the test."""
    from tests import studio_server

    with studio_server.running(home) as address:
        yield address


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    """Chromium, headless, that reaches nothing but this machine."""
    from tests import studio_server

    with studio_server.chromium() as started:
        yield started
