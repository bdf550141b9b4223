"""Runs: a new one, the queue, one run, two side by side."""

from loraloom.web.pages.train import compare, new, queue, run

ROUTERS = (new.router, run.router, queue.router, compare.router)
"""In the order in which their paths are tried."""
