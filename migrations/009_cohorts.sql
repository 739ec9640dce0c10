-- 009: performance by cohort: sums of production's events and labels per version and week.
-- Runs with plain `psql \i`, in one transaction, and is safe to run twice.

BEGIN;

SELECT pg_advisory_xact_lock(hashtext('sira_migrations'));

-- Where score bins begin, the first of which begins at 0: finer where most scores are. The tenths are among them, for
-- the reliability diagram.
CREATE OR REPLACE FUNCTION sira_score_edges() RETURNS float8[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT ARRAY[0.00001, 0.0001, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3,
        0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.975, 0.99]::float8[]
$$;

CREATE OR REPLACE FUNCTION sira_score_bin(score float8) RETURNS smallint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT width_bucket(score, sira_score_edges())::smallint $$;

-- The number of the age below which a label became known: 1, 2, 3, 7, 14, 30 and 60 days, or later.
CREATE OR REPLACE FUNCTION sira_label_age(age interval) RETURNS smallint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT width_bucket(extract(epoch FROM age)::float8 / 86400, ARRAY[1, 2, 3, 7, 14, 30, 60]::float8[])::smallint
$$;

-- An event's label: the latest, since when it has been that one, and how many labels there are. No row without a label.
CREATE OR REPLACE FUNCTION sira_event_label(of_product text, of_event_id text)
RETURNS TABLE (label text, known_at timestamptz, labels int)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT latest.label, since.known_at, since.labels
    FROM (SELECT l.label FROM sira_labels l WHERE (l.product, l.event_id) = (of_product, of_event_id)
          ORDER BY l.labelled_at DESC, l.received_at DESC LIMIT 1) AS latest
    CROSS JOIN LATERAL (
        SELECT min(l.labelled_at) FILTER (WHERE l.label = latest.label AND l.labelled_at >= coalesce(other.last, '-infinity'))
                   AS known_at, count(*)::int AS labels
        FROM sira_labels l
        CROSS JOIN (SELECT max(o.labelled_at) AS last FROM sira_labels o
                    WHERE (o.product, o.event_id) = (of_product, of_event_id) AND o.label <> latest.label) AS other
        WHERE (l.product, l.event_id) = (of_product, of_event_id)) AS since
$$;

-- The events that are counted: production's answers. `weight` is what one labelled event counts for: 1 / propensity
-- where the event was chosen to be labelled with a known probability. This is the only place where weights enter.
CREATE OR REPLACE VIEW v_cohort_events AS
    SELECT p.prediction_id, p.day, p.created_at, p.product, p.event_id, p.model_id,
           date_trunc('week', p.created_at AT TIME ZONE 'UTC')::date AS week,
           sira_score_bin(p.score) AS score_bin, p.score, p.decision_model, p.decision, 1.0::float8 AS weight,
           CASE WHEN json_typeof(p.payload -> 'amount') = 'number' AND abs((p.payload ->> 'amount')::numeric) <= 1e11
                THEN (p.payload ->> 'amount')::float8 END AS amount
    FROM sira_predictions p
    WHERE p.variant = 'production' AND p.score IS NOT NULL AND p.decision IS NOT NULL;

-- All columns behind the key merge by addition. Label 'any': every event, labelled or not, each with the weight 1 and
-- without its amount. `score`, `score_squares` and `amount` are weighted sums; `amount_squares`: of weighted amounts.
CREATE TABLE IF NOT EXISTS sira_cohort_sums (
    product         text NOT NULL,
    week            date NOT NULL,               -- the Monday of an ISO week, UTC
    model_id        uuid NOT NULL,
    score_bin       smallint NOT NULL,
    decision_model  text NOT NULL CHECK (decision_model IN ('allow', 'review', 'block')),  -- by score and thresholds
    decision        text NOT NULL CHECK (decision IN ('allow', 'review', 'block')),        -- what was answered
    label           text NOT NULL CHECK (label IN ('any', 'fraud', 'legitimate')),
    events          bigint NOT NULL,
    weight          numeric NOT NULL,
    weight_squares  numeric NOT NULL,
    score           numeric NOT NULL,
    score_squares   numeric NOT NULL,
    amount          numeric NOT NULL,
    amount_squares  numeric NOT NULL,
    PRIMARY KEY (product, week, model_id, score_bin, decision_model, decision, label)
);

-- Labelled events by how old they were when the label became known.
CREATE TABLE IF NOT EXISTS sira_cohort_label_ages (
    product         text NOT NULL,
    week            date NOT NULL,
    model_id        uuid NOT NULL,
    label           text NOT NULL CHECK (label IN ('fraud', 'legitimate')),
    age             smallint NOT NULL CHECK (age BETWEEN 0 AND 7),
    events          bigint NOT NULL,
    PRIMARY KEY (product, week, model_id, label, age)
);

-- What each hour of the log has added, so that an hour that grew is counted again without counting twice.
CREATE TABLE IF NOT EXISTS sira_cohort_hours (
    hour            timestamptz NOT NULL,
    product         text NOT NULL,
    model_id        uuid NOT NULL,
    predictions     bigint NOT NULL,             -- of sira_prediction_hours when it was counted
    events          bigint NOT NULL,
    sums            jsonb NOT NULL,
    PRIMARY KEY (hour, product, model_id)
);

-- What the labels of each event have added, so that a label that changes moves and does not count twice.
CREATE TABLE IF NOT EXISTS sira_cohort_labels (
    product         text NOT NULL,
    event_id        text NOT NULL,
    day             date NOT NULL,
    prediction_id   uuid NOT NULL,
    labels          int NOT NULL,                -- how many were known
    label           text NOT NULL,
    age             smallint NOT NULL,
    PRIMARY KEY (product, event_id, day, prediction_id)
);

-- Labels received before this are counted.
CREATE TABLE IF NOT EXISTS sira_cohort_progress (
    singleton       boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    labels_through  timestamptz NOT NULL
);

-- Recall and precision per version and week among labelled events, at both thresholds. Read young weeks with care:
-- docs/monitoring.md.
CREATE OR REPLACE VIEW v_model_cohorts AS
    SELECT product, week, model_id, version AS model_version, events, labelled, frauds,
           round(alerts::numeric / nullif(events, 0), 6) AS alert_rate,
           round(frauds_blocked / nullif(weight_blocked, 0), 6) AS block_precision,
           round(frauds_blocked / nullif(weight_fraud, 0), 6) AS block_recall,
           round((weight_blocked - frauds_blocked) / nullif(weight_labelled - weight_fraud, 0), 6)
               AS block_false_positive_rate,
           round(frauds_stopped / nullif(weight_stopped, 0), 6) AS review_precision,
           round(frauds_stopped / nullif(weight_fraud, 0), 6) AS review_recall,
           round((weight_stopped - frauds_stopped) / nullif(weight_labelled - weight_fraud, 0), 6)
               AS review_false_positive_rate,
           round(amount_caught, 2) AS amount_caught, round(amount_missed, 2) AS amount_missed,
           round(squared_error / nullif(weight_labelled, 0), 8) AS brier_score
    FROM (
        SELECT product, week, model_id,
               coalesce(sum(events) FILTER (WHERE label = 'any'), 0)::bigint AS events,
               coalesce(sum(events) FILTER (WHERE label = 'any' AND decision <> 'allow'), 0)::bigint AS alerts,
               coalesce(sum(events) FILTER (WHERE label <> 'any'), 0)::bigint AS labelled,
               coalesce(sum(events) FILTER (WHERE label = 'fraud'), 0)::bigint AS frauds,
               coalesce(sum(weight) FILTER (WHERE label <> 'any'), 0) AS weight_labelled,
               coalesce(sum(weight) FILTER (WHERE label = 'fraud'), 0) AS weight_fraud,
               coalesce(sum(weight) FILTER (WHERE label <> 'any' AND decision_model = 'block'), 0) AS weight_blocked,
               coalesce(sum(weight) FILTER (WHERE label = 'fraud' AND decision_model = 'block'), 0) AS frauds_blocked,
               coalesce(sum(weight) FILTER (WHERE label <> 'any' AND decision_model <> 'allow'), 0) AS weight_stopped,
               coalesce(sum(weight) FILTER (WHERE label = 'fraud' AND decision_model <> 'allow'), 0) AS frauds_stopped,
               coalesce(sum(amount) FILTER (WHERE label = 'fraud' AND decision_model <> 'allow'), 0) AS amount_caught,
               coalesce(sum(amount) FILTER (WHERE label = 'fraud' AND decision_model = 'allow'), 0) AS amount_missed,
               coalesce(sum(score_squares) FILTER (WHERE label <> 'any'), 0)
                   - 2 * coalesce(sum(score) FILTER (WHERE label = 'fraud'), 0)
                   + coalesce(sum(weight) FILTER (WHERE label = 'fraud'), 0) AS squared_error
        FROM sira_cohort_sums GROUP BY 1, 2, 3) AS weeks
    LEFT JOIN (SELECT model_id, version FROM siramodel_registry) AS versions USING (model_id);

-- Mean score and observed share of fraud per version, week and tenth of the score.
CREATE OR REPLACE VIEW v_model_reliability AS
    SELECT product, week, model_id, floor(coalesce((sira_score_edges())[score_bin], 0) * 10 + 1e-9)::int AS tenth,
           sum(events)::bigint AS labelled, round(sum(score) / sum(weight), 6) AS mean_score,
           round(coalesce(sum(weight) FILTER (WHERE label = 'fraud'), 0) / sum(weight), 6) AS fraud_share
    FROM sira_cohort_sums WHERE label <> 'any' GROUP BY 1, 2, 3, 4 HAVING sum(weight) > 0;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'sira_service') THEN
        GRANT SELECT, INSERT, UPDATE ON sira_cohort_sums, sira_cohort_label_ages, sira_cohort_progress TO sira_service;
        GRANT SELECT, INSERT, UPDATE, DELETE ON sira_cohort_hours, sira_cohort_labels TO sira_service;
        GRANT SELECT ON v_cohort_events, v_model_cohorts, v_model_reliability TO sira_service;
    END IF;
END $$;

INSERT INTO sira_migrations (version) VALUES ('009_cohorts') ON CONFLICT DO NOTHING;

COMMIT;
