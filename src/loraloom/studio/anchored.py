"""Settings that mean the same wherever they are read."""

from __future__ import annotations

from loraloom import config_tree
from loraloom.config import TrainConfig
from loraloom.dataset.reference import is_stored
from loraloom.files import expanded
from loraloom.settings import base_folders


def anchored(config: TrainConfig) -> TrainConfig:
    """The settings with whole paths: a worker trains from another folder than this one."""
    tree = config.model_dump(mode="json", exclude_none=True)
    if tree["base"] not in base_folders():
        tree["base"] = str(expanded(tree["base"]).resolve())
    for place in (tree["data"], tree["prior"], *tree["data"]["concepts"]):
        if "folder" in place:
            place["folder"] = _whole(place["folder"])
    return config_tree.validate(tree)


def _whole(name: str) -> str:
    return name if is_stored(name) else str(expanded(name).resolve())
