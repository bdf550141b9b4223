"""Automatic captions as a job of the studio: done by a worker, taken up again, taken back."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from tests.chat_server import Asked, Said, Server, serving

from loraloom.captions.auto import order as orders
from loraloom.captions.auto.order import DescribeOrder, Wish
from loraloom.dataset import intake
from loraloom.dataset.snapshot import Concept
from loraloom.dataset.stored import StoredDataset
from loraloom.errors import ConfigInvalid, Forbidden
from loraloom.starter.example import write_example
from loraloom.starter.world.scene import CHARACTERS
from loraloom.studio import describing
from loraloom.studio.job import Job, State, Task
from loraloom.studio.rights import Person, Role, Visibility
from loraloom.studio.studio import Studio

MIRA = CHARACTERS[0]
SAID = "a red cup on a table, soft light"
WORKER = [sys.executable, "-m", "loraloom", "worker", "--once"]
WISH = {"kind": "object", "base": "starter"}


@pytest.fixture
def stored(studio: Studio, tmp_path: Path) -> StoredDataset:
    """Four pictures of Mira; the first alone has a caption."""
    folder = tmp_path / "mira"
    write_example(folder, MIRA, 4)
    for text in sorted(folder.glob("*.txt"))[1:]:
        text.unlink()
    found = studio.datasets.place("mira")
    intake.import_into(found, [folder])
    found.set_concepts([Concept("main", MIRA.trigger)])
    return found


def captions(stored: StoredDataset) -> list[str]:
    return [picture.caption for picture in stored.working.pictures]


def work() -> None:
    """A worker that leaves when nothing is left to do."""
    done = subprocess.run(WORKER, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def ended(studio: Studio, job: Job) -> Job:
    work()
    return studio.jobs.get(job.id)


def until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.05)


def test_the_starters_tagger_describes_what_has_no_caption(
    client: TestClient, studio: Studio, stored: StoredDataset
) -> None:
    before = captions(stored)
    client.post("/datasets/mira/checks", data={"kind": "character", "base": "starter"})
    answer = client.post("/datasets/mira/describe", data={"by": "", "scope": "missing"})
    assert answer.status_code == 303, answer.text
    assert 'hx-trigger="job:1 from:body' in client.get("/datasets/mira/captions").text
    work()
    after = captions(stored)
    assert after[0] == before[0]
    assert all(caption.startswith(f"{MIRA.trigger}, ") for caption in after[1:])
    told = describing.latest(studio.jobs, "mira")
    assert told is not None and told.job.task is Task.DESCRIBE
    assert {key: told.told[key] for key in ("written", "skipped", "failed")} == {
        "written": 3, "skipped": 1, "failed": 0,
    }  # fmt: skip
    assert "3 captions written by" in client.get("/datasets/mira/captions").text
    assert stored.undo() == "automatic captions"
    assert captions(stored) == before


def test_those_chosen_are_described_anew(
    client: TestClient, studio: Studio, stored: StoredDataset
) -> None:
    first = stored.working.pictures[0].sha256
    client.post("/datasets/mira/checks", data={"kind": "character", "base": "starter"})
    answer = client.post("/datasets/mira/bulk", data={"action": "describe", "sha": [first]})
    assert answer.headers["location"].startswith("/datasets/mira/captions")
    order = orders.parse(studio.jobs.get(1).settings)
    assert (order.pictures, order.replace) == ((first,), True)
    work()
    assert captions(stored)[1:] == ["", "", ""]
    assert captions(stored)[0]


@contextmanager
def asked_on_the_way(studio: Studio, ask: Callable[[int], object]) -> Iterator[tuple[Server, Job]]:
    """A worker that describes Mira's pictures, of which `ask` is asked while the second is."""
    held = threading.Event()

    def answer(asked: Asked, number: int) -> Said:
        return Said(SAID, wait=held if number == 1 else None)

    with serving(answer) as server:
        wish = Wish.model_validate(WISH | {"provider": server.address, "model": "eye"})
        job, _ = describing.start(studio.jobs, studio.datasets, "mira", wish)
        worker = threading.Thread(target=work)
        worker.start()
        until(lambda: len(server.asked) == 2)
        ask(job.id)
        time.sleep(2)  # the worker passes the request on
        held.set()
        worker.join(120)
        yield server, job


def test_a_pause_keeps_what_was_answered(studio: Studio, stored: StoredDataset) -> None:
    with asked_on_the_way(studio, studio.jobs.pause) as (server, job):
        assert studio.jobs.get(job.id).state is State.PAUSED
        assert captions(stored)[1:] == ["", "", ""]
        studio.jobs.resume(job.id)
        assert ended(studio, job).state is State.FINISHED
        assert len(server.asked) == 3  # none of them twice
    assert all(captions(stored)[1:])


def test_ending_writes_what_was_answered(studio: Studio, stored: StoredDataset) -> None:
    with asked_on_the_way(studio, studio.jobs.stop) as (_, job):
        assert studio.jobs.get(job.id).state is State.FINISHED
    assert [bool(caption) for caption in captions(stored)] == [True, True, True, False]


def test_what_is_wrong_is_told_by_the_job(studio: Studio, stored: StoredDataset) -> None:
    wish = Wish.model_validate(WISH | {"tagger": "no-such-tagger"})
    job, _ = describing.start(studio.jobs, studio.datasets, "mira", wish)
    found = ended(studio, job)
    assert found.state is State.FAILED
    assert "There is no tagger 'no-such-tagger'" in found.message


def test_only_owners_name_addresses_folders_and_variables(
    client: TestClient, studio: Studio, stored: StoredDataset
) -> None:
    datasets = studio.datasets.seen_by(Person(7, "Ada", Role.MEMBER))
    datasets.create("own")
    jobs = studio.jobs.seen_by(datasets.person)
    with pytest.raises(ConfigInvalid, match="no picture"):
        describing.start(jobs, datasets, "own", Wish())
    with pytest.raises(Forbidden, match="Only owners"):
        describing.start(jobs, datasets, "own", Wish(provider="http://10.0.0.1/v1"))
    with pytest.raises(ConfigInvalid, match="name one of starter"):
        describing.start(jobs, datasets, "own", Wish(tagger="/etc"))
    studio.datasets.share("mira", Visibility.PUBLIC)
    with pytest.raises(Forbidden, match="somebody else"):
        describing.start(jobs, datasets, "mira", Wish())


def test_an_order_goes_through_toml() -> None:
    order = DescribeOrder(
        dataset="cups “x”", pictures=("ab", "cd"), threshold=0.5, prompt="tags", replace=True
    )
    assert orders.parse(orders.to_toml(order)) == order


def test_the_same_request_is_made_once(client: TestClient, stored: StoredDataset) -> None:
    def ask(*, replace: bool = False) -> tuple[int, int | None]:
        answer = client.post(
            "/api/v1/datasets/mira/descriptions",
            json=WISH | {"replace": replace},
            headers={"Idempotency-Key": "one"},
        )
        return answer.status_code, answer.json().get("id")

    assert ask() == ask() == (202, 1)
    assert ask(replace=True)[0] == 409
