"""The database of an installation: SQLite in its data folder, or PostgreSQL by its URL."""

from __future__ import annotations

import importlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from loraloom.errors import ConfigInvalid, DatabaseUnusable, DataNewer
from loraloom.files import telling_failures
from loraloom.settings import database_url
from loraloom.studio import tables

_BUSY_S = 20
_SAFE_WAL = (3, 51, 3)
"""Earlier SQLite may, very rarely, damage a WAL that two processes write."""
_MIGRATING = 0x10A4100  # the number of PostgreSQL's advisory lock; any that is ours alone
_POSTGRES_LIMITS = (
    "-c lock_timeout=10s -c statement_timeout=30s -c idle_in_transaction_session_timeout=30s"
)
"""So that a process that is frozen within a transaction does not hold up the others."""


class Database:
    """Open, and of this version."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that only reads. Raises DatabaseUnusable."""
        with _telling(self._engine), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that is on the disk when it ends. Raises DatabaseUnusable.

        SQLite lets one process at a time begin it; PostgreSQL locks the rows that it selects.
        """
        with (
            _telling(self._engine),
            self._engine.connect() as connection,
            connection.execution_options(writes=True).begin(),
        ):
            yield connection

    def close(self) -> None:
        """Let go of all connections."""
        self._engine.dispose()


def open_database(address: str | None = None) -> Database:
    """Open it, make it where there is none, and bring it to this version.

    Raises DatabaseUnusable, DataNewer, and ConfigInvalid for an address of another kind.
    """
    url = _parse(address or database_url())
    engine = _sqlite(url) if url.get_backend_name() == "sqlite" else _postgres(url)
    database = Database(engine)
    with database.writing() as connection:
        _migrate(connection)
    return database


def _parse(address: str) -> URL:
    try:
        url = make_url(address)
    except ArgumentError:
        url = None
    if url is None or url.get_backend_name() not in ("sqlite", "postgresql"):
        raise ConfigInvalid(
            "LORALOOM_DATABASE names no database that is known: sqlite:////folder/studio.db and "
            "postgresql://user:password@host/name are."
        )
    return url


def _sqlite(url: URL) -> Engine:
    if url.database:
        folder = Path(url.database).parent
        with telling_failures(folder):
            folder.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, module=_sqlite_module(), connect_args={"timeout": _BUSY_S})

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _: object) -> None:
        connection.isolation_level = None  # transactions begin below, not by the driver
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _sqlite_module() -> ModuleType:
    """Python's own SQLite, or a newer one that is installed beside it."""
    if sqlite3.sqlite_version_info >= _SAFE_WAL:
        return sqlite3
    try:
        return importlib.import_module("pysqlite3")
    except ImportError:
        return sqlite3


def _postgres(url: URL) -> Engine:
    try:
        return create_engine(
            url.set(drivername="postgresql+psycopg"),
            pool_pre_ping=True,
            connect_args={"options": _POSTGRES_LIMITS, "connect_timeout": 10},
        )
    except ImportError as error:
        raise DatabaseUnusable(
            'PostgreSQL needs psycopg, which is not installed: pip install "loraloom[postgres]".'
        ) from error


@contextmanager
def _telling(engine: Engine) -> Iterator[None]:
    """Raise DatabaseUnusable in place of the driver's errors."""
    try:
        yield
    except DBAPIError as error:
        name = engine.url.render_as_string(hide_password=True)
        cause = " ".join(str(error.orig).split())
        raise DatabaseUnusable(
            f"The database {name} cannot be used: {cause}. See that it is there, that you may "
            "write it and that its disk has room; LORALOOM_DATABASE or LORALOOM_HOME name another."
        ) from error


def _migrate(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATING})"))
    found = None
    if inspect(connection).has_table("alembic_version"):
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if found == tables.VERSION:
        return
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", "loraloom.studio:migrations")
    known = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    if found is not None and found not in known:
        raise DataNewer(
            f"The data of this installation were written by a newer Loraloom: their version is "
            f"{found}, and this one knows them up to {tables.VERSION}. Update Loraloom, or name "
            "another data folder with LORALOOM_HOME."
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
