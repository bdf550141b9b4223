"""The JSON API under /api/v1, a router a noun."""

from loraloom.web.api import events, jobs, people, session, tokens

ROUTERS = (jobs.router, events.router, session.router, tokens.router, people.router)
