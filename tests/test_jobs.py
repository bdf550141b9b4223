"""The queue: every change of a job's state, by its users and its workers, on both databases."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text
from tests import postgres_server

from loraloom.config import TrainConfig
from loraloom.config_tree import toml_line, validate
from loraloom.errors import ConfigInvalid, DatabaseUnusable, DataNewer, JobRefused, JobUnknown
from loraloom.families import detect
from loraloom.settings import resolve_base
from loraloom.studio import tables, workers
from loraloom.studio.database import Database, open_database
from loraloom.studio.job import Job, Lease, Reason, Request, State, Task
from loraloom.studio.jobs import Jobs
from loraloom.studio.leases import LeaseLost, Leases, Reaper
from loraloom.train import recipe


@pytest.fixture(scope="session")
def config() -> TrainConfig:
    tree = {"data": {"folder": "."}, "schedule": {"steps": 600}}
    base = resolve_base("starter")
    family = detect(base)
    return validate(recipe.fill(tree, family.info, family.profile(base), 20).model_dump())


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    postgres_server.programs()
    with tempfile.TemporaryDirectory(prefix="loraloom-pg-") as folder:
        Path(folder).chmod(0o755)
        with postgres_server.running(Path(folder)) as address:
            yield address


@pytest.fixture(params=["sqlite", "postgres"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'studio.db'}"
    found = str(request.getfixturevalue("postgres"))
    wipe(found)
    return found


@pytest.fixture
def database(address: str) -> Iterator[Database]:
    opened = open_database(address)
    yield opened
    opened.close()


def wipe(address: str) -> None:
    """Empty a PostgreSQL database."""
    opened = open_database(address)
    with opened.writing() as connection:
        connection.execute(text("TRUNCATE jobs, events RESTART IDENTITY CASCADE"))
    opened.close()


@pytest.fixture
def jobs(database: Database) -> Jobs:
    return Jobs(database)


@pytest.fixture
def leases(database: Database) -> Leases:
    return Leases(database)


def started(leases: Leases) -> Job:
    """A claimed job that makes steps."""
    job = leases.claim("w")
    assert job is not None
    leases.beat(job.lease, [{"event": "started", "steps": 9}, {"event": "step", "step": 1}])
    return job


class TestUsers:
    def test_higher_priority_goes_first_then_the_older(
        self, jobs: Jobs, leases: Leases, config: TrainConfig
    ) -> None:
        for name, priority in (("a", 0), ("b", 1), ("c", 1)):
            jobs.add(config, name, priority=priority)
        claimed = [leases.claim("w") for _ in range(4)]
        assert [job and job.name for job in claimed] == ["b", "c", "a", None]

    def test_settings_come_back_as_they_were(self, jobs: Jobs, config: TrainConfig) -> None:
        import tomllib

        kept = jobs.get(jobs.add(config, "a").id)
        assert validate(tomllib.loads(kept.settings)) == config

    @pytest.mark.parametrize("base", ["sdxl", "100%_\\a 'b' \"c\" /d", "鏡"])
    def test_those_that_name_a_base(self, jobs: Jobs, config: TrainConfig, base: str) -> None:
        mine = jobs.add(config.model_copy(update={"base": base}), "a")
        for other in (f"{base}-2", f"x{base}", base.replace("_", "x") + "x"):
            jobs.add(config.model_copy(update={"base": other}), "b")
        jobs.queue_up(Task.DESCRIBE, "c", f'dataset = "c"\n{toml_line("base", base)}\n')
        assert jobs.naming(base, task=Task.TRAIN) == [mine.id]
        assert jobs.naming(base, (State.QUEUED,)) == [mine.id + 4, mine.id]
        assert jobs.naming(base, (State.FAILED,)) == []

    def test_a_waiting_job_is_cancelled_at_once_and_again(
        self, jobs: Jobs, leases: Leases, config: TrainConfig
    ) -> None:
        job = jobs.add(config, "a")
        assert jobs.cancel(job.id).state is State.CANCELLED
        assert jobs.cancel(job.id).state is State.CANCELLED
        assert leases.claim("w") is None

    def test_a_running_job_hears_of_each_request(
        self, jobs: Jobs, leases: Leases, config: TrainConfig
    ) -> None:
        jobs.add(config, "a")
        job = started(leases)
        for ask, request in (
            (jobs.pause, Request.PAUSE), (jobs.resume, Request.NONE),
            (jobs.stop, Request.STOP), (jobs.cancel, Request.CANCEL),
        ):  # fmt: skip
            assert ask(job.id).state is State.TRAINING
            assert leases.beat(job.lease) is request
        with pytest.raises(JobRefused, match="about to be cancelled"):
            jobs.pause(job.id)
        leases.release(job.lease)
        assert jobs.get(job.id).state is State.CANCELLED

    def test_pause_and_resume(self, jobs: Jobs, leases: Leases, config: TrainConfig) -> None:
        jobs.add(config, "a")
        job = started(leases)
        jobs.pause(job.id)
        leases.release(job.lease)
        assert jobs.get(job.id).state is State.PAUSED
        assert leases.claim("w") is None
        assert jobs.resume(job.id).state is State.QUEUED
        again = leases.claim("w")
        assert again is not None and again.attempt == 2

    def test_what_has_ended_is_not_steered(
        self, jobs: Jobs, leases: Leases, config: TrainConfig
    ) -> None:
        jobs.add(config, "a")
        job = started(leases)
        leases.finish(job.lease)
        for ask in (jobs.cancel, jobs.pause, jobs.resume):
            with pytest.raises(JobRefused, match="has finished"):
                ask(job.id)
        with pytest.raises(JobUnknown, match="no job 99"):
            jobs.cancel(99)

    def test_events_are_kept_in_order(
        self, jobs: Jobs, leases: Leases, config: TrainConfig
    ) -> None:
        jobs.add(config, "a")
        job = started(leases)
        leases.beat(job.lease, [{"event": "warned", "message": "NUL \0, 繁體, \ud800"}])
        found = jobs.events(job.id)
        assert [e.body["event"] for e in found] == [
            "state", "state", "state", "started", "step", "warned",
        ]  # fmt: skip
        assert [e.body["state"] for e in found[:3]] == ["queued", "preparing", "training"]
        assert found[-1].body["message"] == "NUL \0, 繁體, \ud800"
        assert [e.id for e in jobs.events(job.id, after=found[2].id, limit=2)] == [
            e.id for e in found[3:5]
        ]


class TestWorkers:
    def test_a_lost_lease_is_not_heard(
        self, jobs: Jobs, leases: Leases, config: TrainConfig
    ) -> None:
        jobs.add(config, "a")
        old = started(leases)
        assert leases.lose(old.lease, jobs.get(old.id).beat)
        new = started(leases)
        for write in (
            lambda: leases.beat(old.lease), lambda: leases.finish(old.lease),
            lambda: leases.fail(old.lease, Reason.DATA, "x"), lambda: leases.release(old.lease),
        ):  # fmt: skip
            with pytest.raises(LeaseLost):
                write()
        leases.finish(new.lease)
        leases.finish(new.lease)
        assert jobs.get(new.id).state is State.FINISHED

    @pytest.mark.parametrize(("reason", "attempts"), [(Reason.BUG, 3), (Reason.LOST, 10)])
    def test_losses_without_headway_fail(
        self, jobs: Jobs, leases: Leases, config: TrainConfig, reason: Reason, attempts: int
    ) -> None:
        jobs.add(config, "a")
        for lost in range(attempts):
            job = started(leases)
            leases.fail(job.lease, reason, f"crash {lost}")
        found = jobs.get(job.id)
        last = f"crash {attempts - 1}"
        assert (found.state, found.reason, found.message) == (State.FAILED, reason, last)
        assert jobs.resume(job.id).losses == 0

    def test_a_further_checkpoint_begins_the_count_anew(
        self, jobs: Jobs, leases: Leases, config: TrainConfig
    ) -> None:
        jobs.add(config, "a")
        for step in range(1, 9):
            job = started(leases)
            leases.beat(job.lease, [{"event": "saved", "step": step}])
            leases.fail(job.lease, Reason.LOST, "gone")
        assert jobs.get(job.id).state is State.QUEUED
        for _ in range(2):
            job = started(leases)
            leases.beat(job.lease, [{"event": "saved", "step": 8}])  # no further than before
            leases.fail(job.lease, Reason.BUG, "gone")
        assert jobs.get(job.id).state is State.FAILED

    def test_what_the_same_settings_bring_again_fails_at_once(
        self, jobs: Jobs, leases: Leases, config: TrainConfig
    ) -> None:
        for reason in (Reason.MEMORY, Reason.NOT_FINITE, Reason.DISK, Reason.DATA):
            jobs.add(config, "a")
            job = started(leases)
            leases.fail(job.lease, reason, "why")
            leases.fail(job.lease, reason, "why")
            assert jobs.get(job.id).state is State.FAILED

    def test_a_lost_job_is_cancelled_or_paused_if_that_was_asked(
        self, jobs: Jobs, leases: Leases, config: TrainConfig
    ) -> None:
        for ask, state in ((jobs.cancel, State.CANCELLED), (jobs.pause, State.PAUSED)):
            jobs.add(config, "a")
            job = started(leases)
            ask(job.id)
            assert leases.lose(job.lease, jobs.get(job.id).beat)
            assert jobs.get(job.id).state is state

    def test_two_at_once_never_take_the_same_job(
        self, address: str, jobs: Jobs, config: TrainConfig
    ) -> None:
        for number in range(24):
            jobs.add(config, str(number))
        taken: list[int] = []

        def work() -> None:
            own = open_database(address)
            while job := Leases(own).claim("w"):
                taken.append(job.id)
            own.close()

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=120)
        assert sorted(taken) == sorted(job.id for job in jobs.all())


class TestReaper:
    def test_only_a_beat_that_stands_still_is_lost(
        self, jobs: Jobs, leases: Leases, config: TrainConfig
    ) -> None:
        jobs.add(config, "a")
        job = started(leases)
        clock = 100.0
        reaper = Reaper(leases, 10, lambda: clock)
        for _ in range(8):
            clock += 4
            leases.beat(job.lease)
            assert reaper.look() == []
        for _ in range(3):  # 4, 8 and 12 s after the first look at the last beat
            assert jobs.get(job.id).state is State.TRAINING
            clock += 4
            lost = reaper.look()
        assert lost == [job.id]
        assert jobs.get(job.id).state is State.QUEUED

    def test_a_worker_of_this_machine_that_has_ended_is_not_waited_for(
        self, jobs: Jobs, leases: Leases, config: TrainConfig
    ) -> None:
        code = "from loraloom.studio.workers import own_name; print(own_name())"
        ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert workers.is_gone(ended.stdout.strip())
        assert not workers.is_gone(workers.own_name())
        assert not workers.is_gone(ended.stdout.strip().replace("@", "@another machine "))
        assert not workers.is_gone("w1")
        jobs.add(config, "lives")
        jobs.add(config, "orphaned")
        leases.claim(workers.own_name())
        orphan = leases.claim(ended.stdout.strip())
        assert orphan is not None
        assert Reaper(leases, 1000).look() == [orphan.id]
        assert jobs.get(orphan.id).state is State.QUEUED

    def test_a_reaper_that_was_frozen_looks_anew(
        self, jobs: Jobs, leases: Leases, config: TrainConfig
    ) -> None:
        jobs.add(config, "a")
        started(leases)
        clock = 0.0
        reaper = Reaper(leases, 10, lambda: clock)
        assert reaper.look() == []
        clock = 1000.0
        assert reaper.look() == []


class TestOpening:
    def test_the_tables_are_what_the_migrations_make(self, database: Database) -> None:
        from alembic.autogenerate import compare_metadata
        from alembic.migration import MigrationContext

        with database.reading() as connection:
            context = MigrationContext.configure(connection)
            assert context.get_current_revision() == tables.VERSION
            assert compare_metadata(context, tables.metadata) == []

    def test_jobs_are_there_when_opened_again(
        self, address: str, jobs: Jobs, config: TrainConfig
    ) -> None:
        jobs.add(config, "kept")
        again = open_database(address)
        assert [job.name for job in Jobs(again).all()] == ["kept"]
        again.close()

    def test_data_of_a_newer_version_are_refused_untouched(
        self, tmp_path: Path, config: TrainConfig
    ) -> None:
        path = tmp_path / "studio.db"
        opened = open_database(f"sqlite:///{path}")
        with opened.writing() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '9000'"))
        opened.close()
        with pytest.raises(DataNewer, match=r"newer Loraloom.*9000.*Update Loraloom"):
            open_database(f"sqlite:///{path}")
        kept = sqlite3.connect(path)
        assert kept.execute("SELECT version_num FROM alembic_version").fetchall() == [("9000",)]
        kept.close()

    def test_sqlite_writes_ahead_and_syncs_fully(self, tmp_path: Path) -> None:
        opened = open_database(f"sqlite:///{tmp_path / 'studio.db'}")
        with opened.writing() as connection:
            assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
            assert connection.execute(text("PRAGMA synchronous")).scalar() == 2
            assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1
        opened.close()

    def test_no_database_is_told_in_a_sentence(self, tmp_path: Path) -> None:
        (tmp_path / "studio.db").write_bytes(b"no database" * 100)
        with pytest.raises(DatabaseUnusable, match="cannot be used"):
            open_database(f"sqlite:///{tmp_path / 'studio.db'}")
        for address in ("mysql://x/y", "nonsense"):
            with pytest.raises(ConfigInvalid, match="LORALOOM_DATABASE"):
                open_database(address)

    def test_a_password_is_not_told(self) -> None:
        pytest.importorskip("psycopg")
        with pytest.raises(DatabaseUnusable) as caught:
            open_database("postgresql://me:secret@127.0.0.1:1/x")
        assert "secret" not in str(caught.value)


ALLOWED = {
    ("queued", "preparing"), ("queued", "paused"), ("queued", "cancelled"),
    ("preparing", "training"), ("preparing", "queued"), ("preparing", "paused"),
    ("preparing", "finished"), ("preparing", "failed"), ("preparing", "cancelled"),
    ("training", "queued"), ("training", "paused"), ("training", "finished"),
    ("training", "failed"), ("training", "cancelled"),
    ("paused", "queued"), ("paused", "cancelled"), ("failed", "queued"),
}  # fmt: skip


class Queue(RuleBasedStateMachine):
    """Users and workers do anything in any order; old leases are kept and tried again."""

    address = ""
    config: TrainConfig
    numbers: Bundle[int] = Bundle("numbers")
    held: Bundle[Lease] = Bundle("held")

    @initialize()
    def begin(self) -> None:
        if self.address.startswith("postgresql"):
            wipe(self.address)
        self.database = open_database(self.address or "sqlite://")
        self.jobs, self.leases = Jobs(self.database), Leases(self.database)
        self.ended: dict[int, State] = {}
        self.newest: dict[int, int] = {}

    def teardown(self) -> None:
        if hasattr(self, "database"):
            self.database.close()

    @precondition(lambda self: len(self.jobs.all()) < 3)  # few, so that much happens to each
    @rule(target=numbers, priority=st.integers(-1, 1))
    def add(self, priority: int) -> int:
        return self.jobs.add(self.config, "a", priority=priority).id

    @rule(target=held)
    def claim(self) -> object:
        queued = [job for job in self.jobs.all() if job.state is State.QUEUED]
        job = self.leases.claim("w")
        assert (job is None) == (not queued)
        if job is None:
            return multiple()
        assert job.id == min(queued, key=lambda each: (-each.priority, each.id)).id
        assert job.attempt == self.newest.get(job.id, 0) + 1
        self.newest[job.id] = job.attempt
        return job.lease

    @rule(number=numbers, ask=st.sampled_from(["cancel", "pause", "stop", "resume"]))
    def steer(self, number: int, ask: str) -> None:
        before = self.jobs.get(number)
        try:
            after = getattr(self.jobs, ask)(number)
        except JobRefused:
            assert self.jobs.get(number) == before
            return
        if ask == "resume" and before.state is State.FAILED:
            self.ended.pop(number, None)
        if ask == "cancel":
            assert after.state is State.CANCELLED or after.request is Request.CANCEL

    @rule(lease=held, happening=st.sampled_from(["started", "step", "saved"]))
    def beat(self, lease: Lease, happening: str) -> None:
        self._write(lease, lambda: self.leases.beat(lease, [{"event": happening, "step": 3}]))

    @rule(lease=held)
    def finish(self, lease: Lease) -> None:
        if self._write(lease, lambda: self.leases.finish(lease)):
            assert self.jobs.get(lease.job_id).state is State.FINISHED

    @rule(lease=held, reason=st.sampled_from([Reason.LOST, Reason.BUG, Reason.DATA]))
    def fail(self, lease: Lease, reason: Reason) -> None:
        self._write(lease, lambda: self.leases.fail(lease, reason, "why"))

    @rule(lease=consumes(held))
    def release(self, lease: Lease) -> None:
        self._write(lease, lambda: self.leases.release(lease))

    @rule(lease=held, behind=st.integers(0, 1))
    def lose(self, lease: Lease, behind: int) -> None:
        before = self.jobs.get(lease.job_id)
        ours = before.attempt == lease.attempt and before.state in ("preparing", "training")
        assert self.leases.lose(lease, before.beat - behind) == (ours and not behind)

    def _write(self, lease: Lease, write: object) -> bool:
        """Try a write: only the newest attempt of a job that is held may change anything."""
        before = self.jobs.get(lease.job_id)
        ours = before.attempt == lease.attempt and before.state in ("preparing", "training")
        try:
            write()  # type: ignore[operator]
        except LeaseLost:
            assert not ours
            assert self.jobs.get(lease.job_id) == before
            return False
        assert ours or self.jobs.get(lease.job_id) == before
        return ours

    @invariant()
    def changes_are_allowed_and_ends_are_final(self) -> None:
        if not hasattr(self, "jobs"):
            return
        for job in self.jobs.all():
            bodies = [event.body for event in self.jobs.events(job.id)]
            told = [body["state"] for body in bodies if body["event"] == "state"]
            assert told[0] == "queued" and told[-1] == job.state
            assert set(pairwise(told)) <= ALLOWED
            assert (job.ended_at is None) == (job.state not in ("finished", "failed", "cancelled"))
            assert (job.reason == "") == (job.state != "failed")
            assert job.losses < 10
            if job.id in self.ended:
                assert job.state == self.ended[job.id]
            if job.ended_at is not None:
                self.ended[job.id] = job.state


@pytest.mark.parametrize("which", ["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def test_anything_in_any_order(
    which: str, config: TrainConfig, request: pytest.FixtureRequest
) -> None:
    class Run(Queue):
        pass

    Run.config = config
    Run.address = request.getfixturevalue("postgres") if which == "postgres" else "sqlite://"
    few = settings(
        max_examples=25 if which == "sqlite" else 10,
        stateful_step_count=50,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Run, settings=few)
