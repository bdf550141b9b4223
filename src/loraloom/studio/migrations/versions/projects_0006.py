"""Projects, and what of jobs, adapters, pictures and saved prompts is in one."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table and the columns."""
    op.create_table(
        "projects",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("owner_id", sa.Integer),
        sa.Column("visibility", sa.String(16), nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("trashed_at", sa.Float),
        sa.PrimaryKeyConstraint("id", name="pk_projects"),
        sqlite_autoincrement=True,
    )
    for table in ("jobs", "adapters", "pictures", "prompts"):
        op.add_column(table, sa.Column("project_id", sa.Integer))
        op.create_index(f"ix_{table}_project", table, ["project_id", "id"])
