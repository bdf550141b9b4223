"""What the database holds. A change here needs a migration beside it (migrations/versions)."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import (
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

from loraloom.studio.job import Reason, Request, State
from loraloom.studio.rights import Role, Visibility

VERSION = "0004"
"""The newest migration."""

metadata = MetaData(
    naming_convention={
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def one_of(column: str, values: type[StrEnum]) -> CheckConstraint:
    """A column that holds one of the values only."""
    allowed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({allowed})", name=column)


jobs = Table(
    "jobs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("token", String(16), nullable=False),  # makes the name of its folder unique
    Column("settings", Text, nullable=False),  # TOML, complete
    Column("parent_id", ForeignKey("jobs.id")),
    Column("priority", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("request", String(16), nullable=False),
    Column("attempt", Integer, nullable=False),  # counts claims: the fencing token
    Column("beat", Integer, nullable=False),  # counts signs of life of this attempt
    Column("losses", Integer, nullable=False),  # attempts lost since the last checkpoint
    Column("worker", Text, nullable=False),
    Column("step", Integer, nullable=False),
    Column("steps", Integer, nullable=False),
    Column("saved_step", Integer, nullable=False),
    Column("reason", String(16), nullable=False),
    Column("message", Text, nullable=False),
    Column("created_at", Float, nullable=False),  # seconds since 1970, UTC; so are the others
    Column("started_at", Float),
    Column("ended_at", Float),
    Column("start_key", String(200)),  # by which a start asked for twice is made once
    Column("start_body", String(64)),  # SHA-256 of what was asked for by it
    Column("owner_id", Integer),  # a person; none: the owners of the studio
    Column("visibility", String(16), nullable=False, server_default=Visibility.PRIVATE),
    one_of("state", State),
    one_of("request", Request),
    one_of("reason", Reason),
    Index("ix_jobs_queue", "state", "priority", "id"),
    Index("ix_jobs_start_key", "start_key", unique=True),
    Index("ix_jobs_owner", "owner_id", "id"),
    sqlite_autoincrement=True,  # the number of a job is never given twice
)

events = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("job_id", ForeignKey("jobs.id"), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("at", Float, nullable=False),
    Column("name", String(32), nullable=False),
    Column("body", Text, nullable=False),  # JSON
    Index("ix_events_job", "job_id", "id"),
    sqlite_autoincrement=True,
)

people = Table(
    "people",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("folded", Text, nullable=False, unique=True),  # the name, whatever its case
    Column("role", String(16), nullable=False),
    Column("password", Text, nullable=False),  # argon2; empty until it is chosen
    Column("link", String(64)),  # SHA-256 of the code by which a password can be chosen once
    Column("link_until", Float),
    Column("created_at", Float, nullable=False),
    Column("seen_at", Float),
    one_of("role", Role),
    sqlite_autoincrement=True,  # nobody inherits the number of somebody who was removed
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("person_id", ForeignKey("people.id", ondelete="CASCADE"), nullable=False),
    Column("secret", String(64), nullable=False, unique=True),  # SHA-256 of what the browser keeps
    Column("browser", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("seen_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Index("ix_sessions_person", "person_id"),
    sqlite_autoincrement=True,
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("person_id", ForeignKey("people.id", ondelete="CASCADE"), nullable=False),
    Column("secret", String(64), nullable=False, unique=True),  # SHA-256 of the token
    Column("name", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("used_at", Float),
    Column("expires_at", Float),
    Column("revoked_at", Float),
    Index("ix_tokens_person", "person_id"),
    sqlite_autoincrement=True,
)

audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", Float, nullable=False),
    Column("person", Text, nullable=False),  # names, which outlive their accounts
    Column("action", String(32), nullable=False),
    Column("about", Text, nullable=False),
    sqlite_autoincrement=True,
)
