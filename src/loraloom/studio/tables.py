"""What the database holds. A change here needs a migration beside it (migrations/versions)."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    Boolean,
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

from loraloom.studio.job import Reason, Request, State, Task
from loraloom.studio.rights import Role, Visibility

VERSION = "0009"
"""The newest migration."""

metadata = MetaData(
    naming_convention={
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
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
    Column("task", String(16), nullable=False, server_default=Task.TRAIN),
    Column("project_id", Integer),  # none: in no project
    Column("trashed_at", Float),  # 0: has left the bin, and its files are gone
    one_of("state", State),
    one_of("request", Request),
    one_of("reason", Reason),
    Index("ix_jobs_queue", "state", "priority", "id"),
    Index("ix_jobs_start_key", "start_key", unique=True),
    Index("ix_jobs_owner", "owner_id", "id"),
    Index("ix_jobs_task", "task", "id"),
    Index("ix_jobs_project", "project_id", "id"),
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

adapters = Table(
    "adapters",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("token", String(16), nullable=False),  # makes the name of its folder unique
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("kind", String(16), nullable=False),  # "": not known
    Column("tags", Text, nullable=False),  # JSON: a list of texts
    Column("base", Text, nullable=False),  # name or folder; "": not known
    Column("family", String(32), nullable=False),  # id; "": not known
    Column("type", String(16), nullable=False),
    Column("rank", Integer),
    Column("trigger", Text, nullable=False),
    Column("layout", String(16), nullable=False),  # of the file
    Column("sha256", String(64), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("facts", Text, nullable=False),  # JSON: what the file says of itself, the short texts
    Column("scale", Float, nullable=False),  # recommended
    Column("job_id", ForeignKey("jobs.id"), unique=True),  # the run that ended with it
    Column("kept_job_id", Integer),  # the run that it is a step of, where it was kept by hand
    Column("kept_file", String(64)),  # that step's file, as in "step-000120.safetensors"
    Column("parent_id", ForeignKey("adapters.id")),  # the version before it
    Column("dataset", Text, nullable=False),  # the stored dataset that it was trained on
    Column("dataset_hash", Text, nullable=False),
    Column("owner_id", Integer),  # a person; none: the owners of the studio
    Column("visibility", String(16), nullable=False),
    Column("starred", Boolean, nullable=False),
    Column("alias", String(64), nullable=False),  # such as "best", "production"
    Column("cover", Text, nullable=False),  # a picture, by its path below the data folder
    Column("created_at", Float, nullable=False),
    Column("trashed_at", Float),
    Column("project_id", Integer),
    Index("ix_adapters_kept", "kept_job_id", "kept_file", unique=True),
    Index("ix_adapters_list", "trashed_at", "id"),
    Index("ix_adapters_project", "project_id", "id"),
    Index("ix_adapters_owner", "owner_id", "id"),
    sqlite_autoincrement=True,
)

pictures = Table(
    "pictures",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("job_id", ForeignKey("jobs.id"), nullable=False),
    Column("number", Integer, nullable=False),  # in the order of the job
    Column("asked", Text, nullable=False),  # JSON: what was asked for
    Column("starred", Boolean, nullable=False),
    Column("trashed_at", Float),
    Column("owner_id", Integer),
    Column("visibility", String(16), nullable=False, server_default=Visibility.PRIVATE),
    Column("project_id", Integer),
    Index("ix_pictures_owner", "owner_id", "id"),
    Index("ix_pictures_project", "project_id", "id"),
    Index("ix_pictures_job", "job_id", "number", unique=True),
    Index("ix_pictures_list", "trashed_at", "id"),
    sqlite_autoincrement=True,
)

prompts = Table(
    "prompts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("prompt", Text, nullable=False),
    Column("negative", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("owner_id", Integer),  # who alone sees it; none: the owners of the studio
    Column("project_id", Integer),
    Index("ix_prompts_project", "project_id", "id"),
    sqlite_autoincrement=True,
)

verdicts = Table(
    "verdicts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("first_id", ForeignKey("jobs.id"), nullable=False),  # the older one of both
    Column("second_id", ForeignKey("jobs.id"), nullable=False),
    Column("winner_id", Integer),  # one of both; none: neither
    Column("note", Text, nullable=False),
    Column("given_at", Float, nullable=False),
    Column("owner_id", Integer),  # who alone sees it; none: the owners of the studio
    Index("ix_verdicts_pair", "first_id", "second_id"),
    sqlite_autoincrement=True,
)

projects = Table(
    "projects",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("owner_id", Integer),  # a person; none: the owners of the studio
    Column("visibility", String(16), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("trashed_at", Float),
    sqlite_autoincrement=True,
)
