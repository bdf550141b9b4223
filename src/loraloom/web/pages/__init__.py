"""The pages, a router a room of the studio."""

from loraloom.web.pages import (
    checks,
    datasets,
    gallery,
    home,
    image,
    imports,
    preferences,
    train,
    wording,
)

ROUTERS = (
    home.router,
    train.router,
    preferences.router,
    datasets.router,
    gallery.router,
    checks.router,
    image.router,
    wording.router,
    imports.router,
)
