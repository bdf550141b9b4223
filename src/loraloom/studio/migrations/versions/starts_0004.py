"""Keys by which a start that is asked for twice is made once."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    op.add_column("jobs", sa.Column("start_key", sa.String(200)))
    op.add_column("jobs", sa.Column("start_body", sa.String(64)))
    op.create_index("ix_jobs_start_key", "jobs", ["start_key"], unique=True)
