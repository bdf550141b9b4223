"""The playground and comparisons: what is asked for becomes a job, and pictures stay."""

from __future__ import annotations

import io
import re
import shutil
import tomllib
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from PIL import Image, ImageChops, ImageStat
from playwright.sync_api import Browser, expect
from tests import library, tiny

from loraloom.generate import order as orders
from loraloom.generate.draw import Loader, draw
from loraloom.studio.job import State, Task
from loraloom.studio.leases import Leases
from loraloom.studio.pictures import PRIORITY
from loraloom.studio.studio import Studio, open_studio
from loraloom.train.stop import StopRequest


def drawn(studio: Studio, job_id: int) -> None:
    """As if a worker had drawn the order."""
    job = studio.jobs.get(job_id)
    for number in range(len(orders.parse(job.settings).pictures)):
        for path in (
            orders.picture_file(job.run_folder, number),
            orders.small_file(job.run_folder, number),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8)).save(path)
    held = Leases(studio.database).claim("test")
    assert held is not None and held.id == job_id
    Leases(studio.database).finish(held.lease)


def test_asking_queues_an_order(
    client: TestClient, studio: Studio, base: Path, pictures: Path
) -> None:
    adapter = library.one(studio, base, pictures)
    form = {
        "prompt": "on a table", "adapter": [adapter.id], "scale": ["0.8"], "on": [adapter.id],
        "count": "2", "seed": "7", "compare": "1", "complete": "1", "width_px": "37",
        "negative": "blurry",
    }  # fmt: skip
    answer = client.post("/play", data=form)
    assert answer.status_code == 303, answer.text
    job = studio.jobs.page(task=None)[0]
    assert (job.task, job.priority) == (Task.GENERATE, PRIORITY)
    order = orders.parse(job.settings)
    assert [(one.seed, one.scales) for one in order.pictures] == [
        (7, (0.8,)), (8, (0.8,)), (7, (0.0,)), (8, (0.0,)),
    ]  # fmt: skip
    assert order.pictures[0].prompt == "zk person, on a table"
    assert order.pictures[0].width_px == 32  # the base's multiple is 16
    assert order.adapters == (adapter.path.resolve(),)
    listed = client.get("/api/v1/pictures").json()["pictures"]
    assert [one["id"] for one in listed] == [4, 3, 2, 1]
    assert listed[0]["adapters"] == []
    assert listed[3]["adapters"] == [{"id": adapter.id, "name": "cups", "scale": 0.8}]
    assert not listed[0]["drawn"]


def test_runs_alone_are_in_the_queue(
    client: TestClient, studio: Studio, base: Path, pictures: Path
) -> None:
    run = studio.jobs.add(tiny.config(base, pictures), "a run")
    client.post("/api/v1/pictures", json={"prompt": "a cup", "base": str(base)})
    assert [job["id"] for job in client.get("/api/v1/jobs").json()["jobs"]] == [run.id]
    assert len(client.get("/api/v1/jobs?task=generate").json()["jobs"]) == 1
    claimed = Leases(studio.database).claim("test")
    assert claimed is not None and claimed.task is Task.GENERATE


def test_it_says_what_it_waits_for(
    client: TestClient, studio: Studio, base: Path, pictures: Path
) -> None:
    studio.jobs.add(tiny.config(base, pictures), "long run")
    Leases(studio.database).claim("test")
    client.post("/api/v1/pictures", json={"prompt": "a cup", "base": str(base)})
    html = client.get("/play").text
    assert "Waits for a training" in html
    assert "long run" in html


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prompt": "  "}, "what the picture should show"),
        ({"count": "99"}, "Count"),
        ({"guidance": "many"}, "Guidance"),
        ({"seed": "-1"}, "Seed"),
        ({"base": "nothing"}, "no base"),
        ({"adapter": ["9"], "scale": ["1"], "on": ["9"]}, "no adapter 9"),
        ({"adapter": ["1"], "scale": ["7"], "on": ["1"]}, "less than or equal to 2"),
    ],
)
def test_mistakes_are_told(
    client: TestClient,
    studio: Studio,
    base: Path,
    pictures: Path,
    changes: dict[str, object],
    said: str,
) -> None:
    library.one(studio, base, pictures)
    answer = client.post("/play", data={"prompt": "a cup", **changes})
    assert answer.status_code in (404, 422)
    assert said in answer.text
    assert studio.pictures.page() == []


def test_an_adapter_of_another_family_is_refused(
    client: TestClient, studio: Studio, base: Path, pictures: Path
) -> None:
    adapter = library.one(studio, base, pictures)
    with studio.database.writing() as connection:
        from loraloom.studio.library import _put

        _put(connection, adapter.id, family="flux")
    asked = {"prompt": "x", "base": str(base), "adapters": [{"adapter": adapter.id}]}
    answer = client.post("/api/v1/pictures", json=asked)
    assert answer.status_code == 422
    assert "do not go together" in answer.json()["detail"]


def test_pictures_are_starred_binned_and_asked_for_again(
    client: TestClient, studio: Studio, base: Path, pictures: Path
) -> None:
    adapter = library.one(studio, base, pictures)
    asked = {
        "prompt": "zk <b>person", "seed": 5, "adapters": [{"adapter": adapter.id, "scale": 0.6}],
    }  # fmt: skip
    job = client.post("/api/v1/pictures", json=asked).json()["id"]
    assert client.get("/api/v1/pictures/1/file").status_code == 404
    drawn(studio, job)
    assert client.get("/api/v1/pictures/1/file?small=1").headers["content-type"] == "image/webp"
    client.post("/play/1/star", data={"then": "/play?starred=1"})
    assert "shot-1" in client.get("/play?starred=1").text
    page = client.get("/play/1").text
    assert "zk &lt;b&gt;person" in page
    again = client.get("/play?like=1").text
    assert 'value="0.6"' in again and 'value="5"' in again
    client.post("/play/1/cover")
    assert client.get(f"/api/v1/adapters/{adapter.id}/cover").status_code == 200
    client.post("/play/1/trash")
    assert "shot-1" not in client.get("/play").text
    client.post("/play/1/restore")
    assert "shot-1" in client.get("/play").text
    answer = client.post("/play/1/star", data={"then": "https://evil.example"})
    assert answer.headers["location"] == "/"


def test_a_picture_goes_into_a_dataset(
    client: TestClient, studio: Studio, base: Path, pictures: Path
) -> None:
    from loraloom.dataset.intake import import_into

    import_into(studio.datasets.place("cups"), [pictures])
    job = client.post("/api/v1/pictures", json={"prompt": "a cup", "base": str(base)}).json()["id"]
    drawn(studio, job)
    path = orders.picture_file(studio.jobs.get(job).run_folder, 0)
    Image.effect_noise((64, 64), 50).convert("RGB").save(path)
    form = {"dataset": "cups", "caption": "zk person, a cup"}
    answer = client.post("/play/1/send", data=form)
    assert answer.status_code == 303, answer.text
    added = studio.datasets.open("cups").working.pictures[-1]
    assert (added.caption, added.generated_by) == ("zk person, a cup", base.name)
    assert client.post("/play/1/send", data={**form, "dataset": "../x"}).status_code in (404, 422)


def test_prompts_are_kept(client: TestClient, studio: Studio) -> None:
    for prompt in ("one", "two", "one"):
        client.post("/play/prompts", data={"prompt": prompt, "negative": ""})
    assert [one.prompt for one in studio.pictures.saved()] == ["one", "two"]
    first = studio.pictures.saved()[0].id
    client.post(f"/play/prompts/{first}/forget")
    assert [one.prompt for one in studio.pictures.saved()] == ["two"]


def test_rows_of_the_form_come_and_go(
    client: TestClient, studio: Studio, base: Path, pictures: Path
) -> None:
    first, second = (library.one(studio, base, pictures, name).id for name in ("aa", "bb"))
    query = f"adapter={first}&scale=0.5&on={first}&add={second}&prompt=hello"
    html = client.get(f"/play?{query}").text
    assert html.count('name="adapter"') == 2 and "hello" in html and 'value="0.5"' in html
    html = client.get(f"/play?{query}&drop={first}").text
    assert html.count('name="adapter"') == 1
    assert client.get("/play?adapter=x:y&adapter=99&scale=nan&add=-1").status_code == 200


def test_a_grid(client: TestClient, studio: Studio, base: Path, pictures: Path) -> None:
    adapter = library.one(studio, base, pictures)
    form = {
        "adapter": adapter.id, "step": [0, 3], "scales": "0.5, 1", "prompts": "a\n\nb\n",
        "seeds": "2", "seed": "4",
    }  # fmt: skip
    page = client.get("/grid/new", params=form)
    assert "20" in page.text and "5 columns × 4 rows" in page.text
    answer = client.post("/grid/new", data=form)
    assert answer.status_code == 303, answer.text
    job = studio.jobs.page(task=Task.GRID)[0]
    tree = tomllib.loads(job.settings)
    assert tree["grid"]["columns"] == [
        "no adapter", "cups × 0.5", "cups × 1", "step 3 × 0.5", "step 3 × 1",
    ]  # fmt: skip
    assert [one["scales"] for one in tree["pictures"][:5]] == [
        [0.0, 0.0], [0.5, 0.0], [1.0, 0.0], [0.0, 0.5], [0.0, 1.0],
    ]  # fmt: skip
    assert [one["seed"] for one in tree["pictures"][::5]] == [4, 5, 4, 5]
    drawn(studio, job.id)
    assert 'alt="no adapter, seed 4: a"' in client.get(f"/grid/{job.id}").text
    html = client.get(f"/grid/{job.id}/page.html")
    assert html.text.count("data:image/webp") == 20
    assert "attachment" in html.headers["content-disposition"]
    assert client.get(f"/api/v1/grids/{job.id}/pictures/0").status_code == 200
    assert client.get("/grid/1").status_code == 404  # a run


def test_a_grid_that_is_too_large_is_refused(
    client: TestClient, studio: Studio, base: Path, pictures: Path
) -> None:
    adapter = library.one(studio, base, pictures)
    many = {"adapter": adapter.id, "scales": [0.1 * n for n in range(8)], "seeds": 8}
    answer = client.post("/api/v1/grids", json={**many, "prompts": ["x"] * 20})
    assert answer.status_code == 422
    assert "pictures are possible" in answer.json()["detail"]
    missing = {"adapter": adapter.id, "prompts": ["x"], "steps": [77]}
    assert "no checkpoint" in client.post("/api/v1/grids", json=missing).json()["detail"]


def test_an_order_goes_through_toml() -> None:
    wanted = orders.Wanted(prompt='a "b"\\ \n\x7f 中', seed=2**53, guidance=3, scales=(0, 0.5))
    order = orders.Order(
        base="starter", adapters=(Path("/a b"),), pictures=(wanted, wanted),
        grid=orders.Grid(title="t", rows=("x",), columns=("1", "2")),
    )  # fmt: skip
    assert orders.parse(orders.to_toml(order)) == order


def test_drawing_keeps_what_is_there(base: Path, tmp_path: Path) -> None:
    file = library.save_adapter(tmp_path / "a.safetensors")
    wanted = [
        orders.Wanted(
            prompt="zk person", seed=seed, steps=2, width_px=32, height_px=32, scales=(s,)
        )
        for seed, s in ((1, 0.0), (2, 0.0), (1, 1.0))
    ]
    grid = orders.Grid(title="t", rows=("r",), columns=("a", "b", "c"))
    order = orders.Order(
        base=str(base), adapters=(file,), pictures=tuple(wanted), grid=grid, precision="float32"
    )
    told: list[dict[str, object]] = []
    assert draw(order, tmp_path / "run", StopRequest(), lambda one: told.append(dict(one)))
    assert told[0]["event"] == "started" and told[0]["steps"] == 6
    assert [one["number"] for one in told if one["event"] == "picture"] == [0, 1, 2]
    assert told[-1] == {"event": "finished", "step": 6}
    files = [orders.picture_file(tmp_path / "run", number) for number in range(3)]
    first = [path.read_bytes() for path in files]
    assert first[0] != first[1] and first[0] != first[2]
    assert (tmp_path / "run" / orders.SHEET).is_file()
    files[1].unlink()
    told.clear()
    draw(order, tmp_path / "run", StopRequest(), lambda one: told.append(dict(one)))
    with Image.open(files[1]) as again, Image.open(io.BytesIO(first[1])) as before:
        difference = ImageStat.Stat(ImageChops.difference(again, before)).mean
    assert max(difference) < 2  # alone it is drawn in another batch
    assert [one["number"] for one in told if one["event"] == "picture"] == [1]
    assert told[0]["steps"] == 6 and told[-1] == {"event": "finished", "step": 6}
    assert [files[n].read_bytes() for n in (0, 2)] == [first[0], first[2]]
    assert orders.facts(tmp_path / "run")["0"]["guidance"] is not None


def test_a_base_is_loaded_once_for_orders_with_the_same_files(base: Path, tmp_path: Path) -> None:
    own = shutil.copytree(base, tmp_path / "base")
    file = library.save_adapter(tmp_path / "a.safetensors")
    wanted = orders.Wanted(prompt="zk", seed=1, steps=1, width_px=32, height_px=32)
    plain = orders.Order(base=str(own), pictures=(wanted,), precision="float32")
    adapted = plain.model_copy(update={"adapters": (file,)})
    loader = Loader()
    first = loader.open(plain, "cpu")
    assert loader.open(plain.model_copy(update={"pictures": (wanted,) * 2}), "cpu") is first
    second = loader.open(adapted, "cpu")
    assert second is not first and second.adapters == ("0",)
    assert loader.open(adapted, "cpu") is second
    library.save_adapter(file, seed=1)
    third = loader.open(adapted, "cpu")
    assert third is not second
    weights = next(own.glob("unet/*.safetensors"))
    shutil.copyfile(weights, tmp_path / "beside")
    (tmp_path / "beside").replace(weights)
    assert loader.open(adapted, "cpu") is not third


def test_a_stop_ends_with_what_is_drawn(base: Path, tmp_path: Path) -> None:
    wanted = tuple(
        orders.Wanted(prompt="x", seed=1, steps=1, width_px=32, height_px=32 + 16 * n)
        for n in range(3)
    )
    stop = StopRequest()

    def tell(event: object) -> None:
        stop.ending = True

    order = orders.Order(base=str(base), pictures=wanted)
    assert draw(order, tmp_path, stop, tell)
    assert not orders.picture_file(tmp_path, 0).exists()


@pytest.mark.slow
def test_the_playground_draws(home: Path, base: Path, pictures: Path, browser: Browser) -> None:
    from tests import studio_server

    studio = open_studio()
    adapter = library.one(studio, base, pictures)
    with studio_server.running(home) as address:
        page = browser.new_page(viewport={"width": 390, "height": 800})
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda told: told.type == "error" and problems.append(told.text))
        page.goto(f"{address}/adapters/{adapter.id}")
        page.get_by_role("link", name="Use it").click(timeout=60_000)
        page.wait_for_url("**/play?adapter=*", wait_until="load", timeout=60_000)
        page.get_by_role("button", name="zk person", exact=True).click()
        expect(page.get_by_label("Prompt", exact=True)).to_have_value("zk person, ")
        page.get_by_role("button", name="zk person, full body").click()
        prompt = page.get_by_label("Prompt", exact=True)
        expect(prompt).to_have_value(re.compile(r"zk person, full body, .*golden hour"))
        prompt.fill("zk person, outdoors")
        for label, value in (("Pictures", "1"), ("Steps", "2"), ("Width", "32"), ("Height", "32")):
            page.get_by_label(label, exact=True).fill(value)
        page.get_by_label("Also without adapters, same seeds").check()
        page.keyboard.press("Control+Enter")
        expect(page.locator(".shot")).to_have_count(2, timeout=30_000)
        expect(page.locator(".shot img")).to_have_count(2, timeout=240_000)
        expect(page.get_by_label("Prompt", exact=True)).to_have_value("zk person, outdoors")
        page.locator(".shot .enlarge").first.click()
        expect(page.locator(".large img")).to_be_visible(timeout=60_000)
        page.wait_for_url("**/play/*", wait_until="load", timeout=60_000)
        page.keyboard.press("r")
        page.wait_for_url("**/play?like=*", timeout=60_000)
        expect(page.get_by_label("Steps", exact=True)).to_have_value("2")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert problems == []
    job = studio.jobs.page(task=Task.GENERATE)[0]
    assert job.state is State.FINISHED
    studio.database.close()


def test_the_same_request_draws_once(
    client: TestClient, studio: Studio, base: Path, pictures: Path
) -> None:
    adapter = library.one(studio, base, pictures).id
    key = {"Idempotency-Key": "first"}

    def ask(prompt: str) -> tuple[int, int | None]:
        answer = client.post("/api/v1/pictures", json={"prompt": prompt}, headers=key)
        return answer.status_code, answer.json().get("id")

    assert ask("a cat") == ask("a cat")
    assert ask("a dog")[0] == 409
    assert len(client.get("/api/v1/pictures").json()["pictures"]) == 1
    grid = {"adapter": adapter, "prompts": ["zk person"]}
    twice = [
        client.post("/api/v1/grids", json=grid, headers={"Idempotency-Key": "grid"}).json()["id"]
        for _ in range(2)
    ]
    assert twice[0] == twice[1]
