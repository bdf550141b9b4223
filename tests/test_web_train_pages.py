"""The pages of runs: the form of a new one, the queue, one run, two side by side."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from playwright.sync_api import Browser, expect
from tests import studio_server
from tests.studio_server import until
from tests.test_web_train import cups, settings, step, too_large

from loraloom.dataset.store import Store
from loraloom.kinds import Kind
from loraloom.studio.checks import Aim, Checks
from loraloom.studio.job import Reason, State
from loraloom.studio.leases import Leases
from loraloom.studio.studio import Studio
from loraloom.web import form

__all__ = ["cups"]


def filled(base: Path, **more: str) -> dict[str, str]:
    """The form of a few quick steps."""
    return {
        "dataset": "cups", "base": str(base), "kind": "character", "trigger": "zk person",
        "schedule.steps": "3", "prior.images": "0", **more,
    }  # fmt: skip


def disabled(html: str) -> bool:
    button = re.search(r'<button class="primary" id="go"([^>]*)>', html)
    assert button is not None
    return "disabled" in button[1]


def add(client: TestClient, base: Path, **more: Any) -> int:
    answer = client.post("/api/v1/jobs", json={"settings": settings(base, **more), "name": "cups"})
    return int(answer.json()["id"])


def test_every_setting_has_a_field() -> None:
    from loraloom.config import TrainConfig

    names = {
        f"{name}.{key}" if hasattr(field.annotation, "model_fields") else name
        for name, field in TrainConfig.model_fields.items()
        for key in getattr(field.annotation, "model_fields", {"": None})
    }
    assert form.inputs().keys() == names
    assert all(one.help for one in form.inputs().values())


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("batch_size", "4", 4),
        ("batch_size", "4.5", "4.5"),
        ("optimiser.learning_rate", "1e-4", 1e-4),
        ("gradient_checkpointing", "yes", True),
        ("optimiser.betas", "0.9, 0.99", [0.9, 0.99]),
        ("adapter.targets", "full", "full"),
        ("adapter.targets", "to_q, to_k", ["to_q", "to_k"]),
        ("adapter.ranks", "to_q = 4, to_k = 8", {"to_q": 4, "to_k": 8}),
        ("objective.shift", "resolution", "resolution"),
        ("objective.shift", "3", 3),
        ("samples.prompts", "a cup, red\n\n a pot ", ["a cup, red", "a pot"]),
    ],
)
def test_what_is_typed_becomes_a_value(name: str, text: str, value: object) -> None:
    one = form.inputs()[name]
    assert one.read(text) == value
    assert one.read(one.show(value)) == value


def test_the_form_says_why_it_cannot_start(client: TestClient, cups: str, base: Path) -> None:
    html = client.get("/train/new").text
    assert disabled(html)
    assert "Choose the dataset" in html
    html = client.get("/train/new", params={**filled(base), "trigger": ""}).text
    assert disabled(html)
    assert "Give it a trigger" in html
    assert not disabled(client.get("/train/new", params=filled(base)).text)
    wrong = client.get("/train/new", params=filled(base, batch_size="many")).text
    assert disabled(wrong)
    assert "batch_size = &#39;many&#39; is not possible" in wrong
    assert Store().open("cups").snapshots() == []


def test_the_form_shows_the_last_check(client: TestClient, cups: str, base: Path) -> None:
    stored, form = Store().open(cups), filled(base)
    html = client.get("/train/new", params=form).text
    assert "Not checked yet" in html
    assert "Check it now" in html
    asked = {"kind": "character", "base": str(base)}
    back = client.post("/datasets/cups/checks", data={**form, **asked, "then": "/train/new?x=1"})
    assert back.headers["location"] == "/train/new?x=1"
    until(lambda: "All that was found" in client.get("/train/new", params=form).text)
    html = client.get("/train/new", params=form).text
    link = re.search(r'href="(/datasets/cups/checks[^"#]*)#too-few"', html)
    assert link is not None
    assert 'id="too-few"' in client.get(link[1].replace("&amp;", "&")).text
    assert "Check it now" not in html
    assert not disabled(html)
    stored.set_concepts([replace(one, trigger="zk person") for one in stored.working.concepts])
    stored.set_captions({stored.working.pictures[0].sha256: "zk-person, front view"})
    html = client.get("/train/new", params=form).text
    assert "changed since its last check" in html
    assert not disabled(html)
    checks = Checks(stored.root / "measures")
    checks.run(stored, Aim(Kind.CHARACTER, str(base)))
    html = client.get("/train/new", params=form).text
    assert disabled(html)
    assert "The check of cups found an error" in html
    refused = client.post("/train/new", data=form)
    assert refused.status_code == 422


def test_only_settings_with_an_effect_are_shown(client: TestClient, cups: str, base: Path) -> None:
    html = client.get("/train/new", params=filled(base)).text
    assert 'name="objective.min_snr_gamma"' in html
    for idle in ("objective.shift", "data.frames", "schedule.power", "objective.huber_c", "expert"):
        assert f'name="{idle}"' not in html
    html = client.get("/train/new", params=filled(base, **{"objective.loss": "huber"})).text
    assert 'name="objective.huber_c"' in html
    # One that was given stays to be seen, and the page says why it cannot be.
    html = client.get("/train/new", params=filled(base, **{"schedule.power": "2"})).text
    assert 'name="schedule.power"' in html
    assert "schedule.power = 2.0 has no effect" in html


def test_the_form_starts_a_run_once(
    client: TestClient, studio: Studio, cups: str, base: Path
) -> None:
    given = filled(base, key="abc", name="Cups")
    first, again = (client.post("/train/new", data=given) for _ in range(2))
    assert (first.status_code, first.headers["location"]) == (303, "/train/1")
    assert again.headers["location"] == "/train/1"
    other = client.post("/train/new", data={**given, "schedule.steps": "4"})
    assert other.headers["location"] == "/train/2"
    refused = client.post("/train/new", data={**given, "dataset": ""})
    assert refused.status_code == 422
    assert "Choose the dataset" in refused.text
    assert [job.steps for job in studio.jobs.all()] == [4, 3]


def test_a_run_is_made_again_with_a_change(
    client: TestClient, studio: Studio, cups: str, base: Path
) -> None:
    job = add(client, base, adapter={"rank": 8})
    html = client.get("/train/new", params={"from": job}).text
    assert re.search(r'name="adapter.rank" value="8"', html)
    assert re.search(r'name="adapter.alpha" value=""', html)  # follows the rank
    assert "it would give the same adapter again" in html
    given = filled(base, **{"from": str(job), "adapter.rank": "4"})
    given["version"] = Store().open("cups").snapshots()[0].hash
    made = client.post("/train/new", data=given)
    new = studio.jobs.get(int(made.headers["location"].rpartition("/")[2]))
    assert new.parent_id == job
    page = client.get(f"/train/{new.id}").text
    assert "adapter.rank" in page
    assert "Changed from" in page


def test_measures_are_one_click(
    client: TestClient, studio: Studio, cups: str, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studio.plans, "_ask", lambda config, less: too_large())
    html = client.get("/train/new", params=filled(base, plan="1")).text
    assert disabled(html)
    assert "It needs about 20.0 GiB of memory, and Small card has 12.0 GiB." in html
    assert 'name="set" value="gradient_checkpointing=true"' in html
    fixed = client.get("/train/new", params=filled(base, set="gradient_checkpointing=true")).text
    assert re.search(r'name="gradient_checkpointing".*?<option value="yes" selected', fixed, re.S)
    assert not disabled(fixed)


def test_words_of_users_are_escaped(client: TestClient, cups: str, base: Path) -> None:
    evil = '"><script>alert(1)</script>%(x)s'
    for params in (filled(base, name=evil), filled(base, trigger=evil), filled(base, dataset=evil),
                   filled(evil), filled(base, seed=evil), {"from": evil}):  # fmt: skip
        answer = client.get("/train/new", params=params)
        assert answer.status_code == 200
        assert "<script>alert" not in answer.text
    assert client.get("/train/new", params={"from": "999"}).status_code == 200


def test_a_run_tells_how_far_it_is(
    client: TestClient, studio: Studio, cups: str, base: Path
) -> None:
    job = add(client, base, samples={"prompts": ["zk person"], "every_steps": 2})
    waiting = client.get(f"/train/{job}").text
    assert "It is the next in the queue." in waiting
    leases = Leases(studio.database)
    claimed = leases.claim("here")
    assert claimed is not None
    leases.beat(claimed.lease, [{"event": "stage", "name": "latents", "done": 2, "total": 6}])
    assert "Pictures become latents" in client.get(f"/train/{job}").text
    started = {
        "event": "started", "steps": 3, "first_step": 1, "items": 5, "held_out": 1,
        "prior_images": 0, "trainable": 9, "precision": "float32", "device": "cpu",
        "effective_learning_rate": 1e-4,
    }  # fmt: skip
    found = {"event": "diagnosed", "step": 2, "fault": "loss_flat", "message": "It is <flat>."}
    folder = claimed.run_folder
    (folder / "samples").mkdir(parents=True)
    (folder / "samples" / "step-000002-0.png").write_bytes(b"png")
    (folder / "adapters").mkdir()
    (folder / "adapters" / "step-000002.safetensors").write_bytes(b"12")
    drawn = {"event": "sampled", "step": 2, "paths": [str(folder / "samples/step-000002-0.png")]}
    leases.beat(claimed.lease, [started, step(1), step(2), found, drawn])
    page = client.get(f"/train/{job}").text
    assert "It is &lt;flat&gt;." in page
    assert '>2 <span class="soft">seconds a step' in page
    assert f"/api/v1/jobs/{job}/files/samples/step-000002-0.png" in page
    assert f"/api/v1/jobs/{job}/files/adapters/step-000002.safetensors" in page
    assert "left" in client.get("/train").text
    leases.fail(claimed.lease, Reason.MEMORY, "All of it was used up.")
    failed = client.get(f"/train/{job}").text
    assert "All of it was used up." in failed
    assert f"/train/new?from={job}" in failed


def test_the_queue_shows_what_is_asked_for(
    client: TestClient, studio: Studio, cups: str, base: Path
) -> None:
    jobs = [add(client, base) for _ in range(3)]
    studio.jobs.cancel(jobs[2])
    assert "2 of 2 in the queue" in client.get("/train").text
    assert client.post(f"/train/{jobs[1]}/move", data={"places": -1}).status_code == 303
    assert [job.id for job in studio.jobs.queue()] == [2, 1]
    failed = client.get("/train", params={"show": "failed"}).text
    assert 'id="job-3"' in failed
    assert 'id="job-1"' not in failed
    assert "No run is in this state" in client.get("/train", params={"show": "running"}).text


def test_runs_are_found(client: TestClient, studio: Studio, cups: str, base: Path) -> None:
    for name in ("cups", "cups MIRA 50%", "all cups"):
        client.post("/api/v1/jobs", json={"settings": settings(base), "name": name})
    studio.jobs.cancel(1)

    def found(q: str, **more: str) -> list[int]:
        html = client.get("/train", params={"q": q, **more}).text
        told = client.get("/api/v1/jobs", params={"q": q}).json()["jobs"]
        shown = [int(number) for number in re.findall(r'id="job-(\d+)"', html)]
        assert more or shown == [one["id"] for one in told]
        return shown

    assert found("cups") == [3, 2, 1]
    assert found("mira CUPS") == found("0%") == found("mira\0cups") == [2]  # % is no wildcard
    assert found("#1") == [1]
    assert found("mira", show="failed") == found("#99999999999") == []
    html = client.get("/train", params={"q": "all", "show": "failed", "parent": "1"}).text
    assert 'href="/train?show=running&amp;parent=1&amp;q=all"' in html  # what is looked for stays
    assert 'href="/train?show=failed&amp;parent=1">Show all' in html
    assert client.get("/adapters", params={"q": "a\0b"}).status_code == 200


def test_the_queue_names_base_and_gpu(
    client: TestClient, studio: Studio, cups: str, base: Path
) -> None:
    add(client, base)
    held = Leases(studio.database).claim("here")
    assert held is not None
    assert f"· {base.name}" in client.get("/train").text
    assert "GPU" not in client.get("/train").text
    Leases(studio.database).beat(held.lease, [{"event": "placed", "gpu": "3"}])
    assert "GPU 3" in client.get("/train").text


def test_a_sweep_by_the_page_lists_its_runs(client: TestClient, cups: str, base: Path) -> None:
    job = add(client, base)
    made = client.post(f"/train/{job}/sweep", data={"setting": "adapter.rank", "values": "2, 4"})
    assert made.headers["location"] == f"/train?parent={job}"
    html = client.get(f"/train?parent={job}").text
    assert "cups · rank 2" in html
    assert "cups · rank 4" in html


def test_two_runs_are_compared(client: TestClient, studio: Studio, cups: str, base: Path) -> None:
    first = add(client, base)
    stored = Store().open(cups)
    stored.set_captions({stored.working.pictures[0].sha256: "zk person, anew"})
    second = add(client, base, adapter={"rank": 4})
    chosen = client.get("/compare", params={"job": [second, first]})
    assert chosen.headers["location"] == f"/compare?a={first}&b={second}"
    html = client.get("/compare", params={"a": first, "b": second}).text
    assert "adapter.rank" in html
    assert "1 captions changed" in html
    assert "2 things differ" in html  # rank and pictures; alpha follows the rank
    assert client.get("/compare").status_code == 200


def test_what_was_found_is_kept_with_the_comparison(
    client: TestClient, studio: Studio, cups: str, base: Path
) -> None:
    for _ in range(3):
        add(client, base)
    html = client.get("/compare").text
    assert "Compared before" not in html
    assert re.findall(r'value="(\d)" selected', html) == ["2", "3"]  # the newest two
    assert re.findall(r'value="(\d)" selected', client.get("/compare?job=3").text) == ["3", "2"]
    found = {"a": "2", "b": "1", "winner": "2", "note": "sharper <b>eyes</b>"}
    assert client.post("/compare", data=found).headers["location"] == "/compare?a=2&b=1"
    html = client.get("/compare?a=1&b=2").text
    assert re.search(r'name="winner" value="2" checked', html)
    assert "sharper &lt;b&gt;eyes" in html
    assert "sharper &lt;b&gt;eyes" in client.get("/compare").text
    assert "sharper" not in client.get("/compare?a=1&b=3").text

    (told,) = client.get("/api/v1/comparisons").json()["comparisons"]
    assert (told["first"], told["second"], told["winner"]) == (1, 2, 2)
    client.put("/api/v1/comparisons/1/2", json={"note": "the same after all"})
    (told,) = client.get("/api/v1/comparisons").json()["comparisons"]
    assert (told["winner"], told["note"]) == (None, "the same after all")
    refused = client.put("/api/v1/comparisons/1/2", json={"winner": 3})
    assert (refused.status_code, refused.json()["detail"]) == (
        422, "The better of 1 and 2 cannot be 3."
    )  # fmt: skip
    assert client.put("/api/v1/comparisons/1/1", json={"note": "x"}).status_code == 422
    assert client.put("/api/v1/comparisons/1/9", json={"note": "x"}).status_code == 404
    long = {"a": "1", "b": "2", "note": "\r\n" * 100 + "x" * 4900}  # as browsers send lines
    assert client.post("/compare", data=long).status_code == 303
    assert client.post("/compare", data=long | {"note": "x" * 5001}).status_code == 422
    assert client.put("/api/v1/comparisons/2/1", json={}).json() is None
    assert client.get("/api/v1/comparisons").json()["comparisons"] == []


@pytest.mark.matrix
def test_a_run_from_the_form_to_its_adapter(
    served: str, browser: Browser, cups: str, base: Path, home: Path
) -> None:
    page = browser.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(f"{served}/train/new?base={base}&schedule.steps=3&prior.images=0")
    expect(page.locator("#go")).to_be_disabled()
    page.select_option("[name=dataset]", "cups")
    expect(page.locator("#why")).to_contain_text("trigger", timeout=30_000)
    page.fill("[name=trigger]", "zk person")
    page.keyboard.press("Tab")  # to the name, where typing goes on
    page.keyboard.type("My cups")
    expect(page.locator("#go")).to_be_enabled(timeout=30_000)
    assert page.evaluate("document.activeElement.name") == "name"
    assert page.input_value("[name=name]") == "My cups"
    page.keyboard.press("Control+Enter")
    expect(page).to_have_url(re.compile(r"/train/1$"), timeout=30_000)
    expect(page.locator("h1")).to_have_text("My cups")
    expect(page.locator(".badge.finished")).to_be_visible(timeout=120_000)
    expect(page.locator("#curve .u-legend")).to_be_visible()
    with page.expect_download() as download:
        page.click("text=Download the adapter")
    assert Path(download.value.path()).read_bytes()[8:9] == b"{"
    assert problems == []


def test_the_queue_and_a_run_by_keyboard(
    studio: Studio, client: TestClient, browser: Browser, cups: str, base: Path, home: Path
) -> None:
    first, second = add(client, base), add(client, base)
    with studio_server.running(home, "--no-worker") as address:
        page = browser.new_context(base_url=address).new_page()
        page.goto("/train")
        page.keyboard.press("ArrowDown")
        expect(page.locator(f"#job-{second} .named a")).to_be_focused()
        with page.expect_navigation():  # the keys are there again once it is loaded
            page.keyboard.press("Shift+ArrowUp")
        expect(page.locator(f"#job-{second}")).to_contain_text("1 of 2 in the queue")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Delete")
        page.wait_for_url(f"**/train/{first}")
        expect(page.locator("#cancel")).to_be_visible()
        page.locator("#cancel button.danger").click()
        expect(page.locator(".badge.cancelled")).to_be_visible()
        for number in range(5):
            named = {"settings": settings(base), "name": f"mira{number}"}
            client.post("/api/v1/jobs", json=named)
        page.goto("/train")
        page.keyboard.press("/")
        page.keyboard.type("mira3")
        expect(page.locator("[data-rows] tr")).to_have_count(1)
        expect(page.get_by_role("link", name="Waiting")).to_have_attribute("href", re.compile("q="))
        page.goto(f"/train/{second}")
        page.keyboard.press("p")
        expect(page.locator(".badge.paused")).to_be_visible()
        page.context.close()


def test_a_run_is_cancelled_without_script(
    studio: Studio, client: TestClient, browser: Browser, cups: str, base: Path, home: Path
) -> None:
    job = add(client, base)
    with studio_server.running(home, "--no-worker") as address:
        page = browser.new_context(base_url=address, java_script_enabled=False).new_page()
        page.goto("/train")
        page.locator(f"#job-{job} a[href$='#cancel']").click()
        page.locator("#cancel a").click()
        expect(page.locator("#cancel")).to_be_hidden()
        page.locator("a[href='#cancel']").click()
        page.locator("#cancel button.danger").click()
        page.context.close()
    assert studio.jobs.get(job).state is State.CANCELLED
