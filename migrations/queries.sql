-- name: recorded_exists
SELECT to_regclass('sira_migrations') IS NOT NULL

-- name: recorded
SELECT version, sha256, applied_at FROM sira_migrations ORDER BY version

-- name: record_digest
-- A file that psql ran recorded its version alone; the digest it gets is never replaced.
UPDATE sira_migrations SET sha256 = %(sha256)s WHERE version = %(version)s AND sha256 IS NULL
