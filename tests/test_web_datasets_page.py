"""Datasets as their user has them, in a browser: drop, look, store, caption, choose, undo."""

import io
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from bench.photographs import photograph
from bench.planted_faults import copy_of, write_captioned
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from tests.studio_server import running

from loraloom.dataset import intake
from loraloom.dataset.store import Store


@pytest.fixture
def set_of_70(home: Path, tmp_path: Path) -> None:
    """A dataset of two pages."""
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(70):
        Image.new("RGB", (32, 24), (3 * number, 90, 40)).save(folder / f"{number:02}.png")
        (folder / f"{number:02}.txt").write_text(f"zk cup, number {number}")
    intake.import_into(Store(home / "datasets").place("cups"), [folder])


@contextmanager
def opened(browser: Browser, url: str) -> Iterator[Page]:
    """A page that may not fail."""
    page = browser.new_page()
    page.set_default_timeout(15_000)
    page.on("pageerror", lambda error: pytest.fail(f"the script of the page failed: {error}"))
    try:
        page.goto(url)
        yield page
    finally:
        page.close()


def picture(number: int) -> bytes:
    """A PNG."""
    buffer = io.BytesIO()
    Image.new("RGB", (48, 48), (number, 10, 200)).save(buffer, "PNG")
    return buffer.getvalue()


def test_from_files_to_a_dataset(served: str, browser: Browser) -> None:
    with opened(browser, f"{served}/datasets") as page:
        files = [
            {"name": f"{n}.png", "mimeType": "image/png", "buffer": picture(n)} for n in range(3)
        ]
        files += [{"name": "0.txt", "mimeType": "text/plain", "buffer": b"zk cup, red"}]
        files += [{"name": "bad.png", "mimeType": "image/png", "buffer": b"no picture"}]
        dropped = 0

        def lose(route: object) -> None:
            nonlocal dropped
            dropped += 1
            route.abort() if dropped == 1 else route.continue_()  # type: ignore[attr-defined]

        page.route("**/api/v1/uploads/*", lose)
        page.locator(".uploader input[name=dataset]").fill("cups")
        page.locator(".drop input").set_input_files(files)  # type: ignore[arg-type]
        expect(page.locator(".files li")).to_have_count(5)
        page.get_by_role("button", name="Look at it first").click()
        expect(page.get_by_text("3 new pictures")).to_be_visible(timeout=60_000)
        expect(page.get_by_text("bad.png").last).to_be_visible()
        expect(page.locator(".shot img")).to_have_count(3)
        page.get_by_role("button", name="import the rest").click()
        page.get_by_role("link", name="Open the dataset").click(timeout=60_000)
        expect(page.locator(".shot")).to_have_count(3)
        assert dropped > 1


def test_captions_selection_and_undo(set_of_70: None, served: str, browser: Browser) -> None:
    with opened(browser, f"{served}/datasets/cups") as page:
        expect(page.locator(".shot")).to_have_count(60)
        page.locator("#more").scroll_into_view_if_needed()
        expect(page.locator(".shot")).to_have_count(70)
        expect(page.locator("#more")).to_have_count(0)

        first = page.locator(".shot").first
        page.keyboard.press("ArrowRight")
        page.keyboard.press("e")
        first.locator("textarea").fill("zk cup, blue")
        page.keyboard.press("Control+Enter")
        expect(page.locator(".shot").nth(1).locator("textarea")).to_be_focused()
        api = f"{served}/api/v1/datasets/cups"
        expect(first.locator("input[name=given]")).to_have_value("zk cup, blue")
        stored = httpx2.get(f"{api}/pictures?limit=1").json()["pictures"][0]
        assert stored["caption"] == "zk cup, blue"

        sha = first.get_attribute("data-sha")
        httpx2.put(f"{api}/pictures/{sha}/caption", json={"caption": "zk cup, elsewhere"})
        first.locator("textarea").fill("zk cup, mine")
        first.get_by_role("button", name="Save").click()
        expect(page.get_by_role("alert").first).to_contain_text("zk cup, elsewhere")
        expect(first.locator("textarea")).to_have_value("zk cup, mine")

        page.reload()
        page.locator(".pick input").nth(1).click()
        page.locator(".pick input").nth(4).click(modifiers=["Shift"])
        expect(page.locator(".chosen")).to_have_text("4 chosen")
        page.locator(".bulk input[name=tag]").fill("soft light")
        page.get_by_role("button", name="Add", exact=True).click()
        expect(page.get_by_text("4 captions changed.")).to_be_visible()
        expect(page.locator(".bulk")).to_be_hidden()  # the script has come
        page.locator(".look").first.focus()
        page.keyboard.press("Control+z")
        expect(page.get_by_text("Taken back")).to_be_visible()
        expect(page.locator(".shot textarea").nth(1)).to_have_value("zk cup, number 1")


def test_copies_are_settled_by_keyboard(
    home: Path, tmp_path: Path, served: str, browser: Browser
) -> None:
    folder, rng = tmp_path / "twins", random.Random(3)
    folder.mkdir()
    for number in range(2):
        whole, words = photograph(160)(rng)
        write_captioned(folder / f"{number}.png", whole, words)
        write_captioned(folder / f"small{number}.png", copy_of(whole, "resized", rng), words)
    stored = Store(home / "datasets").place("twins")
    intake.import_into(stored, [folder])

    def names() -> set[str]:
        return {picture.name for picture in stored.working.pictures}

    with opened(browser, f"{served}/datasets/twins/checks") as page:
        page.get_by_role("button", name="Check", exact=True).click()
        expect(page.locator(".twin")).to_have_count(2, timeout=60_000)
        page.keyboard.press("x")  # nothing is at hand
        page.evaluate("""() => {
            const press = (key, repeat) => document.body.dispatchEvent(
                new KeyboardEvent("keydown", { key, repeat, bubbles: true, cancelable: true }));
            press("2", true);  // a key that is held
            press("3", false);
            press("2", false);  // pressed twice in haste
        }""")
        expect(page.get_by_text("Both are kept")).to_be_visible()
        expect(page.locator(".twin")).to_have_count(1)
        assert names() == {"0.png", "1.png", "small0.png", "small1.png"}
        expect(page.locator(".twin")).to_be_focused()
        page.keyboard.press("2")
        expect(page.get_by_text("One is kept")).to_be_visible()
        expect(page.locator(".twin")).to_have_count(0)
        assert len(names()) == 3 and names() >= {"small0.png", "small1.png"}
        expect(page.get_by_role("progressbar")).to_have_count(0, timeout=60_000)
        page.keyboard.press("Control+z")
        expect(page.get_by_text("Taken back")).to_be_visible()
        assert names() == {"0.png", "1.png", "small0.png", "small1.png"}


def test_crop_is_drawn(set_of_70: None, served: str, browser: Browser) -> None:
    sha = httpx2.get(f"{served}/api/v1/datasets/cups/pictures?limit=1").json()["pictures"][0]
    with opened(browser, f"{served}/datasets/cups/images/{sha['sha256']}") as page:
        box = page.locator("[data-crop] svg rect.box").bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + 2, box["y"] + 2)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + box["height"] - 1, steps=4)
        page.mouse.up()
        expect(page.get_by_label("Width")).not_to_have_value("32")
        page.get_by_role("button", name="Use this part").click()
        expect(page.get_by_text("The crop is saved.")).to_be_visible()
        expect(page.get_by_role("button", name="All of it again")).to_be_visible()


def test_a_picture_is_rotated_by_keys_and_its_brightness_is_shown(
    set_of_70: None, served: str, browser: Browser
) -> None:
    first = httpx2.get(f"{served}/api/v1/datasets/cups/pictures?limit=1").json()["pictures"][0]
    with opened(browser, f"{served}/datasets/cups/images/{first['sha256']}") as page:
        expect(page.locator(".histogram p")).to_contain_text("of the picture is black")
        assert page.locator(".histogram path").get_attribute("d")
        page.keyboard.press("]")
        expect(page.get_by_text("The picture is rotated.")).to_be_visible()
        page.keyboard.press("Control+z")
        expect(page.get_by_text("Taken back: rotated 1 pictures")).to_be_visible()
        expect(page).to_have_url(f"{served}/datasets/cups/images/{first['sha256']}")


def test_a_caption_is_read_while_it_is_written(
    set_of_70: None, served: str, browser: Browser
) -> None:
    sha = httpx2.get(f"{served}/api/v1/datasets/cups/pictures?limit=1").json()["pictures"][0]
    with opened(browser, f"{served}/datasets/cups/images/{sha['sha256']}") as page:
        caption = page.locator("#words textarea")
        caption.fill("zk cup, smiling at sunset")
        expect(page.locator("#reading p.marked .said")).to_have_text(["smiling", "sunset"])
        expect(caption).to_be_focused()
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_text("Saved.")).to_be_visible()
        page.get_by_role("link", name="Show earlier captions").click()
        page.get_by_role("button", name="Take this one").click()
        expect(caption).to_have_value("zk cup, number 0")


def test_a_studio_that_is_away_is_told_until_it_is_back(home: Path, browser: Browser) -> None:
    page = browser.new_page()
    away = page.get_by_text("The studio cannot be reached.")
    try:
        with running(home) as address:
            page.goto(f"{address}/datasets")
            page.wait_for_function("() => document.querySelector('script[data-worker]')")
            expect(away).to_be_hidden()
        expect(away).to_be_visible(timeout=30_000)
        with running(home, "--port", address.rpartition(":")[2]):
            expect(away).to_be_hidden(timeout=60_000)
    finally:
        page.close()
