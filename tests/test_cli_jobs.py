"""`loraloom jobs`, as people and programs use it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests import library
from typer.testing import CliRunner, Result

from loraloom import cli
from loraloom.cli.worker import worker
from loraloom.errors import AdapterUnknown, ConfigInvalid, JobRefused, JobUnknown
from loraloom.studio.database import open_database
from loraloom.studio.job import Reason
from loraloom.studio.leases import Leases

COMMANDS = [
    "add", "list", "show", "watch", "cancel", "stop", "pause", "resume", "retry", "keep", "remove",
    "recover", "logs", "sample", "save",
]  # fmt: skip


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, ["jobs", *map(str, arguments)])


def told(*arguments: object) -> object:
    result = invoke(*arguments, "--json")
    assert result.exit_code == 0, result.exception
    return json.loads(result.stdout)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LORALOOM_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("LORALOOM_DATABASE", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path / "home"


@pytest.fixture
def added(base: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of pictures, whose run job 1 is; named by a relative path."""
    shutil.copytree(pictures, tmp_path / "cups")
    monkeypatch.chdir(tmp_path)
    result = invoke("add", "cups", "--base", base, "--trigger", "zk person", "--set", "seed=7")
    assert result.exit_code == 0, result.exception
    assert "Job 1 (cups) is queued" in result.stderr
    return tmp_path / "cups"


def fail(reason: Reason, message: str) -> None:
    database = open_database()
    leases = Leases(database)
    job = leases.claim("w")
    assert job is not None
    leases.beat(job.lease, [{"event": "started", "steps": 9}, {"event": "step", "step": 4,
                "loss": 0.5, "learning_rate": 1e-4, "seconds": 1.0}])  # fmt: skip
    leases.fail(job.lease, reason, message)
    database.close()


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(command: str) -> None:
    result = invoke(command, "--help")
    assert any(
        line.strip().startswith(f"loraloom jobs {command}") for line in result.output.split("\n")
    )


def test_worker_help_shows_an_example() -> None:
    assert "loraloom worker" in (worker.__doc__ or "")
    assert CliRunner().invoke(cli.app, ["worker", "--help"]).exit_code == 0


def test_a_job_is_added_with_whole_paths_and_all_settings(added: Path, base: Path) -> None:
    (job,) = told("list")  # type: ignore[misc]
    assert (job["id"], job["name"], job["state"], job["base"]) == (1, "cups", "queued", str(base))
    database = open_database()
    with database.reading() as connection:
        settings = connection.exec_driver_sql("SELECT settings FROM jobs").scalar_one()
    database.close()
    assert f'folder = "{added}"' in settings and "seed = 7" in settings
    assert "cups" in invoke("list").stdout


def test_a_failed_job_is_shown_watched_resumed_and_retried(added: Path) -> None:
    fail(Reason.NOT_FINITE, "The loss became NaN.")
    assert "job 1: The loss became NaN." in invoke("list").stdout
    watched = invoke("watch", 1, "--json")
    assert watched.exit_code == 1
    states = [json.loads(line).get("state") for line in watched.stdout.splitlines()]
    assert [state for state in states if state] == ["queued", "preparing", "training", "failed"]
    seen = invoke("watch", 1)
    assert seen.exit_code == 1
    assert "Job 1 failed (not finite): The loss became NaN." in seen.stderr

    assert told("retry", 1, "--set", "seed=8")["parent"] == 1  # type: ignore[index]
    assert told("show", 2)["changed"] == {"seed": [7, 8]}  # type: ignore[index]
    assert "seed 7 -> 8" in invoke("show", 2).stdout
    assert told("resume", 1)["state"] == "queued"  # type: ignore[index]


def test_waiting_jobs_are_steered(added: Path) -> None:
    assert told("pause", 1)["state"] == "paused"  # type: ignore[index]
    assert "lets it go on" in invoke("pause", 1).stderr
    assert told("resume", 1)["state"] == "queued"  # type: ignore[index]
    assert isinstance(invoke("stop", 1).exception, JobRefused)
    assert told("cancel", 1)["state"] == "cancelled"  # type: ignore[index]
    assert "was cancelled" in invoke("cancel", 1).stderr
    assert isinstance(invoke("resume", 1).exception, JobRefused)


def test_what_is_wrong_is_told(added: Path) -> None:
    assert isinstance(invoke("show", 9).exception, JobUnknown)
    found = invoke("add", "cups", "--set", "adapter.rnak=8").exception
    assert isinstance(found, ConfigInvalid) and "adapter.rank" in str(found)
    assert len(told("list")) == 1  # type: ignore[arg-type]


def test_logs_are_printed_without_what_a_terminal_obeys(added: Path, home: Path) -> None:
    assert "written nothing yet" in invoke("logs", 1).stderr
    folder = Path(str(told("show", 1)["folder"])).parent  # type: ignore[index]
    assert folder.parent == home / "jobs"
    folder.mkdir(parents=True)
    (folder / "log.txt").write_text("hello\n\x1b[31mred\n")
    assert invoke("logs", 1).stdout.startswith("hello\n")
    assert "\x1b" not in invoke("logs", 1).stdout
    assert told("logs", 1)["log"] == "hello\n\x1b[31mred\n"  # type: ignore[index]


def test_a_step_is_kept(added: Path) -> None:
    folder = Path(str(told("show", 1)["folder"]))  # type: ignore[index]
    library.save_adapter(folder / "adapters" / "step-000003.safetensors")
    assert "cups, step 3 is adapter 1 of the library" in invoke("keep", 1, "--step", 3).stderr
    assert told("keep", 1, "--step", 3)["adapter"] == 1  # type: ignore[index]
    assert isinstance(invoke("keep", 1, "--step", 4).exception, AdapterUnknown)


def test_what_has_ended_is_removed_and_recovered(added: Path) -> None:
    assert isinstance(invoke("remove", 1).exception, JobRefused)
    assert [invoke(command, 2**63).exit_code for command in ("remove", "show")] == [2, 2]
    invoke("cancel", 1)
    assert "loraloom jobs recover 1" in invoke("remove", 1).stderr
    assert told("list") == []
    assert told("list", "--removed")[0]["id"] == 1  # type: ignore[index]
    assert told("recover", 1)["trashed"] is None  # type: ignore[index]
    assert "The bin holds no job" in invoke("list", "--removed").stderr


def test_an_error_of_train_is_an_event_too(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli.app, ["train", str(tmp_path / "nowhere"), "--json"])
    event = json.loads(result.stdout)
    assert (event["event"], event["error"]) == ("failed", "FolderMissing")
    assert "does not exist" in event["message"]
