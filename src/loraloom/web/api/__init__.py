"""The JSON API under /api/v1, a router a noun."""

from loraloom.web.api import (
    adapters,
    bases,
    comparisons,
    dataset_pictures,
    datasets,
    events,
    jobs,
    people,
    pictures,
    plans,
    projects,
    session,
    storage,
    tokens,
    uploads,
)

ROUTERS = (
    jobs.router,
    comparisons.router,
    plans.router,
    bases.router,
    datasets.router,
    dataset_pictures.router,
    uploads.router,
    adapters.router,
    pictures.router,
    events.router,
    projects.router,
    session.router,
    tokens.router,
    people.router,
    storage.router,
)
