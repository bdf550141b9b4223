"""Runs: starting one, the queue, one run, two side by side."""

from fastapi import APIRouter

from loraloom.web.pages.train import compare, new, queue, run

router = APIRouter()
for part in (new.router, run.router, queue.router, compare.router):  # the more general path later
    router.include_router(part)
