"""Workers: real trainers on the tiny base, killed and steered, and why they ended."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from tests import tiny

from loraloom import train
from loraloom.config import TrainConfig
from loraloom.errors import JobRefused
from loraloom.generate import order as orders
from loraloom.studio import claimed_folder, exits, trainer, worker
from loraloom.studio.database import open_database
from loraloom.studio.job import Job, Reason, Request, State, Task
from loraloom.studio.jobs import Jobs
from loraloom.studio.leases import Leases
from loraloom.studio.process import Drawer
from loraloom.studio.slot import Slot

PROGRAM = """
from loraloom.studio.database import open_database
from loraloom.studio.worker import Pace, Worker
pace = Pace(look_s=0.05, beat_s=0.1, lost_s={lost_s}, grace_s=60)
def tell(number, sentence):
    print(number, sentence, flush=True)
Worker(open_database(), [None], tell, pace).run(once=True)
"""
PATIENCE_S = 500


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LORALOOM_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("LORALOOM_DATABASE", raising=False)
    return tmp_path / "home"


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    database = open_database()
    yield Jobs(database)
    database.close()


@pytest.fixture
def leases(jobs: Jobs) -> Leases:
    return Leases(jobs._database)


def start_worker(lost_s: float = 8.0) -> subprocess.Popen[str]:
    program = PROGRAM.format(lost_s=lost_s)
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)


def until(true: Callable[[], bool]) -> None:
    begun = time.monotonic()
    while not true():
        assert time.monotonic() - begun < PATIENCE_S
        time.sleep(0.05)


def artefacts(run: Path) -> dict[str, bytes]:
    files = [*run.glob("*.safetensors"), *run.glob("adapters/*")]
    assert files
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


def group_of(job: Job) -> int:
    """The trainer's process, as the lock of the job's folder names it."""
    return int((job.folder / claimed_folder.NAME).read_text())


def alive(number: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{number}/status").read_text()
    except OSError:
        return False


def long(base: Path, pictures: Path, steps: int = 40) -> TrainConfig:
    return tiny.config(base, pictures, schedule={"steps": steps}, checkpoint={"every_steps": 4},
                       validation={"every_steps": 20})  # fmt: skip


@pytest.mark.chaos
def test_killed_worker_and_trainer_end_finished_once_with_the_same_bytes(
    base: Path, pictures: Path, jobs: Jobs, tmp_path: Path
) -> None:
    config = long(base, pictures)
    list(train.run(config, tmp_path / "whole"))
    job = jobs.add(config, "killed")
    draw = random.Random(0)

    first = start_worker()
    until(lambda: jobs.get(job.id).step >= 6)
    trainer = group_of(job)
    time.sleep(draw.random() / 10)
    first.kill()
    first.wait()
    until(lambda: not alive(trainer))  # it dies with its worker

    second = start_worker(lost_s=2.0)
    until(lambda: jobs.get(job.id).attempt == 2 and jobs.get(job.id).step >= 20)
    time.sleep(draw.random() / 10)
    os.kill(group_of(job), signal.SIGKILL)
    assert second.wait(timeout=PATIENCE_S) == 0

    done = jobs.get(job.id)
    assert (done.state, done.step, done.attempt) == (State.FINISHED, 40, 3)
    told = [event.body for event in jobs.events(job.id, limit=9999)]
    assert [body["state"] for body in told if body["event"] == "state"].count("finished") == 1
    assert {body["step"] for body in told if body["event"] == "step"} >= set(range(21, 41))
    assert artefacts(done.run_folder) == artefacts(tmp_path / "whole")


@pytest.mark.slow
def test_pause_stop_and_a_worker_that_is_asked_to_leave(
    base: Path, pictures: Path, jobs: Jobs, tmp_path: Path
) -> None:
    """One job: paused, resumed, put back by a worker's SIGTERM, stopped with its adapter kept."""
    job = jobs.add(long(base, pictures, 4000), "steered")
    first = start_worker()
    until(lambda: jobs.get(job.id).step >= 2)
    jobs.pause(job.id)
    assert first.wait(timeout=PATIENCE_S) == 0
    paused = jobs.get(job.id)
    assert (paused.state, paused.saved_step) == (State.PAUSED, paused.step)

    jobs.resume(job.id)
    second = start_worker()
    until(lambda: jobs.get(job.id).step > paused.step + 2)
    second.terminate()
    assert second.wait(timeout=PATIENCE_S) == 0
    left = jobs.get(job.id)
    assert (left.state, left.losses) == (State.QUEUED, 0)
    assert left.saved_step == left.step > paused.step

    third = start_worker()
    until(lambda: jobs.get(job.id).step > left.step)
    jobs.stop(job.id)
    assert third.wait(timeout=PATIENCE_S) == 0
    done = jobs.get(job.id)
    assert done.state is State.FINISHED and left.step < done.step < 4000
    assert (done.run_folder / "adapter.safetensors").is_file()
    kept = (done.run_folder / "adapters" / f"step-{done.step:06d}.safetensors").is_file()
    assert kept  # the step it was stopped at can be chosen too


@pytest.mark.matrix
def test_a_running_job_draws_and_saves_when_it_is_asked(
    base: Path, pictures: Path, jobs: Jobs
) -> None:
    config = tiny.config(
        base, pictures, schedule={"steps": 100_000}, checkpoint={"every_steps": 100_000},
        samples={"prompts": ["zk person"], "steps": 2, "every_steps": 100_000},
    )  # fmt: skip
    job = jobs.add(config, "asked")
    worker = start_worker()
    until(lambda: jobs.get(job.id).step >= 2)
    jobs.sample(job.id)
    jobs.save(job.id)
    until(lambda: jobs.get(job.id).saved_step > 0)
    until(lambda: any((job.run_folder / "samples").glob("step-*-0.png")))
    saved = jobs.get(job.id).saved_step
    until(lambda: jobs.get(job.id).step > saved)
    assert (job.run_folder / "adapters" / f"step-{saved:06d}.safetensors").is_file()
    jobs.cancel(job.id)
    assert worker.wait(timeout=PATIENCE_S) == 0


class FakeTrainer:
    """What a slot sees of a trainer."""

    def __init__(self, folder: Path) -> None:
        self.status: int | None = None
        self.told: list[dict[str, object]] = []
        self.last: dict[str, object] = {}
        self.asked: list[str] = []
        self.killed = self.closed = self.asked_to_leave = False
        self.oom_kills_before = 0
        self.log = folder / "log.txt"
        self.log.write_text("Traceback\nKeyError: 'x'\n")

    def read(self) -> list[dict[str, object]]:
        told, self.told = self.told, []
        self.last = told[-1] if told else self.last
        return told

    def ask(self, request: str, grace_s: float) -> None:
        self.asked.append(request)
        self.asked_to_leave = request in ("cancel", "pause")

    def wish(self, wish: str) -> bool:
        if self.last:
            self.asked.append(wish)
        return bool(self.last)

    def kill(self) -> None:
        self.killed = True

    def close(self) -> None:
        self.closed = True


class Run:
    """A slot with a job whose trainer is a fake one."""

    def __init__(self, jobs: Jobs, leases: Leases, config: TrainConfig, folder: Path) -> None:
        self.jobs, self.leases = jobs, leases
        self.number = jobs.add(config, "a").id
        self.slot = Slot(leases, None, lambda number, sentence: None)
        job = leases.claim("w")
        assert job is not None
        self.slot.take(job)
        self.trainer = FakeTrainer(folder)
        self.slot._trainer = self.trainer  # type: ignore[assignment]

    def attend(self, *, leaving: bool = False) -> Job:
        self.slot.attend(due=True, leaving=leaving, grace_s=9)
        return self.jobs.get(self.number)


@pytest.fixture
def run(jobs: Jobs, leases: Leases, base: Path, pictures: Path, tmp_path: Path) -> Run:
    return Run(jobs, leases, tiny.config(base, pictures), tmp_path)


class TestSlot:
    def test_finished(self, run: Run) -> None:
        run.trainer.told = [{"event": "started", "steps": 6}, {"event": "step", "step": 5}]
        assert run.attend().state is State.TRAINING
        run.trainer.told, run.trainer.status = [{"event": "finished", "step": 6}], 0
        assert (run.attend().state, run.attend().step) == (State.FINISHED, 6)
        assert run.trainer.closed and run.slot.job is None

    @pytest.mark.parametrize(
        ("error", "reason"),
        [
            ("MemoryExhausted", Reason.MEMORY),
            ("LossNotFinite", Reason.NOT_FINITE),
            ("DiskFull", Reason.DISK),
            ("DatasetProblems", Reason.DATA),
        ],
    )
    def test_failures_that_the_trainer_tells(self, run: Run, error: str, reason: Reason) -> None:
        run.trainer.told = [{"event": "failed", "error": error, "message": "why"}]
        run.trainer.status = 1
        found = run.attend()
        assert (found.state, found.reason, found.message) == (State.FAILED, reason, "why")

    def test_what_needs_more_memory_than_there_is_is_refused(self, run: Run) -> None:
        run.trainer.told = [{"event": "planned", "peak_mib": 9000, "available_mib": 8192}]
        run.attend()
        assert run.trainer.killed
        run.trainer.status = -9
        found = run.attend()
        assert (found.state, found.reason) == (State.FAILED, Reason.MEMORY)
        assert "8.8 GiB of memory, and there are 8.0 GiB" in found.message

    def test_a_lost_lease_ends_the_trainer(self, run: Run) -> None:
        job = run.jobs.get(run.number)
        assert run.leases.lose(job.lease, job.beat)
        assert run.attend().state is State.QUEUED
        assert run.trainer.closed and run.slot.job is None

    def test_requests_are_passed_on(self, run: Run) -> None:
        run.jobs.stop(run.number)
        run.attend()
        run.jobs.cancel(run.number)
        run.attend()
        assert run.trainer.asked == ["stop", "cancel"]
        run.trainer.status = -9  # it did not obey within the grace time
        assert run.attend().state is State.CANCELLED

    def test_wishes_are_passed_on_once_it_listens(self, run: Run) -> None:
        with pytest.raises(JobRefused, match="has no sample prompts"):
            run.jobs.sample(run.number)
        run.jobs.save(run.number)
        run.attend()
        assert run.trainer.asked == []
        run.trainer.told = [{"event": "started", "steps": 6}]
        run.attend()
        run.attend()
        assert run.trainer.asked == ["save"]
        run.jobs.save(run.number)
        run.attend()
        assert run.trainer.asked == ["save", "save"]
        run.trainer.told = [{"event": "step", "step": 1}]
        run.attend()
        assert run.slot._heard == run.jobs.last_event()  # what was looked at is not read again
        run.jobs.pause(run.number)
        with pytest.raises(JobRefused, match="was asked to pause: only a run that goes on"):
            run.jobs.save(run.number)
        run.jobs.resume(run.number)
        run.trainer.told, run.trainer.status = [{"event": "finished", "step": 6}], 0
        run.attend()
        with pytest.raises(JobRefused, match="is finished: only a training that runs"):
            run.jobs.save(run.number)

    def test_a_wish_before_the_start_is_heard(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(trainer, "start", lambda job, gpu, drawer: run.trainer)
        run.slot._trainer = None
        run.jobs.save(run.number)
        run.attend()  # the start
        assert run.slot._heard == run.jobs.last_event() - 2  # before the claim and the wish
        run.trainer.told = [{"event": "started", "steps": 6}]
        run.attend()
        assert run.trainer.asked == ["save"]

    def test_a_worker_that_leaves_gives_the_job_back(self, run: Run) -> None:
        run.attend(leaving=True)
        assert run.trainer.asked == ["pause"]
        run.trainer.status = 130
        found = run.attend(leaving=True)
        assert (found.state, found.losses) == (State.QUEUED, 0)


@pytest.mark.parametrize(("gpus", "told"), [(["0", "1"], ["0"]), (["0", "0"], []), ([None], [])])
def test_of_several_gpus_it_is_told_which(
    jobs: Jobs, base: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    gpus: list[str | None], told: list[str],
) -> None:  # fmt: skip
    job = jobs.add(tiny.config(base, pictures), "placed")
    monkeypatch.setattr(trainer, "start", lambda job, gpu, drawer: FakeTrainer(tmp_path))
    placing = worker.Worker(open_database(), gpus, lambda number, sentence: None)
    for _ in range(3):  # the claim, the start, and a sign of life
        placing._pass(due=True)
    events = jobs.events(job.id, names=["placed"])
    assert [event.body["gpu"] for event in events] == told


class TestExits:
    def why(self, status: int, log: str, folder: Path, oom: int = 10**9) -> exits.Failure:
        (folder / "log.txt").write_text(log)
        return exits.failure(status, {"event": "step"}, folder / "log.txt", oom)

    def test_the_kernels_kill_is_memory(self, tmp_path: Path) -> None:
        assert self.why(-9, "", tmp_path, oom=-1).reason is Reason.MEMORY

    def test_another_kill_is_a_loss(self, tmp_path: Path) -> None:
        assert self.why(-9, "", tmp_path).reason is Reason.LOST

    def test_a_crash_names_its_signal(self, tmp_path: Path) -> None:
        found = self.why(-11, "--- attempt 1\n", tmp_path)
        assert found == exits.Failure(Reason.BUG, "The trainer crashed (SIGSEGV).")

    def test_a_traceback_gives_its_last_line(self, tmp_path: Path) -> None:
        found = self.why(1, "Traceback ...\nKeyError: 'a\0b'\n\n", tmp_path)
        assert found == exits.Failure(Reason.BUG, "KeyError: 'ab'")

    def test_memory_that_was_not_told_in_a_sentence(self, tmp_path: Path) -> None:
        log = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB\n"
        assert self.why(1, log, tmp_path).reason is Reason.MEMORY


class TestFolder:
    def test_a_trainer_that_was_left_behind_is_ended(self, tmp_path: Path) -> None:
        lock = claimed_folder.take(tmp_path)
        assert lock is not None
        left = subprocess.Popen(["sleep", "600"], pass_fds=[lock], start_new_session=True)
        os.write(lock, str(left.pid).encode())
        os.close(lock)
        assert claimed_folder.take(tmp_path) is None
        assert claimed_folder.evict(tmp_path)
        assert left.wait(timeout=60) == -signal.SIGKILL
        lock = claimed_folder.take(tmp_path)
        assert lock is not None
        os.close(lock)

    def test_a_process_that_only_has_its_number_is_left_alone(self, tmp_path: Path) -> None:
        other = subprocess.Popen(["sleep", "600"], start_new_session=True)
        (tmp_path / claimed_folder.NAME).write_text(str(other.pid))
        assert not claimed_folder.evict(tmp_path)
        assert other.poll() is None
        other.kill()
        other.wait()


def test_a_full_disk_lets_the_queue_wait(
    jobs: Jobs, base: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "LEAST_FREE_MIB", 1 << 40)
    jobs.add(tiny.config(base, pictures), "a")
    told: list[str] = []
    working = worker.Worker(jobs._database, [None], lambda number, sentence: told.append(sentence))
    assert not working._pass(due=True) and not working._pass(due=True)
    assert [job.state for job in jobs.all()] == [State.QUEUED]
    assert len(told) == 1 and "MiB free" in told[0]


def test_a_trainer_that_does_not_obey_is_ended_after_the_grace_time(
    jobs: Jobs, base: Path, pictures: Path
) -> None:
    job = jobs.add(tiny.config(base, pictures), "a")
    running = trainer.start(job, None)
    assert running is not None and trainer.start(job, None) is None  # which evicts it
    until(lambda: running.status is not None)
    assert running.status == -signal.SIGKILL and not running.asked_to_leave
    running.close()
    running = trainer.start(job, None)
    assert running is not None
    process = psutil.Process(group_of(job))
    process.suspend()
    until(lambda: process.status() == psutil.STATUS_STOPPED)
    running.ask(Request.CANCEL, 0)
    assert running.status is None
    time.sleep(0.01)
    running.ask(Request.CANCEL, 0)
    until(lambda: running.status is not None)
    assert running.status == -signal.SIGKILL and running.asked_to_leave
    running.close()


def add_picture(jobs: Jobs, base: Path, seed: int = 7) -> Job:
    wanted = orders.Wanted(prompt="zk mug", seed=seed, steps=2, width_px=32, height_px=32)
    order = orders.Order(base=str(base), pictures=(wanted,), precision="float32")
    return jobs.queue_up(Task.GENERATE, "a", orders.to_toml(order))[0]


def picture_of(job: Job) -> bytes:
    return orders.picture_file(job.run_folder, 0).read_bytes()


@pytest.mark.matrix
def test_the_base_stays_for_the_next_pictures_until_a_run_needs_the_room(
    jobs: Jobs, base: Path, pictures: Path
) -> None:
    first, second, other = (add_picture(jobs, base, seed) for seed in (7, 7, 8))
    run = jobs.add(tiny.config(base, pictures), "run")
    last = add_picture(jobs, base)
    assert start_worker().wait(timeout=PATIENCE_S) == 0
    assert {job.state for job in jobs.all()} == {State.FINISHED}
    stayed, trained, anew = group_of(first), group_of(run), group_of(last)
    assert group_of(second) == group_of(other) == stayed
    assert len({stayed, trained, anew}) == 3
    assert not psutil.pid_exists(stayed) and not psutil.pid_exists(anew)
    assert picture_of(first) == picture_of(second) == picture_of(last) != picture_of(other)
    assert "attempt 1" in (second.folder / "log.txt").read_text()


def draw_with(drawer: Drawer | None, job: Job) -> Drawer | None:
    """Let a job be drawn to its end; the drawer that is left."""
    running = trainer.start(job, None, drawer)
    assert running is not None
    while running.status is None:
        running.read()
        time.sleep(0.05)
    return running.close()


@pytest.mark.matrix
def test_a_drawer_that_died_in_between_is_replaced(jobs: Jobs, base: Path) -> None:
    first, second = (add_picture(jobs, base) for _ in range(2))
    drawer = draw_with(None, first)
    assert drawer is not None
    drawer.send(signal.SIGKILL)
    until(lambda: drawer.status is not None)
    another = draw_with(drawer, second)
    assert another is not None and another.pid != drawer.pid == group_of(first)
    assert picture_of(first) == picture_of(second)

    broken = orders.to_toml(
        orders.Order(base="nowhere", pictures=(orders.Wanted(prompt="x", seed=1),))
    )
    refused = jobs.queue_up(Task.GENERATE, "b", broken)[0]
    assert draw_with(another, refused) is None and another.status == 1  # as one anew would
    assert "nowhere" in (refused.folder / "log.txt").read_text()
    assert "nowhere" not in (second.folder / "log.txt").read_text()
