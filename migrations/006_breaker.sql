-- 006: the breaker: block becomes review for a product while production blocks far more than is normal.
-- Runs with plain `psql \i`, in one transaction, and is safe to run twice.

BEGIN;

SELECT pg_advisory_xact_lock(hashtext('sira_migrations'));

-- A product without a row has no breaker.
CREATE TABLE IF NOT EXISTS sira_breaker (
    product          text PRIMARY KEY,
    enabled          boolean NOT NULL,
    max_block_share  float8 NOT NULL CHECK (max_block_share BETWEEN 0 AND 1),
    quiet_seconds    int NOT NULL CHECK (quiet_seconds > 0),
    tripped_at       timestamptz,               -- null: decisions are the model's
    tripped_share    float8,                    -- the share that tripped it
    quiet_since      timestamptz,               -- when the guard ceased to fire; null while it fires
    CHECK (tripped_at IS NULL OR enabled)
);

-- A change wakes every worker's model sync.
CREATE OR REPLACE TRIGGER sira_breaker_notify AFTER INSERT OR UPDATE OF tripped_at OR DELETE ON sira_breaker
    FOR EACH STATEMENT EXECUTE FUNCTION sira_notify_serving();

-- What the model decided: a column computed from the logged score and thresholds, `SELECT p.decision_model FROM
-- sira_predictions p`. It differs from `decision` where the breaker made review of a block. It needs no space, no other
-- COPY format, and is there for rows from before this migration.
CREATE OR REPLACE FUNCTION decision_model(p sira_predictions) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN p.score >= p.block_threshold THEN 'block'
                WHEN p.score >= p.review_threshold THEN 'review'
                WHEN p.score IS NOT NULL THEN 'allow' END
$$;

-- The guard goes on to count what the model decides: it finds the downgraded rows here, which are few.
CREATE INDEX IF NOT EXISTS sira_predictions_downgraded ON sira_predictions (product, created_at)
    WHERE decision = 'review' AND score >= block_threshold;

CREATE OR REPLACE VIEW v_downgraded_predictions AS
    SELECT p.prediction_id, p.created_at, p.product, p.event_id, p.model_id, p.model_version, p.score, p.decision,
           p.decision_model
    FROM sira_predictions p WHERE decision = 'review' AND score >= block_threshold;

-- Frauds of all ages among the events that both models scored, for the rule `recall_ratio`; `fraud` counts the matured.
ALTER TABLE sira_canary_label_evidence ADD COLUMN IF NOT EXISTS known_fraud bigint NOT NULL DEFAULT 0;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'sira_service') THEN
        GRANT SELECT, INSERT, UPDATE ON sira_breaker TO sira_service;
        GRANT SELECT ON v_downgraded_predictions TO sira_service;
    END IF;
END $$;

INSERT INTO sira_migrations (version) VALUES ('006_breaker') ON CONFLICT DO NOTHING;

COMMIT;
