"""Starting, watching and ordering runs by the API and the pages."""

import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from loraloom.captions.tokens import Counter, Encoded
from loraloom.dataset import intake
from loraloom.dataset.readiness.stored import check_stored
from loraloom.dataset.store import Store
from loraloom.findings import Severity
from loraloom.kinds import Kind
from loraloom.studio import draft
from loraloom.studio.job import State
from loraloom.studio.leases import Leases
from loraloom.studio.plans import Measure, Plan
from loraloom.studio.rows import note
from loraloom.studio.studio import Studio


@pytest.fixture
def cups(home: Path, pictures: Path) -> str:
    """A stored dataset of six captioned pictures."""
    intake.import_into(Store().place("cups"), [pictures])
    return "cups"


def settings(base: Path, **more: Any) -> dict[str, Any]:
    """A few quick steps."""
    return {
        "base": str(base), "trigger": "zk person", "data": {"folder": "cups"},
        "schedule": {"steps": 3}, "prior": {"images": 0}, **more,
    }  # fmt: skip


def tell(studio: Studio, job: int, *bodies: dict[str, Any], attempt: int = 1) -> None:
    """Events, as a worker would hand them on."""
    with studio.database.writing() as connection:
        note(connection, job, attempt, *bodies)


def step(number: int, loss: float = 0.5) -> dict[str, Any]:
    return {"event": "step", "step": number, "loss": loss, "learning_rate": 1e-4, "seconds": 2.0}


def test_a_run_is_started_and_its_dataset_kept(
    client: TestClient, studio: Studio, cups: str, base: Path
) -> None:
    asked = {"settings": settings(base), "name": "  my\n cups ", "preset": "beginner"}
    answer = client.post("/api/v1/jobs", json=asked)
    assert answer.status_code == 201, answer.text
    job = studio.jobs.get(answer.json()["id"])
    assert (job.name, job.steps, job.state) == ("my cups", 3, State.QUEUED)
    assert answer.headers["location"] == f"/api/v1/jobs/{job.id}"
    (kept,) = Store().open(cups).snapshots()
    assert f'folder = "cups@{kept.hash}"' in job.settings


def test_the_same_key_starts_once(
    client: TestClient, studio: Studio, cups: str, base: Path
) -> None:
    asked, key = {"settings": settings(base)}, {"Idempotency-Key": "one"}
    first = client.post("/api/v1/jobs", json=asked, headers=key)
    again = client.post("/api/v1/jobs", json=asked, headers=key)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    other = client.post("/api/v1/jobs", json={**asked, "name": "other"}, headers=key)
    assert other.status_code == 409
    assert "new key" in other.json()["detail"]
    assert len(studio.jobs.all()) == 1


def test_the_same_key_at_once_starts_once(
    client: TestClient, studio: Studio, cups: str, base: Path
) -> None:
    ids = []

    def ask() -> None:
        answer = client.post(
            "/api/v1/jobs", json={"settings": settings(base)}, headers={"Idempotency-Key": "k"}
        )
        ids.append(answer.json()["id"])

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 4
    assert len({*ids}) == len(studio.jobs.all()) == 1


def test_all_that_stands_in_the_way_is_told(client: TestClient, studio: Studio, base: Path) -> None:
    answer = client.post("/api/v1/jobs", json={"settings": {"base": str(base), "adaptor": 1}})
    assert answer.status_code == 422
    assert answer.json()["problems"] == [
        "Choose the dataset to learn from.",
        "There is no setting adaptor. Did you mean adapter?",
    ]
    assert studio.jobs.all() == []


def test_captions_and_triggers_are_asked_for(client: TestClient, cups: str, base: Path) -> None:
    stored = Store().open(cups)
    stored.set_captions({stored.working.pictures[0].sha256: ""})
    without = {k: v for k, v in settings(base).items() if k != "trigger"}
    told = client.post("/api/v1/jobs", json={"settings": without}).json()["problems"]
    assert "1 of 6 pictures have no caption yet." in told[0]
    assert "trigger" in told[1]


def test_errors_of_the_last_check_block_a_start(
    client: TestClient, studio: Studio, cups: str, base: Path, tmp_path: Path
) -> None:
    stored = Store().open(cups)
    stored.set_concepts([replace(one, trigger="zk person") for one in stored.working.concepts])
    asked = {"settings": {**settings(base), "kind": "character"}}

    def told() -> dict[str, Any]:
        (one,) = client.post("/api/v1/recipes", json=asked).json()["readiness"]
        assert isinstance(one, dict)
        return one

    assert (told()["standing"], told()["found"]) == ("unchecked", {})
    good = stored.working.pictures[0].caption
    stored.set_captions({stored.working.pictures[0].sha256: "zk-person, front view"})
    (stored.root / "checks").mkdir()
    check_stored(stored, Kind.CHARACTER, str(base), tmp_path)
    assert told()["standing"] == "fresh"
    # Another word than the trigger; that it is in 5 of 6 captions only is mended by training.
    assert (told()["errors"], told()["found"]["trigger-inconsistent"]) == (1, 1)
    assert told()["warnings"] > 0
    refused = client.post("/api/v1/jobs", json=asked)
    assert refused.status_code == 422
    (problem,) = refused.json()["problems"]
    assert problem.startswith(
        "The check of cups found an error, in 0.png: The trigger is written 'zk-person'"
    )
    assert (
        client.post(
            "/api/v1/jobs", json=asked | {"settings": {**asked["settings"], "kind": "style"}}
        ).status_code
        == 201
    )  # another check's errors
    own = {"settings": {**asked["settings"], "trigger": "qx person"}}
    assert client.post("/api/v1/jobs", json=own).status_code == 201
    data = {"concepts": [{"folder": "cups", "trigger": "qx person"}]}
    own = {"settings": {k: v for k, v in own["settings"].items() if k != "trigger"}}
    own["settings"]["data"] = data
    assert client.post("/api/v1/jobs", json=own).status_code == 201
    data["concepts"][0]["trigger"] = "zk person"
    assert client.post("/api/v1/jobs", json=own).status_code == 422
    stored.set_captions({stored.working.pictures[0].sha256: good})
    assert (told()["standing"], told()["errors"]) == ("older", 1)
    assert client.post("/api/v1/jobs", json=asked).status_code == 201
    check_stored(stored, Kind.CHARACTER, str(base), tmp_path)
    assert (told()["standing"], told()["errors"]) == ("fresh", 0)
    assert client.post("/api/v1/jobs", json=asked).status_code == 201


def test_a_guessed_trigger_blocks_no_start(
    client: TestClient, cups: str, base: Path, tmp_path: Path
) -> None:
    stored = Store().open(cups)
    texts = [f"1girl, scene {n}" for n in range(4)] + ["1-girl, a street", "a quiet harbour"]
    stored.set_captions(
        {one.sha256: text for one, text in zip(stored.working.pictures, texts, strict=True)}
    )
    (stored.root / "checks").mkdir()
    report = check_stored(stored, Kind.STYLE, str(base), tmp_path)
    told = {one.severity for one in report.findings if one.code.startswith("trigger-")}
    assert told == {Severity.HINT}
    asked = {"settings": {**settings(base), "kind": "style", "trigger": ""}}
    assert client.post("/api/v1/jobs", json=asked).status_code == 201


def test_the_trigger_is_judged_by_the_tokenizer_of_the_base(
    client: TestClient, cups: str, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clip:
        """A stand-in: 49,408 tokens, of which a frequent one is "zk"."""

        vocab_size = 49408

        def __call__(self, text: str, **_: object) -> Any:
            return Encoded(input_ids=[11_000] if text == "zk" else [2308])

    def warned() -> bool:
        told = client.post("/api/v1/recipes", json={"settings": settings(base)}).json()
        return any("Every word of the trigger" in sentence for sentence in told["warnings"])

    assert not warned()
    monkeypatch.setattr(draft, "light_counter", lambda base: Counter(Clip(), 75, chunked=True))
    assert warned()


def test_looking_keeps_nothing(client: TestClient, cups: str, base: Path) -> None:
    answer = client.post("/api/v1/recipes", json={"settings": settings(base)}).json()
    assert (answer["steps"], answer["pictures"], answer["blocking"]) == (3, 6, [])
    # 3 steps of 2 pictures, a tenth of the 6 held out
    assert answer["epochs"] == pytest.approx(3 * 2 / 5.4)
    assert answer["settings"]["adapter"]["alpha"] == answer["settings"]["adapter"]["rank"]
    assert Store().open(cups).snapshots() == []


def test_bases_are_listed(client: TestClient) -> None:
    (starter,) = client.get("/api/v1/bases").json()
    assert starter["name"] == "starter"
    assert starter["weights_mib"] > 1


def test_a_run_that_does_not_fit_is_not_started(
    client: TestClient, studio: Studio, cups: str, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studio.plans, "_ask", lambda config, less: too_large())
    plan = client.post("/api/v1/plans", json={"settings": settings(base)}).json()
    assert [measure["fits"] for measure in plan["measures"]] == [False, True]
    refused = client.post("/api/v1/jobs", json={"settings": settings(base)})
    assert refused.status_code == 422
    assert "needs about 20.0 GiB" in refused.json()["detail"]


def test_a_run_for_which_the_disk_is_too_small_is_not_started(
    client: TestClient, studio: Studio, cups: str, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = too_large()
    more = shutil.disk_usage(studio.data.parent).free // 2**20 + 10 * 1024
    whole = plan.measures[1].model_copy(update={"disk_mib": more})
    fits = plan.model_copy(update={"measures": [whole]})
    monkeypatch.setattr(studio.plans, "_ask", lambda config, less: fits)
    client.post("/api/v1/plans", json={"settings": settings(base)})
    refused = client.post("/api/v1/jobs", json={"settings": settings(base)})
    assert refused.status_code == 422
    assert "GiB of checkpoints and adapters, and the disk has" in refused.json()["detail"]


def test_finished_runs_tell_what_the_next_takes(
    client: TestClient, studio: Studio, cups: str, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = too_large()
    here = Plan(card="here", device="cpu", available_mib=12288, steps=3, measures=plan.measures[1:])
    monkeypatch.setattr(studio.plans, "_ask", lambda config, less: here)

    def told(**more: Any) -> Any:
        asked = {"settings": settings(base, **more)}
        client.post("/api/v1/plans", json=asked)
        return client.post("/api/v1/recipes", json=asked).json()["measured"]

    assert told() is None
    for device, peak_mib, all_seconds in (
        ("cpu", 500, (2.0, 3.0, 2.0)), ("cuda", 9000, (0.1, 0.1, 0.1)),
        ("cpu", 700, (4.0, 4.0, 9.0)), ("cpu", 600, (1.0, 90.0, 4.5)),
    ):  # fmt: skip
        client.post("/api/v1/jobs", json={"settings": settings(base)})
        leases = Leases(studio.database)
        held = leases.claim("here")
        assert held is not None
        steps = [step(n) | {"seconds": took} for n, took in enumerate(all_seconds, 1)]
        ended = {"event": "finished", "step": 3, "best_step": 3, "adapter": "a", "seconds": 500.0,
                 "peak_mib": peak_mib}  # fmt: skip
        leases.beat(held.lease, [{"event": "started", "device": device}, *steps, ended])
        leases.finish(held.lease)
    assert told() == {"runs": 3, "seconds_a_step": 4.0, "peak_mib": 700}  # of 2, 4 and 4.5
    assert told(schedule={"steps": 90}, trigger="zq other") == told()
    for more in (
        {"batch_size": 7}, {"data": {"folder": "cups", "resolution_px": 64}},
        {"adapter": {"type": "lokr"}}, {"text_encoder": {"ratio": 0.25}},
    ):  # fmt: skip
        assert told(**more) is None, more
    form = {"dataset": "cups", "base": str(base), "kind": "character", "trigger": "zk person",
            "schedule.steps": "300", "prior.images": "0", "plan": "1"}  # fmt: skip
    html = client.get("/train/new", params=form).text
    assert "as measured in 3 runs like this" in html
    assert "about 20 minutes" in html
    assert "measured: 0.7 GiB" in html
    html = client.get("/train/new", params=form | {"batch_size": "7"}).text
    assert "worked out from the speed of this machine" in html


def too_large() -> Plan:
    """Of a small card."""
    whole = Measure(
        name="as it is", settings=[], cost="", fits=False, peak_mib=20480, base_mib=1,
        adapter_mib=1, activations_mib=1, samples_mib=0, encoding_mib=1, disk_mib=1,
        seconds_a_step=1.5,
    )  # fmt: skip
    less = whole.model_copy(
        update={"name": "gradient checkpointing", "settings": ["gradient_checkpointing=true"],
                "fits": True, "peak_mib": 9000, "cost": "steps take a third longer"}
    )  # fmt: skip
    return Plan(
        card="Small card", device="cuda", available_mib=12288, steps=3, measures=[whole, less]
    )


def test_a_plan_is_made_by_a_child(client: TestClient, cups: str) -> None:
    asked = {"settings": {"data": {"folder": cups}, "trigger": "zk person"}}
    plan = client.post("/api/v1/plans", json=asked).json()
    assert plan["measures"][0]["fits"]
    assert plan["measures"][0]["peak_mib"] > 100


def test_curves_are_columns_and_thinned(
    client: TestClient, studio: Studio, cups: str, base: Path
) -> None:
    job = client.post("/api/v1/jobs", json={"settings": settings(base)}).json()["id"]
    started = {"event": "started", "steps": 5000, "first_step": 1}
    tell(studio, job, started, *(step(number, number % 2) for number in range(1, 4001)))
    tell(studio, job, {"event": "validated", "step": 4000, "train_loss": 0.2,
                       "held_out_loss": None, "gap": None})  # fmt: skip
    found = client.get(f"/api/v1/jobs/{job}/curves").json()
    assert found["steps"] == list(range(2, 4001, 2))
    assert set(found["loss"]) == {0.5}
    assert (found["validated"], found["held_out_loss"]) == ([4000], [None])
    # A resume from step 3,000 makes what came after it anew.
    tell(studio, job, {**started, "first_step": 3001}, step(3001), attempt=2)
    found = client.get(f"/api/v1/jobs/{job}/curves").json()
    assert (found["steps"][-1], found["validated"]) == (3001, [])


def test_the_queue_is_reordered(client: TestClient, studio: Studio, cups: str, base: Path) -> None:
    for priority in (0, 0, 3, 0):
        client.post("/api/v1/jobs", json={"settings": settings(base), "priority": priority})

    def order() -> list[int]:
        return [job.id for job in studio.jobs.queue()]

    assert order() == [3, 1, 2, 4]
    for job, places, becomes in (
        (4, -1, [3, 1, 4, 2]), (3, 1, [1, 3, 4, 2]), (2, -9, [2, 1, 3, 4]), (2, 9, [1, 3, 4, 2])
    ):  # fmt: skip
        assert client.post(f"/api/v1/jobs/{job}/move", json={"places": places}).status_code == 200
        assert order() == becomes
    studio.jobs.cancel(1)
    refused = client.post("/api/v1/jobs/1/move", json={"places": 1})
    assert refused.status_code == 409


def test_a_sweep_has_one_parent(client: TestClient, studio: Studio, cups: str, base: Path) -> None:
    first = client.post("/api/v1/jobs", json={"settings": settings(base), "name": "cups"}).json()
    asked = {"setting": "optimiser.learning_rate", "values": ["1e-4", "2e-4", "1e-4"]}
    made = client.post(f"/api/v1/jobs/{first['id']}/sweep", json=asked).json()
    assert [job["name"] for job in made] == [
        "cups · learning rate 1e-4",
        "cups · learning rate 2e-4",
    ]
    assert {job["parent"] for job in made} == {first["id"]}
    wrong = client.post(
        f"/api/v1/jobs/{first['id']}/sweep", json={"setting": "adapter.rank", "values": ["4", "x"]}
    )
    assert wrong.status_code == 422
    assert "adapter.rank = x" in wrong.json()["detail"]
    assert len(studio.jobs.all()) == 3
