"""Events as lines of JSON, and back."""

import json
from pathlib import Path

import pytest

from loraloom.train import events


@pytest.mark.parametrize(
    "event",
    [
        events.Step(3, 0.5, 1e-4, 0.25),
        events.Validated(3, 0.5, None, None),
        events.Sampled(3, (Path("a/0.png"), Path("a/1.png"))),
        events.Saved(4, Path("checkpoints/step-000004")),
        events.Finished(6, 3, Path("adapter.safetensors"), 2.5, 100),
        events.Failed("DiskFull", "The disk is full."),
    ],
)
def test_events_come_back(event: events.Event) -> None:
    assert events.from_tree(json.loads(event.to_json())) == event


def test_what_is_no_event_of_a_run_is_none() -> None:
    assert events.from_tree({"event": "state", "state": "queued"}) is None
    assert events.from_tree({"event": "saved", "step": 4}) is None  # as another version told it
