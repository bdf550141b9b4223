"""What runs will take, asked of `loraloom plan`: torch never comes into this process."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import threading
from collections import OrderedDict
from pathlib import Path

from pydantic import BaseModel, ValidationError

from loraloom.config import TrainConfig
from loraloom.config_tree import to_toml
from loraloom.errors import PlanFailed

LIMIT_S = 120.0
"""For one plan: a busy machine may take half a minute to import torch."""
KEPT = 200


class Measure(BaseModel):
    """One way to need less, on top of those before it; the first is to change nothing."""

    name: str
    settings: list[str]
    """As --set takes them."""
    cost: str
    fits: bool
    peak_mib: int
    base_mib: int
    adapter_mib: int
    activations_mib: int
    samples_mib: int
    encoding_mib: int
    disk_mib: int
    """What checkpoints and adapters take at most."""
    seconds_a_step: float | None


class Plan(BaseModel):
    """Memory and time of a run on this machine."""

    card: str
    device: str
    available_mib: int
    steps: int
    measures: list[Measure]

    @property
    def unchanged(self) -> Measure:
        """With the settings as they are."""
        return self.measures[0]

    @property
    def fits(self) -> bool:
        """Whether nothing need be changed."""
        return self.unchanged.fits


class Plans:
    """Plans that were made, and one at a time in the making."""

    def __init__(self, limit_s: float = LIMIT_S) -> None:
        self._limit_s = limit_s
        self._made: OrderedDict[str, Plan] = OrderedDict()
        self._making = threading.Lock()
        self._wanted = ""

    def known(self, config: TrainConfig, *, less: bool = False) -> Plan | None:
        """The plan for such settings, if it was made already."""
        return self._made.get(key(config, less=less))

    def make(self, config: TrainConfig, *, less: bool = False) -> Plan:
        """The plan for the settings, which takes seconds the first time; `less`: as `loraloom plan`
        has it.

        Raises PlanFailed: in time, for what the base lacks, or where another plan was asked for
        while this one waited.
        """
        wanted = self._wanted = key(config, less=less)
        if not self._making.acquire(timeout=self._limit_s):
            raise PlanFailed("Another plan takes too long; ask again in a while.")
        try:
            found = self._made.get(wanted)
            if found is None:
                if self._wanted != wanted:
                    raise PlanFailed("Other settings were asked about meanwhile; ask again.")
                found = self._made[wanted] = self._ask(config, less=less)
                while len(self._made) > KEPT:
                    self._made.popitem(last=False)
            return found
        finally:
            self._making.release()

    def _ask(self, config: TrainConfig, *, less: bool) -> Plan:
        with tempfile.TemporaryDirectory(prefix="loraloom-plan-") as folder:
            path = Path(folder) / "settings.toml"
            path.write_text(to_toml(_without_pictures(config, folder)), encoding="utf-8")
            command = [sys.executable, "-m", "loraloom", "plan", str(path), "--json"]
            command += ["--less"] if less else []
            try:
                done = subprocess.run(
                    command, capture_output=True, text=True, timeout=self._limit_s,
                    stdin=subprocess.DEVNULL, start_new_session=True,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                raise PlanFailed(
                    f"The plan was not made within {self._limit_s:.0f} seconds: the machine is "
                    "busy. Ask again, or start: a run that does not fit ends before it begins."
                ) from None
        if done.returncode:
            lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
            raise PlanFailed(lines[-1] if lines else f"It ended with status {done.returncode}.")
        try:
            return Plan.model_validate_json(done.stdout)
        except ValidationError as error:
            raise PlanFailed(f"The plan cannot be read: {error}.") from error


def key(config: TrainConfig, *, less: bool = False) -> str:
    """The same for settings whose plans are the same."""
    told = f"{less} {to_toml(_without_pictures(config, '.'))}"
    return hashlib.sha256(told.encode()).hexdigest()


def _without_pictures(config: TrainConfig, folder: str) -> TrainConfig:
    """The settings as a plan sees them: which pictures they are does not matter."""
    data = config.data.model_copy(update={"folder": Path(folder), "concepts": ()})
    prior = config.prior.model_copy(update={"folder": None})
    return config.model_copy(update={"data": data, "prior": prior, "trigger": "", "seed": 0})
