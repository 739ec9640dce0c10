-- Labels, and how they are counted: one block per function of canary/labels/store.py.

-- name: known_products
-- Which of these products have a registered version.
SELECT DISTINCT product FROM siramodel_registry WHERE product = ANY(%(products)s);

-- name: insert_labels
-- Insert labels; a repeated one is skipped.
INSERT INTO sira_labels (product, event_id, label, source, labelled_at, actor)
SELECT product, event_id, label, source, labelled_at, %(actor)s
FROM unnest(%(products)s::text[], %(event_ids)s::text[], %(labels)s::text[], %(sources)s::text[],
            %(times)s::timestamptz[]) AS sent (product, event_id, label, source, labelled_at)
ON CONFLICT DO NOTHING;

-- name: label_progress
-- Ten minutes are read again: a label's transaction may have committed later than its time says.
SELECT coalesce((SELECT counted_through - interval '10 min' FROM sira_label_progress), 'epoch'), clock_timestamp();

-- name: set_label_progress
-- Record up to when labels are counted.
INSERT INTO sira_label_progress (counted_through) VALUES (%(now)s)
ON CONFLICT (singleton) DO UPDATE SET counted_through = excluded.counted_through;

-- name: days_to_count
-- The rollouts' days whose counts may have changed.
WITH days AS (
    SELECT rollout_id, day::date FROM sira_canary_config,
         generate_series((created_at AT TIME ZONE 'UTC')::date, (coalesce(ended_at, %(now)s) AT TIME ZONE 'UTC')::date,
                         interval '1 day') AS day
)
-- Days that still grow, days that matured since, and days whose events got a label since.
SELECT rollout_id::text, day FROM days
WHERE day >= (%(since)s AT TIME ZONE 'UTC')::date - 1
   OR day BETWEEN ((%(since)s - %(maturity)s::interval) AT TIME ZONE 'UTC')::date
              AND ((%(now)s - %(maturity)s::interval) AT TIME ZONE 'UTC')::date
UNION
SELECT p.rollout_id::text, p.day
FROM sira_labels l JOIN sira_paired_predictions p USING (product, event_id)
WHERE l.received_at > %(since)s
ORDER BY 1, 2;

-- name: count_day
-- Recount one rollout's day of events by decision pair.
INSERT INTO sira_canary_label_evidence AS counted
    (rollout_id, event_day, canary_decision, production_decision, events, matured, fraud, legitimate)
SELECT rollout_id, day, canary_decision, production_decision, count(*), count(*) FILTER (WHERE mature),
       count(*) FILTER (WHERE mature AND label = 'fraud'), count(*) FILTER (WHERE mature AND label = 'legitimate')
FROM (
    SELECT p.rollout_id, p.day, p.canary_decision, p.production_decision, p.created_at < %(matured_before)s AS mature,
           (SELECT label FROM sira_labels l WHERE (l.product, l.event_id) = (p.product, p.event_id)
            ORDER BY labelled_at DESC, received_at DESC LIMIT 1) AS label
    FROM sira_paired_predictions p
    WHERE p.rollout_id = %(rollout_id)s::uuid AND p.day = %(day)s) AS events
GROUP BY 1, 2, 3, 4
ON CONFLICT (rollout_id, event_day, canary_decision, production_decision) DO UPDATE SET
    events = excluded.events, matured = excluded.matured, fraud = excluded.fraud, legitimate = excluded.legitimate;

-- name: label_outcomes
-- A rollout's labelled events by decision pair.
SELECT canary_decision, production_decision, sum(events)::bigint AS events, sum(matured)::bigint AS matured,
       sum(fraud)::bigint AS fraud, sum(legitimate)::bigint AS legitimate
FROM sira_canary_label_evidence WHERE rollout_id = %(rollout_id)s::uuid
GROUP BY 1, 2 ORDER BY 1, 2;

-- name: counts_known_frauds
-- Return whether migration 006 has run.
SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('sira_canary_label_evidence')
               AND attname = 'known_fraud' AND NOT attisdropped);

-- name: count_known_frauds
-- Recount the frauds of one rollout's day, however young the event is. The rows are there: count_day runs before.
UPDATE sira_canary_label_evidence counted SET known_fraud = found.frauds FROM (
    SELECT p.canary_decision, p.production_decision, count(*) FILTER (WHERE latest.label = 'fraud') AS frauds
    FROM sira_paired_predictions p LEFT JOIN LATERAL (
        SELECT label FROM sira_labels l WHERE (l.product, l.event_id) = (p.product, p.event_id)
        ORDER BY labelled_at DESC, received_at DESC LIMIT 1) AS latest ON true
    WHERE p.rollout_id = %(rollout_id)s::uuid AND p.day = %(day)s GROUP BY 1, 2) AS found
WHERE counted.rollout_id = %(rollout_id)s::uuid AND counted.event_day = %(day)s
  AND (counted.canary_decision, counted.production_decision) = (found.canary_decision, found.production_decision);

-- name: known_frauds
-- Known frauds of rollouts by who blocked or reviewed them: both, the canary only, production only, neither.
SELECT rollout_id::text,
       coalesce(sum(known_fraud) FILTER (WHERE canary_decision <> 'allow' AND production_decision <> 'allow'), 0)::bigint,
       coalesce(sum(known_fraud) FILTER (WHERE canary_decision <> 'allow' AND production_decision = 'allow'), 0)::bigint,
       coalesce(sum(known_fraud) FILTER (WHERE canary_decision = 'allow' AND production_decision <> 'allow'), 0)::bigint,
       coalesce(sum(known_fraud) FILTER (WHERE canary_decision = 'allow' AND production_decision = 'allow'), 0)::bigint
FROM sira_canary_label_evidence WHERE rollout_id = ANY(%(rollout_ids)s::uuid[]) GROUP BY rollout_id;

-- name: counts_weights
-- Return whether migration 012 has run.
SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('sira_canary_label_evidence')
               AND attname = 'legitimate_weight_squares' AND NOT attisdropped);

-- name: count_weights
-- Weigh the matured legitimate events of one rollout's day, as canary/labels/weighting.py does. The rows are there:
-- count_day runs before. Reads a table of scoring, for events that have the label.
UPDATE sira_canary_label_evidence counted
SET legitimate_weight = coalesce(found.weight, 0), legitimate_weight_squares = coalesce(found.weight_squares, 0)
FROM sira_canary_label_evidence own LEFT JOIN (
    SELECT canary_decision, production_decision, sum(weight) AS weight, sum(weight * weight) AS weight_squares
    FROM (SELECT q.canary_decision, q.production_decision,
                 CASE WHEN NOT p.propensity > 0 OR p.propensity IS NULL THEN 1
                      WHEN p.decision = 'block' THEN 0
                      ELSE 1 / p.propensity END AS weight
          FROM sira_paired_predictions q
          CROSS JOIN LATERAL (
              SELECT label FROM sira_labels l WHERE (l.product, l.event_id) = (q.product, q.event_id)
              ORDER BY labelled_at DESC, received_at DESC LIMIT 1) AS latest
          LEFT JOIN sira_predictions p ON (p.prediction_id, p.day) = (q.prediction_id, q.day)
          WHERE q.rollout_id = %(rollout_id)s::uuid AND q.day = %(day)s AND q.created_at < %(matured_before)s
            AND latest.label = 'legitimate') AS weighed
    GROUP BY 1, 2) AS found USING (canary_decision, production_decision)
WHERE (own.rollout_id, own.event_day) = (%(rollout_id)s::uuid, %(day)s)
  AND (counted.rollout_id, counted.event_day, counted.canary_decision, counted.production_decision)
    = (own.rollout_id, own.event_day, own.canary_decision, own.production_decision);

-- name: label_weights
-- The weights of a rollout's matured legitimate events by decision pair, and their squares.
SELECT canary_decision, production_decision, sum(legitimate_weight), sum(legitimate_weight_squares)
FROM sira_canary_label_evidence WHERE rollout_id = %(rollout_id)s::uuid AND legitimate_weight > 0
GROUP BY 1, 2 ORDER BY 1, 2;
