-- 010: one-time sign-in links of the console.
-- Runs with plain `psql \i`, in one transaction, and is safe to run twice.

BEGIN;

SELECT pg_advisory_xact_lock(hashtext('sira_migrations'));

-- A link is deleted when it is redeemed. Only its code's hash is here: whoever reads this table cannot sign in with it.
CREATE TABLE IF NOT EXISTS sira_console_links (
    code_sha256  text PRIMARY KEY CHECK (code_sha256 ~ '^[0-9a-f]{64}$'),
    subject      text NOT NULL,
    role         text NOT NULL CHECK (role IN ('viewer', 'auditor', 'ml_ops')),
    expires_at   timestamptz NOT NULL
);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'sira_service') THEN
        -- No INSERT: the service redeems links, and `make run`, which owns the database, issues them.
        GRANT SELECT, DELETE ON sira_console_links TO sira_service;
    END IF;
END $$;

INSERT INTO sira_migrations (version) VALUES ('010_console') ON CONFLICT DO NOTHING;

COMMIT;
