"""The pages, a router a room of the studio."""

from loraloom.web.pages import about, home, people, preferences, settings, sign_in, train

ROUTERS = (
    home.router,
    train.router,
    settings.router,
    people.router,
    about.router,
    preferences.router,
    sign_in.router,
)
