"""/bases: the base models that are installed."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel

from loraloom.families.info import PromptStyle
from loraloom.families.installed import installed
from loraloom.web.problems import ANSWERS

router = APIRouter(prefix="/bases", tags=["bases"], responses=ANSWERS)


class BaseBody(BaseModel):
    """One base model."""

    name: str
    title: str
    family: str
    licence: str
    native_px: int
    prompts: PromptStyle
    """What its captions and prompts are written like."""
    moves: bool
    """Whether it learns from clips."""
    card: str
    """The smallest graphics card that is said to train it; empty where nothing is said."""
    card_gib: int
    weights_mib: int


@router.get("")
def list_bases() -> list[BaseBody]:
    """List the bases that settings can name."""
    return [BaseBody.model_validate(base, from_attributes=True) for base in installed()]
