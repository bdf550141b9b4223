"""/recipes and /plans: what settings come to, before anything is started."""

from __future__ import annotations

from collections import Counter
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from loraloom.config_tree import to_toml
from loraloom.errors import ConfigInvalid
from loraloom.findings import Severity
from loraloom.kinds import Kind
from loraloom.studio import draft
from loraloom.studio.measured import Measured, measured
from loraloom.studio.plans import Plan
from loraloom.studio.readiness import Readiness, Standing
from loraloom.train.recipe import Preset
from loraloom.web.problems import ANSWERS
from loraloom.web.who import StudioNow

router = APIRouter(tags=["plans"], responses=ANSWERS)


class Asked(BaseModel):
    """Settings that differ from the recipe's, as TOML gives them."""

    settings: dict[str, Any]
    preset: Preset = "standard"


class ReadinessBody(BaseModel):
    """The last check of a dataset that settings name, for the kind and the base of the run.

    `standing` is "unchecked" where there was none, and "older" where it was of another state of the
    dataset; errors of a "fresh" one stand in the way of a start.
    """

    dataset: str
    kind: Kind
    base: str
    standing: Standing
    found: dict[str, int]
    """The code of a finding -> how many."""
    errors: int
    warnings: int


class RecipeBody(BaseModel):
    """Complete settings and the numbers that follow from them."""

    settings: dict[str, Any]
    toml: str
    steps: int
    pictures: int | None
    epochs: float | None
    """How often each picture is seen."""
    effective_learning_rate: float
    """Learning rate x alpha / rank: what compares across trainers."""
    blocking: list[str]
    """What stands in the way of a start."""
    warnings: list[str]
    readiness: list[ReadinessBody]
    measured: Measured | None
    """What finished runs of such settings took here; null: there is none, or no plan was asked for
    that tells the device."""


@router.post("/recipes")
def complete(studio: StudioNow, asked: Asked) -> RecipeBody:
    """Complete settings by the defaults of base, kind and number of pictures; nothing is kept."""
    draft.refuse_paths(asked.settings, studio.datasets)
    found = draft.look(asked.settings, asked.preset, studio.plans)
    plan = studio.plans.known(found.config)
    return RecipeBody(
        settings=found.config.model_dump(mode="json", exclude_none=True),
        toml=to_toml(found.config),
        steps=found.config.schedule.steps,
        pictures=found.pictures.count if found.pictures else None,
        epochs=found.epochs,
        effective_learning_rate=found.config.effective_learning_rate,
        blocking=[remark.sentence for remark in found.blocking],
        warnings=[remark.sentence for remark in found.warnings],
        readiness=list(map(_readiness, found.checked)),
        measured=measured(studio.jobs, found.config, plan.device) if plan else None,
    )


def _readiness(one: Readiness) -> ReadinessBody:
    counts = one.report.counts() if one.report else Counter[Severity]()
    return ReadinessBody(
        dataset=one.dataset,
        kind=one.kind,
        base=one.base,
        standing=one.standing,
        found={group.code: group.count for group in one.groups},
        errors=counts[Severity.ERROR],
        warnings=counts[Severity.WARNING],
    )


@router.post("/plans")
def make_plan(studio: StudioNow, asked: Asked) -> Plan:
    """Estimate the memory and time of a run here; where it does not fit, measures by their cost."""
    draft.refuse_paths(asked.settings, studio.datasets)
    found = draft.look(asked.settings, asked.preset)
    wrong = [remark.sentence for remark in found.blocking if remark.about in ("base", "settings")]
    if wrong:
        raise ConfigInvalid("\n".join(wrong))
    return studio.plans.make(found.config)
