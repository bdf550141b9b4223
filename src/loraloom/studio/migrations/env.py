"""How Alembic meets the database: in the transaction of whoever opens it."""

from alembic import context

from loraloom.studio.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
