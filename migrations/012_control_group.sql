-- 012: the control group: a small, capped share of the events that a model wants to block is let through, so that labels
-- say what the blocks would have been.
-- Runs with plain `psql \i`, in one transaction, and is safe to run twice.

BEGIN;

SELECT pg_advisory_xact_lock(hashtext('sira_migrations'));

-- A product without a row, or with `enabled` false, has none.
CREATE TABLE IF NOT EXISTS sira_control_group (
    product       text PRIMARY KEY,
    enabled       boolean NOT NULL,
    share         float8 NOT NULL CHECK (share > 0 AND share <= 0.05),
    answer        text NOT NULL CHECK (answer IN ('review', 'allow')),
    max_per_day   int NOT NULL CHECK (max_per_day BETWEEN 1 AND 10000),
    max_amount    float8 CHECK (max_amount >= 0 AND max_amount < 'infinity'),
    amount_field  text NOT NULL CHECK (length(amount_field) BETWEEN 1 AND 128),
    seed          bytea NOT NULL CHECK (octet_length(seed) = 16),  -- secret: who knows it knows which events pass
    CHECK (NOT enabled OR max_amount IS NOT NULL)
);

-- A change wakes every worker's model sync.
CREATE OR REPLACE TRIGGER sira_control_group_notify AFTER INSERT OR UPDATE OR DELETE ON sira_control_group
    FOR EACH STATEMENT EXECUTE FUNCTION sira_notify_serving();

-- How many events of a UTC day the workers may let through by now. A worker takes slots before it uses them, so that all
-- workers together never pass max_per_day.
CREATE TABLE IF NOT EXISTS sira_control_slots (
    product  text NOT NULL,
    day      date NOT NULL,
    taken    int NOT NULL CHECK (taken >= 0),
    PRIMARY KEY (product, day)
);

-- What became of the events that a model wanted to block while the group was on, counted with their rows.
CREATE TABLE IF NOT EXISTS sira_control_days (
    product      text NOT NULL,
    day          date NOT NULL,
    would_block  bigint NOT NULL,
    eligible     bigint NOT NULL,                -- with a propensity above 0
    let_through  bigint NOT NULL,
    PRIMARY KEY (product, day)
);

-- The probability with which an event that the model wanted to block was let through; 0: its amount, or the day's limit,
-- forbade it. Null: no control group had a say. Adding it reads and rewrites no row.
ALTER TABLE sira_predictions ADD COLUMN IF NOT EXISTS propensity float8;

-- Labelled events that passed stand for all that might have passed, and those that were blocked by chance for none. A
-- label of an event that could not pass counts once: nothing stands for it.
CREATE OR REPLACE VIEW v_cohort_events AS
    SELECT p.prediction_id, p.day, p.created_at, p.product, p.event_id, p.model_id,
           date_trunc('week', p.created_at AT TIME ZONE 'UTC')::date AS week,
           sira_score_bin(p.score) AS score_bin, p.score, p.decision_model, p.decision,
           CASE WHEN NOT p.propensity > 0 OR p.propensity IS NULL THEN 1
                WHEN p.decision = 'block' THEN 0
                ELSE 1 / p.propensity END AS weight,
           CASE WHEN json_typeof(p.payload -> 'amount') = 'number' AND abs((p.payload ->> 'amount')::numeric) <= 1e11
                THEN (p.payload ->> 'amount')::float8 END AS amount
    FROM sira_predictions p
    WHERE p.variant = 'production' AND p.score IS NOT NULL AND p.decision IS NOT NULL;

-- The matured legitimate events of a rollout by the same weights, for the report; `legitimate` counts each once.
ALTER TABLE sira_canary_label_evidence ADD COLUMN IF NOT EXISTS legitimate_weight float8 NOT NULL DEFAULT 0;
ALTER TABLE sira_canary_label_evidence ADD COLUMN IF NOT EXISTS legitimate_weight_squares float8 NOT NULL DEFAULT 0;

CREATE OR REPLACE VIEW v_control_days AS
    SELECT product, day, would_block, eligible, let_through, would_block - eligible AS blind
    FROM sira_control_days ORDER BY product, day;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'sira_service') THEN
        GRANT SELECT, INSERT, UPDATE ON sira_control_group, sira_control_slots, sira_control_days TO sira_service;
        GRANT SELECT ON v_control_days TO sira_service;
    END IF;
END $$;

INSERT INTO sira_migrations (version) VALUES ('012_control_group') ON CONFLICT DO NOTHING;

COMMIT;
