-- name: logged
-- Rows of the callers' events, and one in `one_in` of the others; starting with "event-" marks the callers'.
SELECT prediction_id::text, event_id, payload::text AS payload, payload_sha256, model_id::text, artifact_sha256, score,
       decision, review_threshold, block_threshold, variant, arm
FROM sira_predictions
WHERE starts_with(event_id, 'event-') OR get_byte(uuid_send(prediction_id), 15) %% %(one_in)s = 0

-- name: count_events
-- Scored rows of the events whose id begins with `prefix`, and their distinct prediction ids.
SELECT count(*) AS rows, count(DISTINCT prediction_id) AS ids
FROM sira_predictions WHERE starts_with(event_id, %(prefix)s) AND score IS NOT NULL

-- name: count_canary_failures
-- Events that the canary failed to score.
SELECT count(*) FROM sira_predictions WHERE starts_with(outcome, 'canary')

-- name: span
-- Seconds by which the newest row is ahead of Postgres' clock, and the oldest behind it.
SELECT extract(epoch FROM max(created_at) - now())::float8, extract(epoch FROM now() - min(created_at))::float8
FROM sira_predictions

-- name: count_deadlocks
-- Deadlocks that Postgres has found in this database so far.
SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()

-- name: count_logged
-- How many of these prediction ids are in the log.
SELECT count(*) FROM sira_predictions WHERE prediction_id = ANY (%(ids)s::uuid[])

-- name: arm_differences
-- Groups whose evidence differs from the sum over the predictions.
WITH counted AS (
    SELECT rollout_id, phase, arm, count(*) AS requests, count(*) FILTER (WHERE outcome <> 'ok') AS errors,
           count(*) FILTER (WHERE decision = 'allow' AND variant = arm) AS allowed,
           count(*) FILTER (WHERE decision = 'review' AND variant = arm) AS reviewed,
           count(*) FILTER (WHERE decision = 'block' AND variant = arm) AS blocked,
           count(*) FILTER (WHERE model_seconds IS NOT NULL AND variant = arm) AS timed,
           count(*) FILTER (WHERE score IS NOT NULL AND variant = arm) AS scored
    FROM sira_predictions WHERE rollout_id IS NOT NULL GROUP BY 1, 2, 3
),
kept AS (
    SELECT rollout_id, phase, arm, sum(requests) AS requests, sum(errors) AS errors, sum(allowed) AS allowed,
           sum(reviewed) AS reviewed, sum(blocked) AS blocked,
           sum((SELECT coalesce(sum(n::bigint), 0) FROM jsonb_each_text(latency) AS bins (bin, n))) AS timed,
           sum((SELECT coalesce(sum(n::bigint), 0) FROM jsonb_each_text(scores) AS bins (bin, n))) AS scored
    FROM sira_canary_evidence WHERE phase >= 0 GROUP BY 1, 2, 3
)
SELECT count(*) FROM counted FULL JOIN kept USING (rollout_id, phase, arm)
WHERE (counted.requests, counted.errors, counted.allowed, counted.reviewed, counted.blocked, counted.timed, counted.scored)
      IS DISTINCT FROM (kept.requests, kept.errors, kept.allowed, kept.reviewed, kept.blocked, kept.timed, kept.scored)

-- name: paired_differences
-- Groups whose paired evidence differs from the sum over the paired predictions.
WITH counted AS (
    SELECT rollout_id, phase, count(*) AS pairs, count(*) FILTER (WHERE canary_decision <> production_decision) AS flips
    FROM sira_paired_predictions GROUP BY 1, 2
),
kept AS (
    SELECT rollout_id, phase, sum(n11 + n10 + n01 + n00) AS pairs, sum(decision_flips) AS flips
    FROM sira_canary_paired_evidence GROUP BY 1, 2
)
SELECT count(*) FROM counted FULL JOIN kept USING (rollout_id, phase)
WHERE (counted.pairs, counted.flips) IS DISTINCT FROM (kept.pairs, kept.flips)

-- name: hour_differences
-- Groups whose hourly sums differ from the sum over the predictions.
WITH counted AS (
    SELECT date_trunc('hour', created_at, 'UTC') AS hour, product, model_id, variant,
           coalesce(decision, 'none') AS decision, outcome, count(*) AS predictions,
           count(*) FILTER (WHERE cached) AS cached
    FROM sira_predictions GROUP BY 1, 2, 3, 4, 5, 6
)
SELECT count(*)
FROM counted FULL JOIN sira_prediction_hours AS kept USING (hour, product, model_id, variant, decision, outcome)
WHERE (counted.predictions, counted.cached) IS DISTINCT FROM (kept.predictions, kept.cached)

-- name: production_error_differences
-- Half minutes whose error sums of production differ from the sum over the predictions.
WITH counted AS (
    SELECT product, date_bin('30 s', created_at, 'epoch') AS bucket_start, get_bit(uuid_send(prediction_id), 0) AS half,
           count(*) AS requests, count(*) FILTER (WHERE outcome <> 'ok') AS errors
    FROM sira_predictions WHERE arm = 'production' GROUP BY 1, 2, 3
)
SELECT count(*) FROM counted FULL JOIN sira_production_errors AS kept USING (product, bucket_start, half)
WHERE (counted.requests, counted.errors) IS DISTINCT FROM (kept.requests, kept.errors)
