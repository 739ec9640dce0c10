-- Statements of canary/store.py and canary/evidence_store.py: one block per function.

-- name: live_metrics
SELECT rollout_id::text, limits->'metrics' AS metrics FROM sira_canary_config
WHERE status IN ('running', 'paused') ORDER BY product;

-- name: lock_rollouts
SELECT * FROM sira_canary_config WHERE rollout_id = ANY(%(rollout_ids)s::uuid[]) ORDER BY rollout_id FOR UPDATE;

-- name: lock_live_rollout
SELECT * FROM sira_canary_config WHERE product = %(product)s AND status IN ('running', 'paused') FOR UPDATE;

-- name: latest_rollout
SELECT * FROM sira_canary_config WHERE product = %(product)s ORDER BY created_at DESC LIMIT 1;

-- name: all_rollouts
SELECT * FROM sira_canary_config
WHERE %(product)s::text IS NULL OR product = %(product)s::text
ORDER BY created_at DESC LIMIT %(limit)s;

-- name: product_exists
SELECT EXISTS (SELECT FROM siramodel_registry WHERE product = %(product)s);

-- name: insert_rollout
INSERT INTO sira_canary_config
    (product, canary_model_id, production_model_id, canary_percent, mode, plan, limits, step, created_by)
VALUES (%(product)s, %(canary_model_id)s, %(production_model_id)s, %(canary_percent)s, %(mode)s, %(plan)s, %(limits)s,
        %(step)s, %(created_by)s)
RETURNING *;

-- name: insert_production_before
-- What production answered before, as far as this version of it did.
INSERT INTO sira_canary_evidence (rollout_id, phase, arm, bucket_start, requests, errors, latency)
SELECT rollout_id, -1, 'production', bucket_start, sum(requests), sum(errors), sira_histogram_sum(latency)
FROM sira_canary_config c
JOIN siramodel_registry production ON model_id = production_model_id
JOIN sira_production_errors e ON e.product = c.product
WHERE rollout_id = %(rollout_id)s::uuid
  AND bucket_start >= sealed_through - make_interval(secs => %(seconds)s::float8) AND bucket_start < sealed_through
  AND bucket_start >= production.updated_at
GROUP BY rollout_id, bucket_start;

-- name: begin_phase
UPDATE sira_canary_config
SET canary_percent = %(percent)s, step = %(step)s, phase = phase + 1,
    production_model_id = coalesce(%(production_model_id)s::uuid, production_model_id),
    step_started_at = clock_timestamp(), updated_at = clock_timestamp()
WHERE rollout_id = %(rollout_id)s::uuid RETURNING *;

-- name: record_phase
INSERT INTO sira_canary_phases (rollout_id, phase, step, canary_percent, production_model_id, started_by)
SELECT rollout_id, phase, step, canary_percent, production_model_id, %(actor)s
FROM sira_canary_config WHERE rollout_id = %(rollout_id)s::uuid;

-- name: set_status
UPDATE sira_canary_config
SET status = %(status)s::text, updated_at = clock_timestamp(),
    canary_percent = CASE WHEN %(status)s::text IN ('running', 'paused') THEN canary_percent ELSE 0 END,
    ended_at = CASE WHEN %(status)s::text IN ('running', 'paused') THEN NULL ELSE clock_timestamp() END
WHERE rollout_id = %(rollout_id)s::uuid RETURNING *;

-- name: insert_rollback
INSERT INTO sira_canary_rollback_log
    (product, canary_model_id, production_model_id, reason, rolled_back_by, rollout_id, measurements)
VALUES (%(product)s, %(canary_model_id)s, %(production_model_id)s, %(reason)s, %(rolled_back_by)s, %(rollout_id)s,
        %(measurements)s);

-- name: latest_verdict
SELECT * FROM sira_canary_verdicts WHERE rollout_id = %(rollout_id)s::uuid ORDER BY tick DESC LIMIT 1;

-- name: verdicts
SELECT * FROM sira_canary_verdicts WHERE rollout_id = %(rollout_id)s::uuid ORDER BY tick;

-- name: phases
SELECT phase, step, canary_percent, production_model_id::text, started_at, started_by
FROM sira_canary_phases WHERE rollout_id = %(rollout_id)s::uuid ORDER BY phase;

-- name: take_lease
-- One row, so one holder. A holder that has not acted for %(stale_seconds)s may be followed by any other.
INSERT INTO sira_controller_lease AS lease (holder, acted_at) VALUES (%(holder)s, clock_timestamp())
ON CONFLICT (singleton) DO UPDATE SET holder = excluded.holder, acted_at = clock_timestamp()
WHERE lease.holder = excluded.holder
   OR lease.acted_at < clock_timestamp() - make_interval(secs => %(stale_seconds)s)
RETURNING true;

-- name: lock_evidence
-- Waits for the shipments under way and keeps new ones waiting: what is sealed below stays as it is read.
-- In the order in which a shipment takes its own: the other way round two could wait for each other.
SELECT pg_advisory_xact_lock(hashtext('sira_evidence'), hashtext(rollout_id::text))
FROM (SELECT unnest(%(rollout_ids)s::uuid[]) AS rollout_id ORDER BY 1) AS ordered;

-- name: standings
SELECT c.rollout_id::text, extract(epoch FROM clock_timestamp())::float8 AS now,
       canary.status AS canary_status,
       production.model_id::text AS production_now,
       labels.*,
       (SELECT coalesce(jsonb_agg(jsonb_build_object(
                   'at', extract(epoch FROM tripped_at)::float8, 'requests', requests, 'errors', errors,
                   'production_failing', production_failing) ORDER BY tripped_at, process), '[]')
        FROM sira_canary_fuse_trips t
        WHERE t.rollout_id = c.rollout_id
          AND (NOT production_failing OR tripped_at > clock_timestamp() - interval '10 min')) AS fuse_trips
FROM sira_canary_config c
JOIN siramodel_registry canary ON canary.model_id = c.canary_model_id
LEFT JOIN siramodel_registry production ON production.product = c.product AND production.status = 'production'
CROSS JOIN LATERAL (
    SELECT coalesce(sum(events), 0)::bigint AS events, coalesce(sum(matured), 0)::bigint AS matured,
           coalesce(sum(legitimate) FILTER (WHERE canary_decision = 'block' AND production_decision = 'block'), 0)::bigint AS n11,
           coalesce(sum(legitimate) FILTER (WHERE canary_decision = 'block' AND production_decision <> 'block'), 0)::bigint AS n10,
           coalesce(sum(legitimate) FILTER (WHERE canary_decision <> 'block' AND production_decision = 'block'), 0)::bigint AS n01,
           coalesce(sum(legitimate) FILTER (WHERE canary_decision <> 'block' AND production_decision <> 'block'), 0)::bigint AS n00
    FROM sira_canary_label_evidence e WHERE e.rollout_id = c.rollout_id) AS labels
WHERE c.rollout_id = ANY(%(rollout_ids)s::uuid[]);

-- name: arm_evidence
-- OFFSET 0 keeps one look into the index a rollout: joined freely, days of evidence were read for a few buckets.
SELECT sealed.rollout_id::text, extract(epoch FROM bucket_start)::bigint AS start, sealed.phase,
       coalesce(canary_percent, 0) AS percent, arm, requests, errors, timeouts, allowed, reviewed, blocked, latency, scores
FROM unnest(%(rollout_ids)s::uuid[], %(firsts)s::float8[], %(throughs)s::float8[]) AS span (rollout_id, first, through)
CROSS JOIN LATERAL (
    SELECT * FROM sira_canary_evidence e
    WHERE e.rollout_id = span.rollout_id
      AND bucket_start >= to_timestamp(first) AND bucket_start < to_timestamp(through) OFFSET 0) AS sealed
LEFT JOIN sira_canary_phases phases ON (phases.rollout_id, phases.phase) = (sealed.rollout_id, sealed.phase);

-- name: paired_evidence
SELECT sealed.rollout_id::text, extract(epoch FROM bucket_start)::bigint AS start, sealed.phase,
       canary_percent AS percent, n11, n10, n01, n00
FROM unnest(%(rollout_ids)s::uuid[], %(firsts)s::float8[], %(throughs)s::float8[]) AS span (rollout_id, first, through)
CROSS JOIN LATERAL (
    SELECT * FROM sira_canary_paired_evidence e
    WHERE e.rollout_id = span.rollout_id
      AND bucket_start >= to_timestamp(first) AND bucket_start < to_timestamp(through) OFFSET 0) AS sealed
JOIN sira_canary_phases phases ON (phases.rollout_id, phases.phase) = (sealed.rollout_id, sealed.phase);

-- name: production_error_cells
SELECT coalesce(sum(requests) FILTER (WHERE half = 0), 0)::bigint, coalesce(sum(errors) FILTER (WHERE half = 0), 0)::bigint,
       coalesce(sum(requests) FILTER (WHERE half = 1), 0)::bigint, coalesce(sum(errors) FILTER (WHERE half = 1), 0)::bigint
FROM sira_production_errors
WHERE product = %(product)s AND bucket_start >= to_timestamp(%(now)s) - interval '24 hours'
GROUP BY bucket_start ORDER BY bucket_start;

-- name: set_dispersion
UPDATE sira_canary_config SET dispersion = %(dispersion)s, dispersion_at = clock_timestamp()
WHERE rollout_id = %(rollout_id)s::uuid;

-- name: seal
UPDATE sira_canary_config SET sealed_through = to_timestamp(through), judge_state = state
FROM unnest(%(rollout_ids)s::uuid[], %(throughs)s::float8[], %(states)b::text[]) AS sealed (id, through, state)
WHERE rollout_id = id;

-- name: insert_verdicts
INSERT INTO sira_canary_verdicts
    (rollout_id, phase, verdict, action, reasons, measurements, inputs, dispersion, evidence_from, evidence_through,
     judged_at)
SELECT rollout_id, phase, verdict, action, reasons, measurements, inputs, dispersion, to_timestamp(evidence_from),
       to_timestamp(evidence_through), to_timestamp(judged_at)
FROM jsonb_to_recordset(%(verdicts)s) AS judged (
    rollout_id uuid, phase int, verdict text, action text, reasons jsonb, measurements jsonb, inputs jsonb,
    dispersion float8, evidence_from float8, evidence_through float8, judged_at float8);

-- name: known_products
SELECT DISTINCT product FROM siramodel_registry WHERE product = ANY(%(products)s);

-- name: insert_labels
INSERT INTO sira_labels (product, event_id, label, source, labelled_at, actor)
SELECT product, event_id, label, source, labelled_at, %(actor)s
FROM unnest(%(products)s::text[], %(event_ids)s::text[], %(labels)s::text[], %(sources)s::text[],
            %(times)s::timestamptz[]) AS sent (product, event_id, label, source, labelled_at)
ON CONFLICT DO NOTHING;

-- name: label_progress
-- Ten minutes are read again: a label's transaction may have committed later than its time says.
SELECT coalesce((SELECT counted_through - interval '10 min' FROM sira_label_progress), 'epoch'), clock_timestamp();

-- name: set_label_progress
INSERT INTO sira_label_progress (counted_through) VALUES (%(now)s)
ON CONFLICT (singleton) DO UPDATE SET counted_through = excluded.counted_through;

-- name: days_to_count
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
SELECT canary_decision, production_decision, sum(events)::bigint AS events, sum(matured)::bigint AS matured,
       sum(fraud)::bigint AS fraud, sum(legitimate)::bigint AS legitimate
FROM sira_canary_label_evidence WHERE rollout_id = %(rollout_id)s::uuid
GROUP BY 1, 2 ORDER BY 1, 2;

-- name: make_partitions
SELECT sira_make_partitions((now() AT TIME ZONE 'UTC')::date - 1, (now() AT TIME ZONE 'UTC')::date + %(days_ahead)s::int);

-- name: drop_partitions
SELECT sira_drop_partitions((now() AT TIME ZONE 'UTC')::date - %(retention_days)s::int);

-- name: drop_evidence
SELECT sira_drop_evidence((now() AT TIME ZONE 'UTC')::date - %(retention_days)s::int);

-- name: newest_rows
-- Of what is counted with the log's rows: production's half minutes, and a canary's buckets, alone in the last step.
SELECT product, extract(epoch FROM max(at))::float8 FROM (
    SELECT r.product, bucket_start AS at FROM siramodel_registry r
    CROSS JOIN LATERAL (SELECT bucket_start FROM sira_production_errors e WHERE e.product = r.product
                        ORDER BY bucket_start DESC LIMIT 1) AS newest
    WHERE status = 'production'
    UNION ALL
    SELECT c.product, bucket_start FROM sira_canary_config c
    CROSS JOIN LATERAL (SELECT bucket_start FROM sira_canary_evidence e WHERE e.rollout_id = c.rollout_id
                        ORDER BY bucket_start DESC LIMIT 1) AS newest
    WHERE status IN ('running', 'paused')) AS counted
GROUP BY product;

-- name: thin_verdicts
-- After an hour a verdict stays when it differs from the one before, or when it is the first of its ten minutes.
DELETE FROM sira_canary_verdicts v USING (
    SELECT rollout_id, tick,
           (phase, verdict, action, dispersion) IS NOT DISTINCT FROM
               lag((phase, verdict, action, dispersion)) OVER ticks AS repeats,
           date_bin('10 min', judged_at, 'epoch') = lag(date_bin('10 min', judged_at, 'epoch')) OVER ticks AS soon
    FROM sira_canary_verdicts
    WHERE judged_at BETWEEN clock_timestamp() - interval '2 days' AND clock_timestamp() - interval '1 hour'
    WINDOW ticks AS (PARTITION BY rollout_id ORDER BY tick)) AS seen
WHERE (v.rollout_id, v.tick) = (seen.rollout_id, seen.tick) AND seen.repeats AND seen.soon;

-- name: drop_production_errors
DELETE FROM sira_production_errors WHERE bucket_start < clock_timestamp() - interval '2 days';

-- name: phase_totals
SELECT e.phase, arm, sum(requests)::bigint AS requests, sum(errors)::bigint AS errors, sum(timeouts)::bigint AS timeouts,
       sum(allowed)::bigint AS allowed, sum(reviewed)::bigint AS reviewed, sum(blocked)::bigint AS blocked
FROM sira_canary_evidence e WHERE rollout_id = %(rollout_id)s::uuid AND phase >= 0
GROUP BY 1, 2 ORDER BY 1, 2;

-- name: evidence_span
SELECT extract(epoch FROM min(bucket_start))::bigint AS first, extract(epoch FROM max(bucket_start))::bigint AS last
FROM sira_canary_evidence WHERE rollout_id = %(rollout_id)s::uuid AND phase >= 0;

-- name: slot_counts
SELECT (extract(epoch FROM bucket_start)::bigint - %(first)s) / %(width)s AS slot, arm,
       sum(requests)::bigint AS requests, sum(errors)::bigint AS errors
FROM sira_canary_evidence WHERE rollout_id = %(rollout_id)s::uuid AND phase >= 0
GROUP BY 1, 2 ORDER BY 1, 2;

-- name: slot_latency
-- Of a long rollout one bucket in so many is read: enough for a p95, and the rest is time.
SELECT (at - %(first)s) / %(width)s AS slot, arm, bin.key::int AS bin, sum(bin.value::int)::bigint AS count
FROM generate_series(%(first)s::bigint, %(last)s::bigint, %(step)s::bigint) AS at
JOIN sira_canary_evidence ON rollout_id = %(rollout_id)s::uuid AND bucket_start = to_timestamp(at) AND phase >= 0
CROSS JOIN LATERAL jsonb_each(latency) AS bin
GROUP BY 1, 2, 3;

-- name: score_counts
SELECT arm, bin.key::int AS bin, sum(bin.value::int)::bigint AS count
FROM generate_series(%(first)s::bigint, %(last)s::bigint, %(step)s::bigint) AS at
JOIN sira_canary_evidence ON rollout_id = %(rollout_id)s::uuid AND bucket_start = to_timestamp(at) AND phase >= 0
CROSS JOIN LATERAL jsonb_each(scores) AS bin
GROUP BY 1, 2;

-- name: paired_totals
SELECT coalesce(sum(n11 + n10 + n01 + n00), 0)::bigint AS events, coalesce(sum(decision_flips), 0)::bigint AS flips
FROM sira_canary_paired_evidence WHERE rollout_id = %(rollout_id)s::uuid;

-- name: flips
SELECT production_decision, canary_decision, count(*) AS events, count(amount) AS amounts,
       coalesce(sum(amount), 0)::float8 AS amount
FROM sira_paired_predictions
WHERE rollout_id = %(rollout_id)s::uuid AND canary_decision <> production_decision
  AND created_at >= %(since)s AND day >= (%(since)s AT TIME ZONE 'UTC')::date
GROUP BY 1, 2 ORDER BY 1, 2;

-- name: largest_flips
SELECT event_id, amount, production_decision, canary_decision, production_score, canary_score, created_at
FROM sira_paired_predictions
WHERE rollout_id = %(rollout_id)s::uuid AND canary_decision <> production_decision
  AND created_at >= %(since)s AND day >= (%(since)s AT TIME ZONE 'UTC')::date
ORDER BY amount DESC NULLS LAST, created_at DESC LIMIT 20;

-- name: verdict_runs
-- The history as runs of the same verdict and action, with the last reasons of each.
SELECT phase, verdict, action, count(*) AS ticks, min(judged_at) AS first, max(judged_at) AS last,
       (array_agg(reasons ORDER BY tick DESC))[1] AS reasons
FROM (SELECT *, place - row_number() OVER (PARTITION BY phase, verdict, action ORDER BY place) AS run
      FROM (SELECT *, row_number() OVER (ORDER BY tick) AS place FROM sira_canary_verdicts
            WHERE rollout_id = %(rollout_id)s::uuid) AS numbered) AS grouped
GROUP BY phase, verdict, action, run ORDER BY min(tick);

-- name: rollbacks
SELECT created_at, reason, rolled_back_by FROM sira_canary_rollback_log
WHERE rollout_id = %(rollout_id)s::uuid OR (rollout_id IS NULL AND canary_model_id = %(canary_model_id)s::uuid)
ORDER BY created_at;
