"""A picture of the playground goes into a dataset, with its caption and what drew it."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from loraloom.dataset.intake import import_into
from loraloom.errors import PictureUnknown
from loraloom.studio.datasets import Datasets
from loraloom.studio.picture import Picture

MOST_LINEAGE = 200


def send(datasets: Datasets, picture: Picture, dataset: str, caption: str) -> None:
    """Add it to the working set, beside what is there.

    Raises DatasetUnknown, Forbidden, DatasetBusy, IntakeRefused, and PictureUnknown before it is
    drawn.
    """
    if not picture.is_drawn:
        raise PictureUnknown(f"Picture {picture.id} is not drawn yet.")
    stored = datasets.open_to_change(dataset)
    with tempfile.TemporaryDirectory() as work:
        told = json.dumps(row(picture, caption, Path(work)))
        (Path(work) / "metadata.jsonl").write_text(told, encoding="utf-8")
        import_into(stored, [Path(work)])


def row(picture: Picture, caption: str, folder: Path) -> dict[str, str]:
    """Copy the picture into the folder; what its metadata.jsonl says of it."""
    name = f"picture-{picture.id:06d}.png"
    shutil.copyfile(picture.path, folder / name)
    return {"file_name": name, "text": caption, "generated_by": _drawn_by(picture)}


def _drawn_by(picture: Picture) -> str:
    used = [f"{one['name']} × {one['scale']:g}" for one in picture.asked["adapters"]]
    return ", ".join([*used, Path(picture.asked["base"]).name])[:MOST_LINEAGE]
