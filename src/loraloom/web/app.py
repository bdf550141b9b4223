"""The web application: routes, checks of every request, and how errors are told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache, partial
from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter, Depends, FastAPI
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

import loraloom
from loraloom.studio.studio import Studio
from loraloom.studio.workbench import Workbench
from loraloom.web import api, pages, problems
from loraloom.web.guard import Guard
from loraloom.web.limits import Limits
from loraloom.web.live import Live
from loraloom.web.proxied import Proxied
from loraloom.web.sound import sound_body
from loraloom.web.texts import Language
from loraloom.web.who import Entrance, is_let_in, signed_in

STATIC = Path(str(files("loraloom") / "web" / "static"))


def create_app(
    studio: Studio,
    hosts: frozenset[str],
    *,
    addresses_at: int | None = None,
    for_others: bool = False,
    behind_proxy: bool = False,
) -> FastAPI:
    """The application of one installation, for requests to one of `hosts` ("127.0.0.1:8420").

    `addresses_at`: a port at which any address in numbers is ours; `for_others`: other machines can
    reach it, so that everybody signs in; `behind_proxy`: what a proxy says of its clients is true.
    """
    live = Live(studio.jobs, partial(is_let_in, studio))
    workbench = Workbench(studio)
    limits = Limits()

    @asynccontextmanager
    async def running(app: FastAPI) -> AsyncIterator[None]:
        async with live.running():
            yield
        workbench.close()

    app = FastAPI(
        title="Loraloom",
        version=loraloom.__version__,
        description="Datasets, training jobs, adapters and pictures of one studio.",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=running,
    )
    app.state.studio = studio
    app.state.live = live
    app.state.workbench = workbench
    app.state.limits = limits
    problems.install(app)
    app.router.routes += _routes()
    app.mount(f"/static/{loraloom.__version__}", Assets(directory=STATIC))
    app.add_middleware(Entrance, studio=studio, limits=limits, always_team=for_others)
    app.add_middleware(Language)
    app.add_middleware(Guard, hosts=hosts, addresses_at=addresses_at)
    if behind_proxy:
        app.add_middleware(Proxied)
    return app


@cache
def _routes() -> list[BaseRoute]:
    """What is asked by whom; the same for all applications of a process, as working them out takes
    a third of a second."""
    all_routes = APIRouter()
    for router in api.ROUTERS:
        all_routes.include_router(
            router, prefix="/api/v1", dependencies=[Depends(signed_in), Depends(sound_body)]
        )
    for router in pages.ROUTERS:
        all_routes.include_router(
            router, include_in_schema=False, dependencies=[Depends(signed_in)]
        )
    return all_routes.routes


class Assets(StaticFiles):
    """Our own files: their addresses hold the version, so that browsers may keep them."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """As StaticFiles, to be asked for again by its ETag only."""
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response
