"""The pages, a router a room of the studio."""

from loraloom.web.pages import home, preferences, train

ROUTERS = (home.router, train.router, preferences.router)
