-- 005: the input profile: what the fields of production's events look like, hour by hour.
-- Runs with plain `psql \i`, in one transaction, and is safe to run twice.

BEGIN;

SELECT pg_advisory_xact_lock(hashtext('sira_migrations'));

-- What is normal for the fields of a version: from its reference rows, or from its first events.
CREATE TABLE IF NOT EXISTS sira_input_baselines (
    model_id   uuid PRIMARY KEY,
    source     text NOT NULL CHECK (source IN ('reference', 'log')),
    fields     jsonb NOT NULL,
    made_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Counts of a sample of the events that a version answered, one row per field and hour. They merge by addition.
CREATE TABLE IF NOT EXISTS sira_input_profiles (
    product    text NOT NULL,
    model_id   uuid NOT NULL,
    hour       timestamptz NOT NULL,
    field      text NOT NULL,
    counts     jsonb NOT NULL,
    PRIMARY KEY (product, hour, model_id, field)
);

-- How far the day's partition of the log has been read: one row.
CREATE TABLE IF NOT EXISTS sira_input_profile_position (
    singleton  boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    day        date NOT NULL,
    row        tid NOT NULL
);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'sira_service') THEN
        GRANT SELECT, INSERT ON sira_input_baselines TO sira_service;
        GRANT SELECT, INSERT, UPDATE, DELETE ON sira_input_profiles TO sira_service;
        GRANT SELECT, INSERT, UPDATE ON sira_input_profile_position TO sira_service;
    END IF;
END $$;

INSERT INTO sira_migrations (version) VALUES ('005_input_profiles') ON CONFLICT DO NOTHING;

COMMIT;
