"""Runs: starting one, the queue, one run, two side by side."""

from fastapi import APIRouter

from loraloom.web.pages.train import compare, new, queue, run

router = APIRouter()
for part in (new.router, queue.router, compare.router, run.router):  # /train/{job} comes last
    router.include_router(part)
