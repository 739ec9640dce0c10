-- 008: backtests that were asked for, and their reports.
-- Runs with plain `psql \i`, in one transaction, and is safe to run twice.

BEGIN;

SELECT pg_advisory_xact_lock(hashtext('sira_migrations'));

CREATE TABLE IF NOT EXISTS sira_backtests (
    backtest_id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    product              text NOT NULL,
    model_id             uuid NOT NULL REFERENCES siramodel_registry (model_id),
    sha256               text NOT NULL,          -- the artifact that was replayed
    production_model_id  uuid REFERENCES siramodel_registry (model_id),  -- production when it ended
    request              jsonb NOT NULL,
    status               text NOT NULL DEFAULT 'waiting' CHECK (status IN ('waiting', 'running', 'done', 'failed')),
    rows_total           bigint NOT NULL DEFAULT 0,
    rows_done            bigint NOT NULL DEFAULT 0,
    report               jsonb,
    error                text,
    created_at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_by           text NOT NULL DEFAULT session_user,
    started_at           timestamptz,
    seen_at              timestamptz,            -- when its process last reported: another takes over a silent one
    ended_at             timestamptz,
    CHECK ((status = 'done') = (report IS NOT NULL)),
    CHECK ((status = 'failed') = (error IS NOT NULL))
);
CREATE INDEX IF NOT EXISTS sira_backtests_listing ON sira_backtests (product, created_at DESC);
CREATE INDEX IF NOT EXISTS sira_backtests_open ON sira_backtests (created_at) WHERE status IN ('waiting', 'running');

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'sira_service') THEN
        GRANT SELECT, INSERT, UPDATE ON sira_backtests TO sira_service;
    END IF;
END $$;

INSERT INTO sira_migrations (version) VALUES ('008_backtests') ON CONFLICT DO NOTHING;

COMMIT;
