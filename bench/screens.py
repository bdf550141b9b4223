"""Pictures of every page of the studio, of a real server with a real run.

    python -m bench.screens                     # everything from nothing: minutes
    python -m bench.screens --home out/screens  # keeps the data folder, and uses it again
    python -m bench.screens train run           # these pages only

It writes docs/screens/NAME-{light,dark,phone}.webp. Needs Chromium.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
import tomllib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, expect
from tests import studio_server

from loraloom.config import Tree
from loraloom.config_tree import merge
from loraloom.starter.example import contexts, write_example
from loraloom.starter.world.scene import CHARACTERS, caption
from loraloom.studio.example import SUBJECT, start_example
from loraloom.studio.grids import GridAsk
from loraloom.studio.job import ENDED, State
from loraloom.studio.library import Edit
from loraloom.studio.picture import Ask, Use
from loraloom.studio.projects import New, Things
from loraloom.studio.studio import Studio, open_studio
from loraloom.train import recipe

FOLDER = Path(__file__).parents[1] / "docs" / "screens"
QUALITY = 80
MOST_BYTES = 60_000
WAIT_S = 3600
PICTURES_ARE_THERE = """() => [...document.images].every((image) => {
  const { top, bottom } = image.getBoundingClientRect();
  return image.complete || top > innerHeight || bottom < 0;
})"""
SHORT: Tree = {"samples": {"every_steps": 48}}
"""Of the run that is shown; long enough to see it learn."""
CHANGED: Tree = {"optimiser": {"learning_rate": 5e-4}}
PROMPTS = [caption(scene, SUBJECT.trigger) for scene in contexts(SUBJECT, 4, seed=7)]


OTHER_WORDS = """(words) => {
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    for (const [one, other] of Object.entries(words)) {
      texts.currentNode.data = texts.currentNode.data.replaceAll(one, other);
    }
  }
}"""
"""What names this machine is shown as on anybody's."""


@dataclass(frozen=True)
class Look:
    """How a page is looked at."""

    name: str
    theme: Literal["light", "dark"]
    size: tuple[int, int]


LOOKS = (
    Look("light", "light", (1280, 800)),
    Look("dark", "dark", (1280, 800)),
    Look("phone", "light", (390, 844)),
)


def fill(studio: Studio) -> None:
    """Queue what the pages show, as far as it is not there."""
    if not studio.jobs.page(limit=1):
        example = start_example(studio)  # for its settings; another run is shown
        studio.jobs.cancel(example.id)
        tree = merge(tomllib.loads(example.settings), SHORT)
        first = studio.jobs.add(recipe.resolve(tree), SUBJECT.name)
        gentler = recipe.resolve(merge(tree, CHANGED))
        studio.jobs.add(gentler, f"{SUBJECT.name}, gentler", parent=first.id)


def use(studio: Studio) -> int:
    """Draw with the adapter of the first run, as far as it has not been; the number of its grid."""
    adapter = studio.library.page()[-1]
    if not studio.grids.latest():
        studio.library.edit(
            adapter.id,
            Edit(
                description="The example: a character of the starter base's own world.",
                tags=["example", "character"], alias="best", starred=True,
            ),
        )  # fmt: skip
        uses = [Use(adapter=adapter.id)]
        studio.pictures.ask(Ask(prompt=PROMPTS[0], adapters=uses, seed=1, count=4, compare=True))
        for number, prompt in enumerate(PROMPTS[1:]):
            studio.pictures.ask(Ask(prompt=prompt, adapters=uses, seed=number, count=4))
        steps = sorted(studio.grids.checkpoints(adapter))[::2][:3]
        asked = GridAsk(adapter=adapter.id, steps=[*steps, 0], prompts=PROMPTS[:3])
        studio.grids.start(asked)
    ended(studio)
    if not studio.pictures.page(starred=True):
        best = studio.pictures.page(limit=1)[0]
        studio.pictures.star(best.id, starred=True)
        studio.library.set_cover(adapter.id, str(best.path.relative_to(studio.data)))
    if not studio.projects.all():
        drawn = [picture.id for picture in studio.pictures.page()]
        things = Things(datasets=[SUBJECT.name], adapters=[adapter.id], pictures=drawn)
        project = studio.projects.create(
            New(name="The comic about Mira", description="Three pages by spring.")
        ).id
        studio.projects.put(project, things)
        studio.pictures.save_prompt(PROMPTS[0], "", project)
    return studio.grids.latest()[0].id


def ended(studio: Studio) -> None:
    """Wait until nothing waits or runs any more."""
    end = time.monotonic() + WAIT_S
    while any(job.state not in ENDED for job in studio.jobs.all()):
        assert time.monotonic() < end, "the runs did not end"
        time.sleep(1)
    failed = [job for job in studio.jobs.all() if job.state is State.FAILED]
    assert not failed, [job.message for job in failed]


def pages(studio: Studio, grid: int) -> dict[str, str]:
    """Name -> address, of the pages that show something."""
    first, second = sorted(
        job.id for job in studio.jobs.page(states=[State.FINISHED], limit=10)
    )[:2]  # fmt: skip
    name = SUBJECT.name
    picture = studio.datasets.open(name).working.pictures[2].sha256
    adapter = studio.library.page()[-1].id
    play = f"/play?adapter={adapter}:1&prompt={quote(PROMPTS[0])}"
    return {
        "home": "/", "projects": "/projects", "project": "/projects/1",
        "datasets": "/datasets", "dataset": f"/datasets/{name}",
        "image": f"/datasets/{name}/images/{picture}", "captions": f"/datasets/{name}/captions",
        "checks": f"/datasets/{name}/checks", "versions": f"/datasets/{name}/versions",
        "new": f"/train/new?dataset={name}", "train": "/train", "run": f"/train/{first}",
        "compare": f"/compare?a={first}&b={second}", "adapters": "/adapters",
        "adapter": f"/adapters/{adapter}", "playground": play,
        "picture": f"/play/{studio.pictures.page(limit=1)[0].id}", "grids": "/grid",
        "grid-new": f"/grid/new?adapter={adapter}", "grid": f"/grid/{grid}", "guide": "/guide",
        "settings": "/settings", "models": "/settings/models", "privacy": "/settings/privacy",
        "about": "/settings/about",
        "import": _IMPORT, "missing": "/nothing-here",
    }  # fmt: skip


_IMPORT = "import"


@contextmanager
def looking(browser: Browser, address: str, look: Look) -> Iterator[BrowserContext]:
    """A browser of the size and theme."""
    width, height = look.size
    context = browser.new_context(
        base_url=address, color_scheme=look.theme, locale="en-US", reduced_motion="reduce",
        viewport={"width": width, "height": height},
    )  # fmt: skip
    yield context
    context.close()


def shoot(page: Page, name: str, look: Look) -> None:
    """Write what the page shows now."""
    page.wait_for_load_state("load")
    expect(page.locator("#plan [hx-trigger=load]")).to_have_count(0, timeout=180_000)
    page.wait_for_function(PICTURES_ARE_THERE, timeout=60_000)
    page.wait_for_timeout(300)  # curves are drawn
    home = os.environ["LORALOOM_HOME"]
    page.evaluate(OTHER_WORDS, {platform.platform(): "Linux", home: "~/.loraloom"})
    picture = Image.open(BytesIO(page.screenshot()))
    path = FOLDER / f"{name}-{look.name}.webp"
    for quality in range(QUALITY, 20, -10):
        picture.convert("RGB").save(path, quality=quality, method=6)
        if path.stat().st_size <= MOST_BYTES:
            break


def check(page: Page) -> None:
    """Let the example be checked."""
    page.goto(f"/datasets/{SUBJECT.name}/checks")
    page.locator("form[action$='/checks'] button.primary").click()
    expect(page.locator("#checks progress")).to_have_count(0, timeout=180_000)


def bring(page: Page, source: Path) -> None:
    """Upload a ZIP, up to the page that tells what it would bring."""
    page.goto("/datasets")
    page.locator("[data-opens=add]").click()
    page.locator("form[data-uploader] input[name=files]").set_input_files(source)
    page.locator("form[data-uploader] button[name=look]").click()
    page.locator("form[action$='/store']").wait_for(timeout=120_000)


def write_zip(folder: Path) -> Path:
    """Pictures of another character, one of them broken and one twice."""
    pictures = folder / "pictures"
    write_example(pictures, CHARACTERS[1], 14)
    (pictures / "19.png").write_bytes((pictures / "01.png").read_bytes()[:999])
    (pictures / "20.png").write_bytes((pictures / "02.png").read_bytes())
    path = folder / "heroine.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(pictures.iterdir()):
            archive.write(file, file.name)
    return path


NEW = {
    "welcome": "/", "datasets-empty": "/datasets", "train-empty": "/train",
    "adapters-empty": "/adapters", "playground-empty": "/play",
}  # fmt: skip


def shoot_new(browser: Browser, home: Path, wanted: set[str]) -> None:
    """The pages of a studio with nothing in it, and those of accounts."""
    os.environ["LORALOOM_HOME"] = str(home)
    with studio_server.running(home, "--no-worker") as address:
        for look in LOOKS:
            with looking(browser, address, look) as context:
                page = context.new_page()
                for name, path in NEW.items():
                    if not wanted or name in wanted:
                        page.goto(path)
                        shoot(page, name, look)
        for look in LOOKS:
            with looking(browser, address, look) as context:
                page = context.new_page()
                page.goto("/settings/people")
                if "/sign-in" not in page.url:
                    sign(page, "/settings/people/first")
                    page.context.clear_cookies()
                    page.goto("/settings/people")
                shoot(page, "sign-in", look)
                sign(page, "/sign-in")
                page.goto("/settings/people")
                shoot(page, "people", look)
                page.goto("/settings/account")
                shoot(page, "account", look)


def sign(page: Page, action: str) -> None:
    """Fill in the form for the owner's name and password."""
    own = page.locator(f"form[action='{action}']")
    own.locator("[name=name]").fill("Ada")
    own.locator("[name=password]").fill("a loom for pictures")
    own.locator("button").last.click()
    page.wait_for_load_state("load")


def main() -> None:
    """Make the data, look at all pages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="pages; without any, all of them")
    parser.add_argument("--home", type=Path, help="a data folder to keep")
    given = parser.parse_args()
    wanted = set(given.names)
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        home = (given.home or Path(work) / "home").absolute()
        os.environ["LORALOOM_HOME"] = str(home)
        studio = open_studio()
        fill(studio)
        with studio_server.chromium() as browser:
            with studio_server.running(home) as address:
                ended(studio)
                grid = use(studio)
                source = write_zip(Path(work))
                with looking(browser, address, LOOKS[0]) as context:
                    check(context.new_page())
                for look in LOOKS:
                    with looking(browser, address, look) as context:
                        page = context.new_page()
                        for name, path in pages(studio, grid).items():
                            if wanted and name not in wanted:
                                continue
                            if path == _IMPORT:
                                bring(page, source)
                            else:
                                page.goto(path)
                            shoot(page, name, look)
            if not wanted or wanted & {*NEW, "people"}:
                shoot_new(browser, Path(work) / "new", wanted)


if __name__ == "__main__":
    main()
