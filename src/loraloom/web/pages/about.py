"""/settings/privacy and /settings/about: what leaves this machine, and what the studio is."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import Response

from loraloom.studio import about
from loraloom.web.render import page
from loraloom.web.texts import translate as _

router = APIRouter(prefix="/settings")


@dataclass(frozen=True)
class Outgoing:
    """A request that Loraloom can make."""

    what: str
    when: str
    where: str
    sent: str


def outgoing() -> list[Outgoing]:
    """Every one that there is."""
    return [
        Outgoing(
            _("A tagger or captioner is fetched"),
            _("Once, when you choose one that is neither shipped nor in a folder of yours; from "
              "then on the copy on this machine is used."),
            _("The Hugging Face hub, or the mirror that HF_ENDPOINT names"),
            _("The name of the model, and your access token where you have set one (HF_TOKEN)"),
        ),
        Outgoing(
            _("A base model is fetched"),
            _("Only when an owner of the studio adds one of the hub on the page of models, or with "
              "“loraloom bases add”."),
            _("The Hugging Face hub, or the mirror that HF_ENDPOINT names"),
            _("The name of the model, and your access token where you have set one (HF_TOKEN)"),
        ),
        Outgoing(
            _("Captions are asked of a vision model"),
            _("Only when you start automatic captions with an address of yours."),
            _("The address that you gave, and no other; redirects are not followed"),
            _("Each picture without captions, made smaller, with your instructions"),
        ),
    ]  # fmt: skip


@router.get("/privacy")
def privacy(request: Request) -> Response:
    """Every outgoing request."""
    return page(request, "settings/privacy.html", tab="privacy", outgoing=outgoing())


@router.get("/about")
def show(request: Request) -> Response:
    """Versions and licences."""
    return page(
        request, "settings/about.html", tab="about", python=about.python(),
        torch=about.version("torch"), packages=about.packages(), scripts=about.scripts(),
        bases=about.bases(), families=about.known_families(),
    )  # fmt: skip
