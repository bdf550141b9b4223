"""The JSON API under /api/v1, a router a noun."""

from loraloom.web.api import (
    bases,
    datasets,
    events,
    jobs,
    people,
    pictures,
    plans,
    session,
    tokens,
    uploads,
)

ROUTERS = (
    jobs.router,
    plans.router,
    bases.router,
    datasets.router,
    pictures.router,
    uploads.router,
    events.router,
    session.router,
    tokens.router,
    people.router,
)
