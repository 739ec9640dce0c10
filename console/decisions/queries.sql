-- What the pages of decisions read: one block per function of console/decisions/store.py.

-- name: limit_time
-- End a search that would read too much; SET LOCAL ends with the transaction.
SELECT set_config('statement_timeout', %(milliseconds)s::text, true);

-- name: by_event
-- Decisions on one event.
SELECT prediction_id::text, created_at, product, event_id, routing_key, model_version, score, decision, variant, outcome
FROM sira_predictions
WHERE event_id = %(event_id)s AND (%(product)s::text IS NULL OR product = %(product)s)
ORDER BY created_at DESC LIMIT %(limit)s;

-- name: by_routing_key
-- Decisions on one routing key up to a moment, newest first.
SELECT prediction_id::text, created_at, product, event_id, routing_key, model_version, score, decision, variant, outcome
FROM sira_predictions
WHERE routing_key = %(routing_key)s AND (%(product)s::text IS NULL OR product = %(product)s)
  AND created_at BETWEEN %(first)s::timestamptz AND %(last)s::timestamptz
  AND day BETWEEN (%(first)s::timestamptz AT TIME ZONE 'UTC')::date AND (%(last)s::timestamptz AT TIME ZONE 'UTC')::date
  AND (%(decision)s::text IS NULL OR decision = %(decision)s)
ORDER BY created_at DESC LIMIT %(limit)s;

-- name: by_time
-- Decisions in a span of time, newest first.
SELECT prediction_id::text, created_at, product, event_id, routing_key, model_version, score, decision, variant, outcome
FROM sira_predictions
WHERE created_at BETWEEN %(first)s::timestamptz AND %(last)s::timestamptz
  AND day BETWEEN (%(first)s::timestamptz AT TIME ZONE 'UTC')::date AND (%(last)s::timestamptz AT TIME ZONE 'UTC')::date
  AND (%(product)s::text IS NULL OR product = %(product)s)
  AND (%(decision)s::text IS NULL OR decision = %(decision)s)
ORDER BY created_at DESC LIMIT %(limit)s;

-- name: labels
-- The labels of an event, the one that counts first.
SELECT label, source, labelled_at, received_at, actor FROM sira_labels
WHERE product = %(product)s AND event_id = %(event_id)s ORDER BY labelled_at DESC, received_at DESC LIMIT 20;

-- name: paired
-- What the other model said of the same event, while a canary ran.
SELECT rollout_id::text, canary_score, canary_decision, production_score, production_decision
FROM sira_paired_predictions WHERE event_id = %(event_id)s AND product = %(product)s
  AND prediction_id = %(prediction_id)s::uuid LIMIT 1;

-- name: products
-- All products.
SELECT DISTINCT product FROM siramodel_registry ORDER BY product;
