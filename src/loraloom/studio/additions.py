"""Bases on their way into the studio: each in a process beside the server, not in the queue."""

from __future__ import annotations

import json
import logging
import secrets
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

from loraloom.bases import adding, fetching, place
from loraloom.bases.adding import Wish
from loraloom.errors import BaseKept, BaseUnknown, OutputExists
from loraloom.files import expanded
from loraloom.settings import base_folders
from loraloom.studio.child import tied_to_parent

_LOG = logging.getLogger("loraloom.studio")
Stage = Literal["working", "added", "failed", "unfinished"]
_STOP_S = 10.0
_BROKE_OFF = "The base could not be added; the log of the studio has the reason. Try it again."


@dataclass
class Addition:
    """One base that is to be added, and how far it is."""

    id: str
    wish: Wish
    name: str
    """What the base is to be called, or is."""
    stage: Stage = "working"
    done_bytes: int = 0
    total_bytes: int = 0
    """0 where it is not known, as for what comes from this machine."""
    error: str = ""
    kept_bytes: int = 0
    """What is on the disk of one of the hub, to go on with."""

    @property
    def is_working(self) -> bool:
        """Whether it is still on its way."""
        return self.stage == "working"


class Additions:
    """All of an installation. What a stopped or ended server has fetched of a base of the hub is
    unfinished, and gone on with when the base is asked for again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: dict[str, Addition] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def begin(self, wish: Wish) -> Addition:
        """Add a base, in the background; one that is under way already is only told.

        Raises BaseUnknown, ConfigInvalid, BaseNameInvalid, OutputExists; BaseKept where it is under
        way by another name or of another revision.
        """
        kind = adding.kind_of(wish)
        path = expanded(wish.source)
        usual = path.stem if kind == "file" else path.resolve().name
        number = _number(wish.source) if kind == "hub" else secrets.token_hex(8)
        with self._lock:
            known = self._all.get(number)
            if known is not None and known.is_working:
                if wish.name in (None, known.name) and wish.revision == known.wish.revision:
                    return known
                raise BaseKept(
                    f"{wish.source} is on its way already, as {known.name!r} and of the revision "
                    f"{known.wish.revision or 'main'!r}: stop that, or wait for it."
                )
            name = place.free_folder(wish.name or usual).name
            if any(one.is_working and one.name == name for one in self._all.values()):
                raise OutputExists(
                    f"A base {name!r} is on its way already: choose another name, or stop that one."
                )
            self._all = {  # what failed before is tried again by this
                n: a for n, a in self._all.items()
                if a.stage != "failed" or a.wish.source != wish.source
            }  # fmt: skip
            one = self._all[number] = Addition(number, wish, name)
        threading.Thread(target=self._work, args=(one,), daemon=True).start()
        return one

    def all(self) -> list[Addition]:
        """Those of this server, the oldest first, and what others have left unfinished; as they
        are now."""
        left = {_number(one.hub_id): one for one in fetching.unfinished()}
        here = base_folders()
        with self._lock:
            found = {n: a for n, a in self._all.items() if a.stage != "added" or a.name in here}
        for number, one in left.items():
            wish = Wish(source=one.hub_id, name=one.name, revision=one.revision or None)
            found.setdefault(
                number,
                Addition(number, wish, one.name, "unfinished", one.there_bytes, one.total_bytes),
            )
        kept = {number: one.there_bytes for number, one in left.items()}
        return [replace(one, kept_bytes=kept.get(number, 0)) for number, one in found.items()]

    def get(self, number: str) -> Addition:
        """Raises BaseUnknown."""
        found = next((one for one in self.all() if one.id == number), None)
        if found is None:
            raise BaseUnknown("No such base is being added; it may have been given up.")
        return found

    def stop(self, number: str) -> Addition:
        """Stop one that is on its way, and tell of it no more; what was fetched stays.

        Raises BaseUnknown.
        """
        one = self.get(number)
        with self._lock:
            self._all.pop(number, None)
            process = self._processes.get(number)
        if process is not None:
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_S)  # so that it can be asked for again at once
        return one

    def remove(self, number: str) -> None:
        """Remove what was fetched of one that is stopped. Raises BaseUnknown, BaseKept,
        DatasetBusy."""
        one = self.get(number)
        if one.is_working:
            raise BaseKept(f"{one.wish.source} is on its way: stop it first, then remove it.")
        fetching.forget(one.wish.source)
        with self._lock:
            self._all.pop(number, None)

    def close(self) -> None:
        """Stop what is under way; what is fetched stays."""
        for process in list(self._processes.values()):
            process.send_signal(signal.SIGTERM)

    def _work(self, one: Addition) -> None:
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", "loraloom.bases.adding"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is the server's to handle
                preexec_fn=tied_to_parent(signal.SIGTERM),
            )
        except (OSError, subprocess.SubprocessError):
            _LOG.exception("no process could be started to add the base %s", one.wish.source)
            one.stage, one.error = "failed", _BROKE_OFF
            return
        with self._lock:
            self._processes[one.id] = process
            given_up = self._all.get(one.id) is not one
        if given_up:
            process.send_signal(signal.SIGTERM)
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(f"{one.wish.model_dump_json()}\n".encode())
            process.stdin.close()
            for line in process.stdout:
                self._hear(json.loads(line), one)
        except (OSError, ValueError):
            _LOG.exception("adding the base %s broke off", one.wish.source)
        finally:
            process.wait()
            with self._lock:
                if self._processes.get(one.id) is process:  # and not of whoever asked again
                    del self._processes[one.id]
            if one.is_working:
                one.stage, one.error = "failed", _BROKE_OFF

    def _hear(self, told: dict[str, object], one: Addition) -> None:
        if "name" in told:
            one.stage, one.name = "added", str(told["name"])
        elif "message" in told:
            one.stage, one.error = "failed", str(told["message"])
        else:
            one.done_bytes, one.total_bytes = int(str(told["done"])), int(str(told["total"]))


def _number(source: str) -> str:
    """The same for a base of the hub after a restart of the server."""
    return source.replace("/", "--")
