"""The JSON API under /api/v1, a router a noun."""

from loraloom.web.api import datasets, events, jobs, pictures, uploads

ROUTERS = (
    jobs.router,
    events.router,
    datasets.router,
    pictures.router,
    uploads.router,
)
