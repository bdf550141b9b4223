"""The JSON API under /api/v1, a router a noun."""

from loraloom.web.api import bases, events, jobs, plans

ROUTERS = (jobs.router, bases.router, plans.router, events.router)
