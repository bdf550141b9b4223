"""Whose adapters, pictures and saved prompts are; what was "shared" is "public"."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    for table in ("adapters", "pictures", "prompts"):
        op.add_column(table, sa.Column("owner_id", sa.Integer))
    op.add_column(
        "pictures",
        sa.Column("visibility", sa.String(16), nullable=False, server_default="private"),
    )
    op.create_index("ix_adapters_owner", "adapters", ["owner_id", "id"])
    op.create_index("ix_pictures_owner", "pictures", ["owner_id", "id"])
    adapters = sa.table("adapters", sa.column("visibility"))
    shared = adapters.update().where(adapters.c.visibility == "shared")
    op.execute(shared.values(visibility="public"))
