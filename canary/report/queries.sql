-- The sums of the report: canary/report/report.py. Phases below 0 are production's history and are left out.

-- name: phase_totals
-- Counts per phase and arm.
SELECT e.phase, arm, sum(requests)::bigint AS requests, sum(errors)::bigint AS errors, sum(timeouts)::bigint AS timeouts,
       sum(allowed)::bigint AS allowed, sum(reviewed)::bigint AS reviewed, sum(blocked)::bigint AS blocked
FROM sira_canary_evidence e WHERE rollout_id = %(rollout_id)s::uuid AND phase >= 0
GROUP BY 1, 2 ORDER BY 1, 2;

-- name: evidence_span
-- The first and the last bucket of a rollout.
SELECT extract(epoch FROM min(bucket_start))::bigint AS first, extract(epoch FROM max(bucket_start))::bigint AS last
FROM sira_canary_evidence WHERE rollout_id = %(rollout_id)s::uuid AND phase >= 0;

-- name: slot_counts
-- Requests and errors per time slot and arm.
SELECT (extract(epoch FROM bucket_start)::bigint - %(first)s) / %(width)s AS slot, arm,
       sum(requests)::bigint AS requests, sum(errors)::bigint AS errors
FROM sira_canary_evidence WHERE rollout_id = %(rollout_id)s::uuid AND phase >= 0
GROUP BY 1, 2 ORDER BY 1, 2;

-- name: slot_latency
-- Latency histograms per time slot and arm, from one bucket per stride: enough for a p95 of a long rollout.
SELECT (at - %(first)s) / %(width)s AS slot, arm, bin.key::int AS bin, sum(bin.value::int)::bigint AS count
FROM generate_series(%(first)s::bigint, %(last)s::bigint, %(step)s::bigint) AS at
JOIN sira_canary_evidence ON rollout_id = %(rollout_id)s::uuid AND bucket_start = to_timestamp(at) AND phase >= 0
CROSS JOIN LATERAL jsonb_each(latency) AS bin
GROUP BY 1, 2, 3;

-- name: score_counts
-- Score histograms per arm, from the same buckets.
SELECT arm, bin.key::int AS bin, sum(bin.value::int)::bigint AS count
FROM generate_series(%(first)s::bigint, %(last)s::bigint, %(step)s::bigint) AS at
JOIN sira_canary_evidence ON rollout_id = %(rollout_id)s::uuid AND bucket_start = to_timestamp(at) AND phase >= 0
CROSS JOIN LATERAL jsonb_each(scores) AS bin
GROUP BY 1, 2;

-- name: paired_totals
-- How many events both models scored in a span of buckets, and on how many they decided differently.
SELECT coalesce(sum(n11 + n10 + n01 + n00), 0)::bigint AS events, coalesce(sum(decision_flips), 0)::bigint AS flips
FROM sira_canary_paired_evidence
WHERE rollout_id = %(rollout_id)s::uuid AND bucket_start >= coalesce(%(first)s::timestamptz, '-infinity')
  AND bucket_start < coalesce(%(until)s::timestamptz, 'infinity');

-- name: flips
-- Events that the two models decide differently, by decision pair, with their amounts.
SELECT production_decision, canary_decision, count(*) AS events, count(amount) AS amounts,
       coalesce(sum(amount), 0)::float8 AS amount
FROM sira_paired_predictions
WHERE rollout_id = %(rollout_id)s::uuid AND canary_decision <> production_decision
  AND created_at >= %(since)s AND day >= (%(since)s AT TIME ZONE 'UTC')::date
GROUP BY 1, 2 ORDER BY 1, 2;

-- name: largest_flips
-- The twenty flips with the largest amounts.
SELECT event_id, amount, production_decision, canary_decision, production_score, canary_score, created_at
FROM sira_paired_predictions
WHERE rollout_id = %(rollout_id)s::uuid AND canary_decision <> production_decision
  AND created_at >= %(since)s AND day >= (%(since)s AT TIME ZONE 'UTC')::date
ORDER BY amount DESC NULLS LAST, created_at DESC LIMIT 20;

-- name: flipped_payloads
-- A random sample of flips with their payloads: ids are hashes. Reads sira_predictions, a table of scoring/log.
SELECT prediction_id::text, flip.event_id, amount, production_decision, canary_decision, production_score, canary_score,
       flip.created_at, payload::text AS payload
FROM (SELECT * FROM sira_paired_predictions
      WHERE rollout_id = %(rollout_id)s::uuid AND canary_decision <> production_decision
        AND created_at >= %(since)s AND day >= (%(since)s AT TIME ZONE 'UTC')::date
      ORDER BY prediction_id LIMIT %(max_explained)s) AS flip
JOIN sira_predictions USING (prediction_id, day)
ORDER BY prediction_id;

-- name: verdict_runs
-- Consecutive verdicts of the same kind and action as one row, with the last reasons.
SELECT phase, verdict, action, count(*) AS ticks, min(judged_at) AS first, max(judged_at) AS last,
       (array_agg(reasons ORDER BY tick DESC))[1] AS reasons
FROM (SELECT *, number - row_number() OVER (PARTITION BY phase, verdict, action ORDER BY number) AS run
      FROM (SELECT *, row_number() OVER (ORDER BY tick) AS number FROM sira_canary_verdicts
            WHERE rollout_id = %(rollout_id)s::uuid) AS numbered) AS grouped
GROUP BY phase, verdict, action, run ORDER BY min(tick);

-- name: rollbacks
-- Rollbacks of a rollout, including those that an operator recorded for its model.
SELECT created_at, reason, rolled_back_by FROM sira_canary_rollback_log
WHERE rollout_id = %(rollout_id)s::uuid OR (rollout_id IS NULL AND canary_model_id = %(canary_model_id)s::uuid)
ORDER BY created_at;
