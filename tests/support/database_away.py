"""A database that goes away and comes back, as its callers see it."""

from urllib.parse import urlsplit

from psycopg import sql

from runtime.postgres import Connection


def away(admin: Connection, database_url: str, gone: bool) -> None:
    """Nobody can connect to the database, and those who were are cut off; or all is well again."""
    name = urlsplit(database_url).path.strip("/")
    admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(sql.Identifier(name), sql.Literal(not gone)))
    admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()",
        (name,),
    )
