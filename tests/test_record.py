"""The record of a run survives kills, and blames itself only for its own failures."""

import json
import resource
from pathlib import Path

import pytest

from loraloom.errors import OutputExists, OutputUnwritable
from loraloom.train.events import Warned
from loraloom.train.record import RunRecord


def test_a_half_written_line_is_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"event": "step", "step": 1}\n{"event": "st')
    with RunRecord(tmp_path).events() as log:
        log.append(Warned("é"))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["event"] for line in lines] == ["step", "warned"]


def test_a_whole_log_is_appended_to(tmp_path: Path) -> None:
    for message in ("one", "two"):
        with RunRecord(tmp_path).events() as log:
            log.append(Warned(message))
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["message"] for line in lines] == ["one", "two"]


def test_a_failure_of_the_run_is_not_the_logs(tmp_path: Path) -> None:
    with pytest.raises(ConnectionResetError), RunRecord(tmp_path).events():
        raise ConnectionResetError("the run's own")


def test_a_log_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").mkdir()
    with (
        pytest.raises(OutputUnwritable, match=r"events\.jsonl"),
        RunRecord(tmp_path).events(),
    ):
        pass


def test_a_log_that_has_no_room_is_told_and_goes_on_later(tmp_path: Path) -> None:
    """A limit on a file's size stands for a disk that is full."""
    whole, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    path = tmp_path / "events.jsonl"
    with (
        pytest.raises(OutputUnwritable, match=r"events\.jsonl could not be written: it is larger"),
        RunRecord(tmp_path).events() as log,
    ):
        log.append(Warned("one"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 9, most))
        try:
            log.append(Warned("two"))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (whole, most))
    with RunRecord(tmp_path).events() as log:
        log.append(Warned("three"))
    lines = path.read_text().splitlines()
    assert [json.loads(line)["message"] for line in lines] == ["one", "three"]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "notes").touch()
    for resume in (False, True):
        with pytest.raises(OutputExists, match="is a file; name a folder"):
            RunRecord(tmp_path / "notes").claim(resume=resume)
