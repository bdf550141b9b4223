"""People, their sessions and tokens, and who owns what."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.add_column("jobs", sa.Column("owner_id", sa.Integer))
    op.add_column(
        "jobs", sa.Column("visibility", sa.String(16), nullable=False, server_default="private")
    )
    op.create_index("ix_jobs_owner", "jobs", ["owner_id", "id"])
    op.create_table(
        "people",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("folded", sa.Text, nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("password", sa.Text, nullable=False),
        sa.Column("link", sa.String(64)),
        sa.Column("link_until", sa.Float),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("seen_at", sa.Float),
        sa.PrimaryKeyConstraint("id", name="pk_people"),
        sa.UniqueConstraint("folded"),
        sa.CheckConstraint("role IN ('owner', 'member', 'viewer')", name=op.f("ck_people_role")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "sessions",
        *_secret_of_person("sessions"),
        sa.Column("browser", sa.Text, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("seen_at", sa.Float, nullable=False),
        sa.Column("expires_at", sa.Float, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_sessions_person", "sessions", ["person_id"])
    op.create_table(
        "tokens",
        *_secret_of_person("tokens"),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("used_at", sa.Float),
        sa.Column("expires_at", sa.Float),
        sa.Column("revoked_at", sa.Float),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_tokens_person", "tokens", ["person_id"])
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("person", sa.Text, nullable=False),
        sa.Column("action", sa.String(32), nullable=False),
        sa.Column("about", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
        sqlite_autoincrement=True,
    )


def _secret_of_person(table: str) -> list[sa.schema.SchemaItem]:
    return [
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("person_id", sa.Integer, nullable=False),
        sa.Column("secret", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=f"pk_{table}"),
        sa.UniqueConstraint("secret"),
        sa.ForeignKeyConstraint(
            ["person_id"], ["people.id"], name=f"fk_{table}_person_id", ondelete="CASCADE"
        ),
    ]
