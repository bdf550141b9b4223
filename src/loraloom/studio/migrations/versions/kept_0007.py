"""Adapters of single steps that were kept: the run and the file that each is of."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    op.add_column("adapters", sa.Column("kept_job_id", sa.Integer))
    op.add_column("adapters", sa.Column("kept_file", sa.String(64)))
    op.create_index("ix_adapters_kept", "adapters", ["kept_job_id", "kept_file"], unique=True)
