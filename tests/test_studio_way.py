"""The whole way in a real browser: pictures in, an adapter out; and what every page must hold."""

import re
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from fastapi.testclient import TestClient
from PIL import Image, ImageFilter
from playwright.sync_api import Browser, FileChooser, Page, expect
from playwright.sync_api import TimeoutError as Late
from tests import library, studio_server

from loraloom.captions.auto.order import Wish
from loraloom.starter.example import write_example
from loraloom.starter.world.scene import CHARACTERS
from loraloom.studio import describing
from loraloom.studio.example import start_example
from loraloom.studio.grids import GridAsk
from loraloom.studio.picture import Ask, Use
from loraloom.studio.rights import ALONE, Role
from loraloom.studio.studio import Studio

MIRA = CHARACTERS[0]
TRAINED_MS = 240_000
PASSWORD = "a loom for pictures"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A ZIP of a character's captioned pictures: one is broken, one is there twice, one is blurred,
    and of one the caption lacks the trigger."""
    folder = tmp_path / "pictures"
    write_example(folder, MIRA, 18)
    blurred = Image.open(folder / "04.png").filter(ImageFilter.GaussianBlur(8))
    blurred.save(folder / "04.png")
    caption = folder / "05.txt"
    caption.write_text(caption.read_text().replace(f"{MIRA.trigger}, ", ""))
    (folder / "19.png").write_bytes((folder / "01.png").read_bytes()[:999])
    (folder / "20.png").write_bytes((folder / "02.png").read_bytes())
    path = tmp_path / "heroine.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, file.name)
    return path


def opened(browser: Browser, address: str, **how: object) -> Iterator[Page]:
    """A page that may reach nothing but the studio, and on which no script fails."""
    context = browser.new_context(base_url=address, **how)  # type: ignore[arg-type]
    page = context.new_page()
    page.set_default_timeout(60_000)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda told: wrong.append(told.text) if told.type == "error" else None)
    page.on(
        "request",
        lambda asked: (
            None if asked.url.startswith((address, "blob:", "data:")) else wrong.append(asked.url)
        ),
    )
    yield page
    context.close()
    assert wrong == []


@pytest.fixture
def page(browser: Browser, served: str, request: pytest.FixtureRequest) -> Iterator[Page]:
    """One in the language and size that the test is run with."""
    yield from opened(browser, served, **getattr(request, "param", {}))


WIDE = {"locale": "en-US", "viewport": {"width": 1280, "height": 800}}
PHONE = {"locale": "zh-TW", "viewport": {"width": 390, "height": 844}, "has_touch": True}


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(WIDE, id="english"),
        pytest.param(PHONE, id="chinese-phone", marks=pytest.mark.matrix),
    ],
    indirect=True,
)
def test_from_a_zip_to_an_adapter_that_loads(page: Page, source: Path, tmp_path: Path) -> None:
    page.goto("/datasets")
    page.locator("form[data-uploader] input[name=files]").set_input_files(source)
    page.locator("form[data-uploader] button[name=look]").click()
    store = page.locator("form[action$='/store']")
    expect(page.get_by_text("19.png").first).to_be_visible(timeout=60_000)
    expect(store.locator("input[name=skip_broken]")).to_have_count(1)
    store.locator("button").click()
    page.locator("a.primary[href='/datasets/heroine']").click()
    expect(page.locator("li.shot")).to_have_count(18)
    page.locator("details.concepts summary").click()
    page.locator("details.concepts [name=trigger]").fill(MIRA.trigger)
    page.locator("details.concepts button.primary").click()

    page.goto("/datasets/heroine/checks")
    page.locator("form[action='/datasets/heroine/checks'] button.primary").click()
    expect(page.locator("#checks progress")).to_have_count(0, timeout=60_000)
    expect(page.locator("#checks .coverage li").first).to_be_attached(timeout=60_000)
    page.locator("#blur form[action$='/take-out'] button.danger").click()
    expect(page.locator("#checks progress")).to_have_count(0, timeout=60_000)
    expect(page.locator("#blur")).to_have_count(0)
    page.locator("#trigger-missing a[href*='action=fix']").click()
    page.locator("#preview form button.primary").click()
    expect(page.locator("#preview")).to_have_count(0)
    page.goto("/datasets/heroine/checks")
    page.locator("form[action='/datasets/heroine/checks'] button.primary").click()
    expect(page.locator("#checks progress")).to_have_count(0, timeout=60_000)
    expect(page.locator("#trigger-missing")).to_have_count(0)
    page.goto("/datasets/heroine")
    expect(page.locator("li.shot")).to_have_count(17)

    page.goto(
        "/train/new?dataset=heroine&adapter.rank=4&schedule.steps=6&prior.images=0"
        "&samples.every_steps=0"
    )
    page.locator("[name=trigger]").fill(MIRA.trigger)
    page.locator("[name=name]").first.fill("Heroine")
    expect(page.locator("#go")).to_be_enabled()
    page.locator("#go").click()
    page.wait_for_url(re.compile(r"/train/\d+$"))
    reloaded = page.url
    page.goto("/")  # a page may be closed; the run goes on
    page.goto(reloaded)
    link = page.locator("a[href$='/files/adapter.safetensors']").first
    expect(link).to_be_visible(timeout=TRAINED_MS)
    with page.expect_download() as download:
        link.click()
    download.value.save_as(tmp_path / "heroine.safetensors")
    loads_in_diffusers(tmp_path / "heroine.safetensors")


def loads_in_diffusers(adapter: Path) -> None:
    """As the user of the downloaded file does it."""
    from diffusers import StableDiffusionPipeline

    from loraloom.settings import resolve_base

    pipeline = StableDiffusionPipeline.from_pretrained(
        resolve_base("starter"), safety_checker=None, requires_safety_checker=False
    )
    pipeline.load_lora_weights(adapter)
    assert pipeline.get_list_adapters()["unet"]


def chooser_by_enter(page: Page) -> FileChooser:
    """The browser's own dialog; on a busy machine it now and then ignores the first key."""
    for _ in range(3):
        with suppress(Late):
            with page.expect_file_chooser(timeout=15_000) as chooser:
                page.keyboard.press("Enter")
            return chooser.value
    raise AssertionError("Enter opens no dialog")


@pytest.mark.parametrize("page", [WIDE], indirect=True)
def test_by_keyboard_alone(page: Page, source: Path) -> None:
    page.goto("/")
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("g")
    page.keyboard.press("d")
    page.wait_for_url("**/datasets", wait_until="load")
    page.locator("input[name=dataset]").focus()
    page.keyboard.type("Keys")
    page.keyboard.press("Tab")
    expect(page.locator("input[name=files]")).to_be_focused()
    chooser_by_enter(page).set_files(source)
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/imports/**")
    expect(page.locator("form[action$='/store'] button")).to_be_focused(timeout=60_000)
    page.keyboard.press("Enter")
    expect(page.locator("a.primary[href='/datasets/Keys']")).to_be_visible(timeout=60_000)
    page.wait_for_load_state("load")
    page.keyboard.press("?")
    expect(page.locator("dialog#keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("dialog#keys")).to_be_hidden()


PAGES = (
    "/", "/welcome", "/guide", "/datasets", "/datasets/Mira", "/datasets/Mira/images/{picture}",
    "/datasets/Mira/checks", "/datasets/Mira/captions", "/datasets/Mira/versions", "/train",
    "/train?show=failed", "/train/new?dataset=Mira", "/train/1", "/train/2", "/compare?a=1&b=2",
    "/adapters", "/adapters?words=none", "/adapters/1", "/play", "/play?a=1:0.8", "/play/1",
    "/grid", "/grid/new?adapter=1", "/grid/4", "/settings", "/settings/people",
    "/settings/models", "/settings/privacy", "/settings/about", "/nothing-here",
)  # fmt: skip
TEAM_PAGES = ("/settings/people", "/settings/account")


def furnish(studio: Studio, base: Path, pictures: Path) -> str:
    """Give every page something to show, without training; the hash of one of Mira's pictures."""
    library.one(studio, base, pictures, "A run with a name that is too long for a narrow screen")
    start_example(studio)
    uses = [Use(adapter=1, scale=0.8)]
    studio.pictures.ask(Ask(prompt="zk person on a bridge", adapters=uses, base="starter"))
    studio.grids.start(GridAsk(adapter=1, prompts=["zk person"], base="starter"))
    describing.start(studio.jobs, studio.datasets, "Mira", Wish())
    return studio.datasets.open("Mira").working.pictures[0].sha256


def test_every_page_can_be_had_in_chinese(
    client: TestClient, studio: Studio, base: Path, pictures: Path
) -> None:
    picture = furnish(studio, base, pictures)
    for path in PAGES:
        answer = client.get(path.format(picture=picture), headers={"Accept-Language": "zh-TW"})
        assert answer.status_code == (404 if path == "/nothing-here" else 200), path
        assert 'lang="zh-Hant"' in answer.text


def faults(page: Page, path: str) -> Iterator[str]:
    """What is wrong with a page on a phone."""
    page.goto(path)
    page.wait_for_load_state("load")
    wide = page.evaluate("document.documentElement.scrollWidth")
    if wide > 390:
        yield f"{path}: {wide} px wide"
    told = {"resultTypes": ["violations"]}
    for theme, rules in (("light", told), ("dark", told | {"runOnly": ["color-contrast"]})):
        page.emulate_media(color_scheme=theme, reduced_motion="reduce")
        for violation in Axe().run(page, options=rules).response["violations"]:
            if violation["impact"] in ("serious", "critical"):
                nodes = [node["html"][:120] for node in violation["nodes"][:3]]
                yield f"{path}, {theme}: {violation['id']} {nodes}"


def test_every_page_is_accessible_and_fits_a_phone(
    browser: Browser, studio: Studio, home: Path, base: Path, pictures: Path, source: Path
) -> None:
    picture = furnish(studio, base, pictures)
    found: list[str] = []
    with studio_server.running(home, "--no-worker") as address:
        page = browser.new_context(
            base_url=address, viewport={"width": 390, "height": 844}
        ).new_page()
        page.goto("/datasets")
        page.locator("[data-opens=add]").click()
        page.locator("form[data-uploader] input[name=files]").set_input_files(source)
        page.locator("form[data-uploader] button[name=look]").click()
        page.locator("form[action$='/store']").wait_for(timeout=60_000)
        for path in (page.url, *(path.format(picture=picture) for path in PAGES)):
            found += faults(page, path)
        studio.people.add(ALONE, "Ada", Role.OWNER, PASSWORD)
        found += faults(page, "/sign-in")
        page.locator("[name=name]").fill("Ada")
        page.locator("[name=password]").fill(PASSWORD)
        page.locator("form[action='/sign-in'] button").last.click()
        page.wait_for_load_state("load")
        for path in TEAM_PAGES:
            found += faults(page, path)
        page.context.close()
    assert found == []
