"""Tasks of jobs, adapters and generations."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.add_column("jobs", sa.Column("task", sa.String(16), nullable=False, server_default="train"))
    op.create_index("ix_jobs_task", "jobs", ["task", "id"])
    _adapters()
    _pictures()
    op.create_table(
        "prompts",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("prompt", sa.Text, nullable=False),
        sa.Column("negative", sa.Text, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_prompts"),
        sqlite_autoincrement=True,
    )


def _adapters() -> None:
    op.create_table(
        "adapters",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("token", sa.String(16), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("tags", sa.Text, nullable=False),
        sa.Column("base", sa.Text, nullable=False),
        sa.Column("family", sa.String(32), nullable=False),
        sa.Column("type", sa.String(16), nullable=False),
        sa.Column("rank", sa.Integer),
        sa.Column("trigger", sa.Text, nullable=False),
        sa.Column("layout", sa.String(16), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("facts", sa.Text, nullable=False),
        sa.Column("scale", sa.Float, nullable=False),
        sa.Column("job_id", sa.Integer),
        sa.Column("parent_id", sa.Integer),
        sa.Column("dataset", sa.Text, nullable=False),
        sa.Column("dataset_hash", sa.Text, nullable=False),
        sa.Column("visibility", sa.String(16), nullable=False),
        sa.Column("starred", sa.Boolean, nullable=False),
        sa.Column("alias", sa.String(64), nullable=False),
        sa.Column("cover", sa.Text, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("trashed_at", sa.Float),
        sa.PrimaryKeyConstraint("id", name="pk_adapters"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_adapters_job_id"),
        sa.ForeignKeyConstraint(["parent_id"], ["adapters.id"], name="fk_adapters_parent_id"),
        sa.UniqueConstraint("job_id", name="uq_adapters_job_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_adapters_list", "adapters", ["trashed_at", "id"])


def _pictures() -> None:
    op.create_table(
        "pictures",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("job_id", sa.Integer, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("asked", sa.Text, nullable=False),
        sa.Column("starred", sa.Boolean, nullable=False),
        sa.Column("trashed_at", sa.Float),
        sa.PrimaryKeyConstraint("id", name="pk_pictures"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_pictures_job_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_pictures_job", "pictures", ["job_id", "number"], unique=True)
    op.create_index("ix_pictures_list", "pictures", ["trashed_at", "id"])
