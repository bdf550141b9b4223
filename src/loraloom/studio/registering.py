"""What the library is told of an adapter file: of a run's by its header, of others by a child."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loraloom import families
from loraloom.adapters import header
from loraloom.dataset.reference import is_stored
from loraloom.errors import AdapterUnreadable, BaseUnknown, LoraloomError
from loraloom.files import sync_folder, telling_failures
from loraloom.settings import data_folder
from loraloom.studio import run_files
from loraloom.studio.adapter import FILE, MOST_TAGS, clean_tags, step_of
from loraloom.studio.job import Job
from loraloom.studio.rights import Visibility

CHILD_S = 900
"""What a child has to inspect or convert a file."""
_FACTS = {
    "ss_sd_model_name": "base", "ss_base_model_version": "base version", "ss_steps": "step",
    "ss_max_train_steps": "steps", "ss_learning_rate": "learning rate", "ss_optimizer": "optimiser",
    "ss_num_train_images": "images", "ss_network_alpha": "alpha", "ss_seed": "seed",
    "ss_resolution": "resolution", "ss_network_module": "network", "modelspec.title": "title",
    "modelspec.author": "author", "modelspec.license": "licence", "modelspec.date": "date",
    "modelspec.architecture": "architecture", "loraloom.version": "Loraloom",
    "ss_epoch": "epochs", "ss_batch_size_per_device": "batch size",
}  # fmt: skip
"""What a file says of itself -> what it is called on the page."""


def of_run(job: Job) -> dict[str, Any] | None:
    """The row for what a finished run left; None where its file is gone or broken."""
    try:
        facts = _made_by(job, job.run_folder / FILE)
    except LoraloomError:
        return None
    made = {"name": job.name[:200], "job_id": job.id, "created_at": job.ended_at or time.time()}
    return {**facts, **made, "cover": _cover(job, step_of(json.loads(facts["facts"])))}


def of_step(job: Job, step: int, path: Path, *, average: bool) -> dict[str, Any]:
    """The row for the adapter that a run kept after a step. Raises AdapterUnreadable."""
    word = ", average" if average else ""
    made = {
        "name": f"{job.name[:170]}, step {step}{word}",
        "kept_job_id": job.id,
        "kept_file": path.name,
        "created_at": path.stat().st_mtime,
    }
    return {**_made_by(job, path), **made, "cover": _cover(job, step)}


def _made_by(job: Job, path: Path) -> dict[str, Any]:
    """What the run and one of its files tell. Raises AdapterUnreadable."""
    found = header.read(path)
    metadata = header.metadata(path, found)
    settings = tomllib.loads(job.settings)
    folder = str(settings["data"].get("folder", ""))
    return {
        **_common(path, metadata),
        "kind": settings["kind"],
        "base": settings["base"],
        "family": _family(settings["base"], metadata),
        "type": settings["adapter"]["type"],
        "rank": settings["adapter"].get("rank"),
        "trigger": metadata.get("loraloom.trigger", settings.get("trigger", "")),
        "layout": _layout(found),
        "facts": _facts(metadata),
        "owner_id": job.owner_id,
        "visibility": job.visibility,
        "project_id": job.project_id,
        "dataset": folder if folder and is_stored(folder) else "",
        "dataset_hash": metadata.get("loraloom.dataset_hash", ""),
    }


def of_foreign(path: Path, name: str) -> dict[str, Any]:
    """The row for a file from elsewhere, looked at by a child. Raises AdapterUnreadable."""
    found = header.read(path)
    metadata = header.metadata(path, found)
    told = json.loads(run_child("inspect", str(path), "--json", shown=name, path=path))
    title = metadata.get("ss_output_name") or Path(name).stem
    return {
        **_common(path, metadata),
        "name": title.replace("\0", "").strip()[:200] or "adapter",
        "kind": "",
        "base": "",
        "family": told["family"] or "",
        "type": told["type"],
        "rank": told["rank"],
        "trigger": (told["trigger"] or "").replace("\0", "")[:200],
        "layout": told["layout"],
        "facts": _facts(metadata),
        "job_id": None,
        "dataset": "",
        "dataset_hash": "",
        "cover": "",
        "created_at": time.time(),
    }


def run_child(*words: str, shown: str, path: Path) -> str:
    """`loraloom adapter …`; what it printed. Raises AdapterUnreadable with what it told.

    Torch is needed for it, and the server has none. `shown` stands for `path` in the message.
    """
    command = [sys.executable, "-m", "loraloom", "adapter", *words]
    environment = {**os.environ, "COLUMNS": "10000", "OMP_NUM_THREADS": "2"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=CHILD_S, env=environment
        )
    except subprocess.TimeoutExpired:
        raise AdapterUnreadable(
            f"{shown} could not be read within {CHILD_S // 60} minutes. Try again when the machine "
            "is less busy."
        ) from None
    if done.returncode:
        _, _, told = done.stderr.rpartition("error: ")
        sentence = " ".join(told.replace(str(path), shown).split())[:600]
        raise AdapterUnreadable(sentence or f"{shown} cannot be used.")
    return done.stdout


def put_file(source: Path, path: Path) -> None:
    """A file into an adapter's folder: the same one on the disk where it can be, else a copy."""
    with telling_failures(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(".incoming")
        beside.unlink(missing_ok=True)
        try:
            os.link(source, beside)
        except OSError:
            shutil.copyfile(source, beside)
            with beside.open("r+b") as stream:
                os.fsync(stream.fileno())
        beside.replace(path)
        sync_folder(path.parent)


def sha256_of(path: Path) -> str:
    """In hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _common(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    tags = clean_tags(metadata.get("modelspec.tags", "").split(","))
    return {
        "token": secrets.token_hex(4),
        "description": metadata.get("modelspec.description", "").replace("\0", "").strip()[:5000],
        "tags": json.dumps(tags[:MOST_TAGS], ensure_ascii=False),
        "sha256": sha256_of(path),
        "size_bytes": path.stat().st_size,
        "scale": 1.0,
        "parent_id": None,
        "visibility": Visibility.PRIVATE,
        "starred": False,
        "alias": "",
        "trashed_at": None,
    }


def _family(base: str, metadata: Mapping[str, str]) -> str:
    """Its id: the one that the base is of, else the one that the file names."""
    try:
        return families.detect(base).info.id
    except BaseUnknown:
        pass
    architecture = metadata.get("modelspec.architecture")
    version = metadata.get("ss_base_model_version")
    for info in families.all_infos():
        if architecture in info.architectures or version == info.base_version:
            return info.id
    return ""


def _layout(names: Mapping[str, object]) -> str:
    if any(name.startswith("lora_") for name in names):
        return "kohya"
    return "comfyui" if any(n.startswith("diffusion_model.") for n in names) else "diffusers"


def _facts(metadata: Mapping[str, str]) -> str:
    told = {
        word: metadata[name].replace("\0", "")[:200]
        for name, word in _FACTS.items()
        if metadata.get(name) not in (None, "", "None")
    }
    return json.dumps(told, ensure_ascii=False)


def _cover(job: Job, step: int | None) -> str:
    """The sample that shows the adapter after a step best, by its path below the data folder."""
    drawn = run_files.samples(job.run_folder, step)
    return str(drawn[0].relative_to(data_folder())) if drawn else ""
