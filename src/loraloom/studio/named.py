"""What may be changed of anything that people name."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator

from loraloom.studio.rights import Visibility


def split_words(text: str) -> list[str]:
    """What names are searched for; NUL, which PostgreSQL refuses, is no word."""
    return text.replace("\0", " ").split()[:8]


class NamedEdit(BaseModel):
    """A change of a thing; None: as it is."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(default=None, min_length=1, max_length=200)
    description: str | None = Field(default=None, max_length=5000)
    visibility: Visibility | None = None

    @field_validator("name", "description", "trigger", "alias", check_fields=False)
    @classmethod
    def _plain(cls, text: str | None) -> str | None:
        return text and text.replace("\0", "").strip()

    @field_validator("name")
    @classmethod
    def _told(cls, name: str | None) -> str | None:
        if name == "":
            raise ValueError("give it a name")
        return name
