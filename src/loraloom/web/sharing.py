"""Who sees a thing, as pages tell it."""

from __future__ import annotations

from loraloom.studio.rights import Visibility
from loraloom.web.texts import translate as _


def told(visibility: Visibility) -> str:
    """After the switch between private and public was used."""
    if visibility is Visibility.PUBLIC:
        return _("Everybody with an account sees it now.")
    return _("It is private now.")
