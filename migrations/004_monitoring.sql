-- 004: production watched: its decisions over time, and the state of the guard on their shares.
-- Runs with plain `psql \i`, in one transaction, and is safe to run twice.

BEGIN;

SELECT pg_advisory_xact_lock(hashtext('sira_migrations'));

-- What production decided between two looks of the guard, for the dispersion of its decisions over the last day.
CREATE TABLE IF NOT EXISTS sira_production_decisions (
    product       text NOT NULL,
    bucket_start  timestamptz NOT NULL,
    requests      bigint NOT NULL,
    reviewed      bigint NOT NULL,
    blocked       bigint NOT NULL,
    PRIMARY KEY (product, bucket_start)
);

CREATE TABLE IF NOT EXISTS sira_production_guard (
    product     text PRIMARY KEY,
    counted_at  timestamptz NOT NULL,
    totals      jsonb NOT NULL,              -- hour -> [requests, reviewed, blocked] when last counted
    wealth      jsonb NOT NULL,              -- decision -> log wealth per alternative
    firing      jsonb NOT NULL DEFAULT '{}', -- decision -> whether the guard fires
    ready       boolean NOT NULL DEFAULT false
);

CREATE OR REPLACE VIEW v_production_guard AS
    SELECT product, counted_at, ready, coalesce((firing->>'block')::boolean, false) AS block_share_jumped,
           coalesce((firing->>'review')::boolean, false) AS review_share_jumped
    FROM sira_production_guard;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'sira_service') THEN
        GRANT SELECT, INSERT, DELETE ON sira_production_decisions TO sira_service;
        GRANT SELECT, INSERT, UPDATE ON sira_production_guard TO sira_service;
        GRANT SELECT ON v_production_guard TO sira_service;
    END IF;
END $$;

INSERT INTO sira_migrations (version) VALUES ('004_monitoring') ON CONFLICT DO NOTHING;

COMMIT;
