"""What was found on comparing two runs."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "verdicts",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("first_id", sa.Integer, nullable=False),
        sa.Column("second_id", sa.Integer, nullable=False),
        sa.Column("winner_id", sa.Integer),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("given_at", sa.Float, nullable=False),
        sa.Column("owner_id", sa.Integer),
        sa.PrimaryKeyConstraint("id", name="pk_verdicts"),
        sa.ForeignKeyConstraint(["first_id"], ["jobs.id"], name="fk_verdicts_first_id"),
        sa.ForeignKeyConstraint(["second_id"], ["jobs.id"], name="fk_verdicts_second_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_verdicts_pair", "verdicts", ["first_id", "second_id"])
