"""The Hugging Face hub: what a repository holds, and its files, fetched so that one can go on.

The client's own download begins a file anew after each interruption; bases have files of 10 GB.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from loraloom.errors import HubRefused
from loraloom.files import kind_at, sync_file, telling_failures

_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40,64}")
_TIMEOUT_S = 30.0
_ATTEMPTS = 5
"""In a row in which not one byte came."""
_PAUSE_S = 1.0


@dataclass(frozen=True)
class RemoteFile:
    """One file of a repository."""

    path: str
    """With slashes, from the top."""
    size_bytes: int
    sha256: str = ""
    """Of large files; "" where the hub keeps none."""


@dataclass(frozen=True)
class Repository:
    """One state of a repository."""

    hub_id: str
    commit: str
    files: tuple[RemoteFile, ...]


def is_hub_id(text: str) -> bool:
    """Whether it could be OWNER/NAME on the hub; a path to a checkpoint file is none."""
    return _ID.fullmatch(text) is not None and not text.endswith((".safetensors", ".ckpt"))


def page(hub_id: str) -> str:
    """The address at which people look at a repository."""
    return f"{(_endpoint() or 'https://huggingface.co').rstrip('/')}/{hub_id}"


def look(hub_id: str, revision: str | None = None) -> Repository:
    """What a repository holds, by default at its main branch. Raises HubRefused."""
    try:
        with _telling_refusals(hub_id, revision or "main"):
            from huggingface_hub import HfApi

            info = HfApi(endpoint=_endpoint()).model_info(
                hub_id, revision=revision, files_metadata=True, timeout=_TIMEOUT_S
            )
            files = tuple(
                RemoteFile(file.rfilename, file.size or 0, file.lfs.sha256 if file.lfs else "")
                for file in info.siblings or ()
                if _is_plain(file.rfilename)
            )
            if not _COMMIT.fullmatch(str(info.sha)):
                raise ValueError(f"commit {info.sha!r}"[:100])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise HubRefused(
            f"What answered for {hub_id} is not the hub, or a broken one ({str(error)[:200]}). Is "
            "there a page to sign in at, or a proxy between? What is fetched already is kept."
        ) from error
    return Repository(hub_id, str(info.sha), files)


def fetch(
    repository: Repository,
    file: RemoteFile,
    target: Path,
    took: Callable[[int], None] = lambda count: None,
) -> None:
    """One file, whole or not at all under its name; what was begun before is gone on with.

    `took` is told of bytes as they come, and of those that were there. Raises HubRefused, DiskFull,
    OutputUnwritable.
    """
    if kind_at(target) == "file":
        took(file.size_bytes)
        return
    begun = partial_of(target)
    with telling_failures(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        if begun.exists() and begun.stat().st_size > file.size_bytes:
            begun.unlink()
        begun.touch()
    took(begun.stat().st_size)
    with _telling_refusals(repository.hub_id, repository.commit):
        _receive_all(repository, file, begun, took)
    _check(repository, file, begun)
    sync_file(begun)
    with telling_failures(target):
        begun.replace(target)


def partial_of(target: Path) -> Path:
    """Where a file is kept until it is whole."""
    return target.with_name(f"{target.name}.part")


def client_errors() -> tuple[type[Exception], ...]:
    """The errors of the HTTP library under the hub's client, which lets them through."""
    found: list[type[Exception]] = []
    for name in ("httpx", "httpx2"):
        with suppress(ImportError):
            found.append(import_module(name).HTTPError)
    return tuple(found)


def _is_plain(path: str) -> bool:
    """Whether a path of a listing stays in its folder, on every system."""
    inside = all(part not in ("", ".", "..") for part in path.split("/"))
    return inside and re.search(r"[\\:\x00-\x1f]", path) is None


def _endpoint() -> str | None:
    """The address of a mirror, if there is one."""
    return os.environ.get("HF_ENDPOINT") or None


def _receive_all(
    repository: Repository, file: RemoteFile, begun: Path, took: Callable[[int], None]
) -> None:
    """Ask until all of it is there; a connection that breaks is made anew."""
    from huggingface_hub.errors import HfHubHTTPError

    in_vain = 0
    while (have := begun.stat().st_size) < file.size_bytes:
        try:
            _receive(repository, file, begun, have, took)
        except HfHubHTTPError:
            raise
        except client_errors():
            in_vain = 0 if begun.stat().st_size > have else in_vain + 1
            if in_vain == _ATTEMPTS:
                raise
            time.sleep(_PAUSE_S)
        else:
            if begun.stat().st_size <= have:
                return  # shorter than the hub said: `_check` tells


def _receive(
    repository: Repository,
    file: RemoteFile,
    begun: Path,
    have: int,
    took: Callable[[int], None],
) -> None:
    from huggingface_hub import get_session, hf_hub_url

    utils: Any = import_module("huggingface_hub.utils")
    url = hf_hub_url(
        repository.hub_id, file.path, revision=repository.commit, endpoint=_endpoint()
    )  # fmt: skip
    headers = {**utils.build_hf_headers(), "Accept-Encoding": "identity", "Range": f"bytes={have}-"}
    session: Any = get_session()
    with session.stream("GET", url, headers=headers, timeout=_TIMEOUT_S) as response:
        utils.hf_raise_for_status(response)
        goes_on = response.status_code == 206
        told = response.headers.get("Content-Range" if goes_on else "Content-Length", "")
        sound = told.startswith(f"bytes {have}-") if goes_on else told == str(file.size_bytes)
        if have and not sound:
            raise HubRefused(
                f"What answered for {file.path} of {repository.hub_id} is not the hub: is there a "
                "page to sign in at, or a proxy between? What is fetched already is kept."
            )
        with telling_failures(begun), begun.open("ab" if goes_on else "wb") as stream:
            if not goes_on:
                took(-have)
            for chunk in response.iter_bytes():
                stream.write(chunk)
                took(len(chunk))


def _check(repository: Repository, file: RemoteFile, begun: Path) -> None:
    """Refuse, and remove, what is not what the hub says it is."""
    sound = begun.stat().st_size == file.size_bytes
    if sound and file.sha256:
        with begun.open("rb") as stream:
            sound = hashlib.file_digest(stream, "sha256").hexdigest() == file.sha256
    if not sound:
        begun.unlink()
        raise HubRefused(
            f"{file.path} of {repository.hub_id} did not arrive as it is on the hub, and was "
            "removed. Try again: what is whole is not fetched twice."
        )


@contextmanager
def _telling_refusals(hub_id: str, revision: str) -> Iterator[None]:
    """Turn the errors of the hub's client into HubRefused, in one sentence each."""
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise HubRefused(
            f"{hub_id} is gated: accept its licence at {page(hub_id)}, set HF_TOKEN to an access "
            "token of your account there, and try again."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise HubRefused(
            f"{hub_id} has no revision {revision!r}: name a branch, a tag or a whole commit that "
            f"{page(hub_id)} lists."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise HubRefused(
            f"There is no repository {hub_id} on the hub, or it is private: check the name at "
            f"{page(hub_id)}, or set HF_TOKEN to a token that may read it."
        ) from error
    except errors.HFValidationError as error:
        raise HubRefused(f"{hub_id!r} cannot be a repository of the hub ({error}).") from error
    except errors.OfflineModeIsEnabled as error:
        raise HubRefused(
            f"{hub_id} was not asked for: HF_HUB_OFFLINE is set. Unset it, or give the path of a "
            "folder or a file instead."
        ) from error
    except errors.HfHubHTTPError as error:
        raise HubRefused(
            f"The hub refused to give {hub_id} (status {error.response.status_code}). Try again "
            "later; what is fetched already is kept."
        ) from error
    except client_errors() as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise HubRefused(
            f"The hub cannot be reached for {hub_id} ({reason}). Check the connection and try "
            "again; what is fetched already is kept."
        ) from error
