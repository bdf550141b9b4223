"""What would mend a run that failed, and queueing it so."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.test_web_train import cups, settings, too_large

from loraloom import config_tree
from loraloom.studio import described
from loraloom.studio.job import Reason
from loraloom.studio.leases import Leases
from loraloom.studio.studio import Studio

__all__ = ["cups"]


def failed(client: TestClient, studio: Studio, base: Path, reason: Reason, **more: Any) -> int:
    """A run that ended so."""
    asked = {"settings": settings(base, **more), "name": "cups"}
    job = int(client.post("/api/v1/jobs", json=asked).json()["id"])
    leases = Leases(studio.database)
    held = leases.claim("here")
    assert held is not None and held.id == job
    for _ in range(10):  # what may pass is tried again
        leases.fail(held.lease, reason, "It broke.")
        held = leases.claim("here") or held
    return job


def text_of(html: str) -> str:
    """The part with the fix, without its tags."""
    found = re.search(r'<div id="fix".*?</div></div>', html, re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", found[0]).split()) if found else ""


def test_half_the_learning_rate_where_the_loss_was_not_finite(
    client: TestClient, studio: Studio, cups: str, base: Path
) -> None:
    job = failed(client, studio, base, Reason.NOT_FINITE, optimiser={"learning_rate": 3e-4})
    assert "optimiser.learning_rate 0.0003 0.00015" in text_of(client.get(f"/train/{job}").text)
    assert "half the learning rate" in client.get("/train").text
    told = client.get(f"/api/v1/jobs/{job}/fix").json()
    both = {"optimiser.learning_rate": [3e-4, 1.5e-4],
            "text_encoder.learning_rate": [5e-5, 2.5e-5]}  # fmt: skip
    assert told["changes"] == both
    answer = client.post(f"/train/{job}/fix")
    assert (answer.status_code, answer.headers["location"]) == (303, "/train/2")
    assert described.changed(studio.jobs.get(job), studio.jobs.get(2)) == told["changes"]
    assert (studio.jobs.get(2).parent_id, studio.jobs.get(2).name) == (job, "cups")
    again = client.post(f"/api/v1/jobs/{job}/fix")
    assert (again.status_code, again.json()["id"]) == (201, 2)


def test_prodigy_has_one_rate_for_the_text_encoder_too(
    client: TestClient, studio: Studio, cups: str, base: Path
) -> None:
    more = {"optimiser": {"name": "prodigy"}, "text_encoder": {"ratio": 0.5}}
    job = failed(client, studio, base, Reason.NOT_FINITE, **more)
    told = client.get(f"/api/v1/jobs/{job}/fix").json()
    assert {*told["changes"]} == {"optimiser.learning_rate", "text_encoder.learning_rate"}
    assert client.post(f"/api/v1/jobs/{job}/fix").status_code == 201


def test_the_next_measure_where_memory_was_short(
    client: TestClient, studio: Studio, cups: str, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = failed(client, studio, base, Reason.MEMORY, gradient_checkpointing=False)
    monkeypatch.setattr(studio.plans, "_ask", lambda config, less: too_large())
    assert f'hx-get="/train/{job}?plan=1"' in client.get(f"/train/{job}").text
    told = text_of(client.get(f"/train/{job}?plan=1").text)
    assert "gradient_checkpointing False True" in told
    assert "steps take a third longer" in told
    assert "gradient_checkpointing" in text_of(client.get(f"/train/{job}").text)  # known by now
    chinese = client.get(f"/train/{job}", headers={"Accept-Language": "zh-TW"}).text
    assert "每步多花三分之一的時間" in text_of(chinese)
    made = client.post(f"/api/v1/jobs/{job}/fix").json()["id"]
    changes = described.changed(studio.jobs.get(job), studio.jobs.get(made))
    assert changes == {"gradient_checkpointing": [False, True]}


@pytest.mark.matrix
def test_a_measure_is_found_where_the_plan_said_that_it_fits(
    client: TestClient, studio: Studio, cups: str
) -> None:
    job = failed(client, studio, Path("starter"), Reason.MEMORY, gradient_checkpointing=False)
    told = text_of(client.get(f"/train/{job}?plan=1").text)
    assert "gradient_checkpointing False True" in told
    config = config_tree.validate(tomllib.loads(studio.jobs.get(job).settings))
    plan = studio.plans.known(config, less=True)
    assert plan is not None and plan.fits and len(plan.measures) == 2


def test_the_costs_of_all_measures_are_told(
    client: TestClient, studio: Studio, cups: str, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = failed(client, studio, base, Reason.MEMORY, gradient_checkpointing=False)
    plan = too_large()
    whole, slower = plan.measures
    given = [("quantisation=int8", "rounds a little", 8000), ("quantisation=nf4", "rounds", 7000)]
    rounded = [
        slower.model_copy(
            update={"settings": [*slower.settings, text], "cost": cost, "peak_mib": peak,
                    "fits": peak == 7000}
        )
        for text, cost, peak in given
    ]  # fmt: skip
    measures = [whole, slower.model_copy(update={"fits": False}), *rounded]
    found = plan.model_copy(update={"measures": measures})
    monkeypatch.setattr(studio.plans, "_ask", lambda config, less: found)
    told = client.get(f"/api/v1/jobs/{job}/fix").json()
    assert told["cost"] == "steps take a third longer; rounds"


def test_where_no_measure_is_enough(
    client: TestClient, studio: Studio, cups: str, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = failed(client, studio, base, Reason.MEMORY)
    plan = too_large()
    hopeless = plan.model_copy(update={"measures": plan.measures[:1]})
    monkeypatch.setattr(studio.plans, "_ask", lambda config, less: hopeless)
    assert "No measure is enough" in text_of(client.get(f"/train/{job}?plan=1").text)
    assert client.get(f"/api/v1/jobs/{job}/fix").json() is None
    refused = client.post(f"/train/{job}/fix")
    assert (refused.status_code, "No single change" in refused.text) == (409, True)


@pytest.mark.parametrize(
    ("reason", "offered"),
    [
        (Reason.DISK, ["See what takes room", "Try again"]),
        (Reason.LOST, ["Try again"]),
        (Reason.DATA, []),
    ],
)
def test_what_no_setting_mends(
    client: TestClient, studio: Studio, cups: str, base: Path, reason: Reason, offered: list[str]
) -> None:
    job = failed(client, studio, base, reason)
    told = text_of(client.get(f"/train/{job}").text)
    assert all(words in told for words in offered)
    assert bool(told) == bool(offered)
    assert client.get(f"/api/v1/jobs/{job}/fix").json() is None
    if offered:
        client.post(f"/train/{job}/resume")
        assert studio.jobs.get(job).state == "queued"
