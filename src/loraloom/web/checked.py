"""Forms as models: what is wrong with a form is told in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from loraloom.errors import ConfigInvalid

Model = TypeVar("Model", bound=BaseModel)
_PREFIX = "Value error, "


def checked(model: type[Model], values: Mapping[str, Any]) -> Model:
    """The model of what a form held. Raises ConfigInvalid."""
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigInvalid(" ".join(_sentence(one) for one in error.errors())) from None


def _sentence(error: Any) -> str:
    name = " ".join(str(part) for part in error["loc"]).replace("_px", "").replace("_", " ")
    reason = error["msg"].removeprefix(_PREFIX)
    given = str(error["input"])[:60]
    return f"{name.capitalize()}: {reason} (given: {given!r})."
