"""The pages, a router a room of the studio."""

from loraloom.web.pages import adapters, grid, home, play, preferences, train

ROUTERS = (
    home.router, train.router, adapters.router, play.router, grid.router, preferences.router,
)  # fmt: skip
