"""The JSON API under /api/v1, a router a noun."""

from loraloom.web.api import adapters, events, jobs, pictures

ROUTERS = (jobs.router, adapters.router, pictures.router, events.router)
