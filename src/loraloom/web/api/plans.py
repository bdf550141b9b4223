"""/recipes and /plans: what settings come to, before anything is started."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from loraloom.config_tree import to_toml
from loraloom.errors import ConfigInvalid
from loraloom.studio import draft
from loraloom.studio.plans import Plan
from loraloom.train.recipe import Preset
from loraloom.web.problems import ANSWERS
from loraloom.web.who import StudioNow

router = APIRouter(tags=["plans"], responses=ANSWERS)


class Asked(BaseModel):
    """Settings that differ from the recipe's, as TOML gives them."""

    settings: dict[str, Any]
    preset: Preset = "standard"


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


@router.post("/recipes")
def complete(studio: StudioNow, asked: Asked) -> RecipeBody:
    """Complete settings by the defaults of base, kind and number of pictures; nothing is kept."""
    draft.refuse_paths(asked.settings, studio.datasets)
    found = draft.look(asked.settings, asked.preset, studio.plans)
    return RecipeBody(
        settings=found.config.model_dump(mode="json", exclude_none=True),
        toml=to_toml(found.config),
        steps=found.config.schedule.steps,
        pictures=found.pictures.count if found.pictures else None,
        epochs=found.epochs,
        effective_learning_rate=found.config.effective_learning_rate,
        blocking=[remark.sentence for remark in found.blocking],
        warnings=[remark.sentence for remark in found.warnings],
    )


@router.post("/plans")
def plan(studio: StudioNow, asked: Asked) -> Plan:
    """Estimate the memory and time of a run here; where it does not fit, measures by their cost."""
    draft.refuse_paths(asked.settings, studio.datasets)
    found = draft.look(asked.settings, asked.preset)
    wrong = [remark.sentence for remark in found.blocking if remark.about in ("base", "settings")]
    if wrong:
        raise ConfigInvalid("\n".join(wrong))
    return studio.plans.make(found.config)
