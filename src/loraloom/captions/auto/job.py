"""Doing an order: a dataset described, told as events."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict
from typing import Any, Protocol

from loraloom.captions.auto import run, source
from loraloom.captions.auto.choice import Choice, open_choice, tagger_name
from loraloom.captions.auto.order import DescribeOrder
from loraloom.captions.auto.run import Done
from loraloom.captions.measure import Check
from loraloom.captions.target import StoredTarget
from loraloom.dataset import reference

TELL_S = 0.5
"""Between events of pictures."""
MOST_TOLD = 200
Tell = Callable[[Mapping[str, Any]], None]


class Stop(Protocol):
    """What is asked of a job on its way."""

    asked: bool
    """To stop and go on later."""
    ending: bool
    """To end with what there is."""


def do(order: DescribeOrder, stop: Stop, tell: Tell) -> Done | None:
    """Tell "stage", "started", "step" for each picture or so, and "finished" once the captions are
    written. None where it was asked to stop: it then goes on when it is done again.

    Where the request is to end, what was described by then is written. Raises what the dataset and
    the captioner raise.
    """
    target = StoredTarget(*reference.open_stored(order.dataset))
    choice = Choice(
        order.tagger, order.provider, order.model, order.key_env, order.prompt, order.language,
        order.threshold, order.per_minute,
    )  # fmt: skip
    here = order.provider or source.is_here(tagger_name(choice, order.base))
    tell({"event": "stage", "name": "loading" if here else "fetching", "done": 0, "total": 0})
    check = Check(order.kind, "", order.concept.strip(), hairstyles=order.hairstyles)
    captioner, how = open_choice(choice, check, order.base)
    describing = run.describe(
        target, captioner, how, replacing=order.replace, only=set(order.pictures),
        enough=lambda: stop.ending,
    )  # fmt: skip
    told_at: float | None = None
    with closing(describing):
        for event in describing:
            if isinstance(event, Done):
                tell(_finished(event, captioner.name))
                return event
            if told_at is None:
                tell({"event": "started", "steps": event.total, "captioner": captioner.name})
            if told_at is None or time.monotonic() - told_at >= TELL_S:
                tell({"event": "step", "step": event.done})
                told_at = time.monotonic()
            if stop.asked:
                return None
    raise AssertionError("a run ends with Done")


def _finished(done: Done, captioner: str) -> dict[str, Any]:
    return {
        "event": "finished",
        "step": len(done.captions) + len(done.failed),
        "captioner": captioner,
        "written": len(done.captions),
        "skipped": done.skipped,
        "failed": len(done.failed),
        "first_failed": [asdict(failed) for failed in done.failed[:MOST_TOLD]],
        "findings": len(done.findings),
    }
