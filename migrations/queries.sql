-- name: recorded_exists
-- True once any migration has been applied.
SELECT to_regclass('sira_migrations') IS NOT NULL

-- name: recorded
-- The migrations that the database has recorded.
SELECT version, sha256, applied_at FROM sira_migrations ORDER BY version

-- name: record_digest
-- Add the digest that a run with psql did not record; an existing digest is never replaced.
UPDATE sira_migrations SET sha256 = %(sha256)s WHERE version = %(version)s AND sha256 IS NULL

-- name: schema_for_new_tables
-- The schema in which a CREATE TABLE without a schema puts its table.
SELECT current_schema()
