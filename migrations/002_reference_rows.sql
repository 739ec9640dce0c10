-- 002: the reference rows that a version was checked with.
-- Runs with plain `psql \i`, in one transaction, and is safe to run twice.

BEGIN;

SELECT pg_advisory_xact_lock(hashtext('sira_migrations'));

-- Null: the version was registered without reference rows. Else the artifact of the kept rows (key, sha256, size_bytes),
-- how many rows were checked, are kept and have a label, the tolerance, and the largest difference.
ALTER TABLE siramodel_registry ADD COLUMN IF NOT EXISTS reference jsonb
    CHECK (reference IS NULL OR (reference->>'sha256') ~ '^[0-9a-f]{64}$' AND reference ? 'key');

-- As immutable as the rest of a version. A trigger of its own, so that running 001 again does not drop the rule.
CREATE OR REPLACE FUNCTION sira_registry_reference_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the reference rows of a version are immutable: register a new version of %/%', OLD.product, OLD.name;
END $$;

CREATE OR REPLACE TRIGGER siramodel_registry_reference_guard BEFORE UPDATE ON siramodel_registry
    FOR EACH ROW WHEN (NEW.reference IS DISTINCT FROM OLD.reference)
    EXECUTE FUNCTION sira_registry_reference_guard();

INSERT INTO sira_migrations (version) VALUES ('002_reference_rows') ON CONFLICT DO NOTHING;

COMMIT;
