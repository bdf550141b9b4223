"""The JSON API under /api/v1, a router a noun."""

from loraloom.web.api import events, jobs

ROUTERS = (jobs.router, events.router)
