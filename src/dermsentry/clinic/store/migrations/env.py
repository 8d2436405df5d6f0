"""Where Alembic takes the connection from: the one that `database.migrate` opened."""

from __future__ import annotations

from alembic import context

from dermsentry.clinic.store.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
context.run_migrations()
