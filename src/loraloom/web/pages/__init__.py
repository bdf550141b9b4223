"""The pages, a router a room of the studio."""

from loraloom.web.pages import (
    about,
    adapters,
    checks,
    datasets,
    gallery,
    grid,
    home,
    image,
    imports,
    people,
    play,
    preferences,
    settings,
    sign_in,
    train,
    wording,
)

ROUTERS = (
    home.router,
    *train.ROUTERS,
    datasets.router,
    gallery.router,
    checks.router,
    image.router,
    wording.router,
    imports.router,
    adapters.router,
    play.router,
    grid.router,
    settings.router,
    people.router,
    about.router,
    preferences.router,
    sign_in.router,
)
