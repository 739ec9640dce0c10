-- What a tick reads and writes, and the upkeep of the tables: canary/controller/store.py and upkeep.py.

-- name: take_lease
-- Take or renew the lease. It is one row, so it has one holder; any other may follow a holder that has not acted.
INSERT INTO sira_controller_lease AS lease (holder, acted_at) VALUES (%(holder)s, clock_timestamp())
ON CONFLICT (singleton) DO UPDATE SET holder = excluded.holder, acted_at = clock_timestamp()
WHERE lease.holder = excluded.holder
   OR lease.acted_at < clock_timestamp() - make_interval(secs => %(stale_seconds)s)
RETURNING true;

-- name: lock_evidence
-- Wait for running shipments and block new ones, so that sealed evidence stays as it was read.
-- Lock in the order in which a shipment locks, or the two could deadlock.
SELECT pg_advisory_xact_lock(hashtext('sira_evidence'), hashtext(rollout_id::text))
FROM (SELECT unnest(%(rollout_ids)s::uuid[]) AS rollout_id ORDER BY 1) AS ordered;

-- name: contexts
-- What matters around each rollout: the status of its version, production, labels and fuse trips.
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
-- Evidence per rollout, bucket, phase and arm in each span. OFFSET 0 keeps one index scan per rollout: without it the
-- planner read days of evidence for a few buckets.
SELECT sealed.rollout_id::text, extract(epoch FROM bucket_start)::bigint AS start, sealed.phase,
       coalesce(canary_percent, 0) AS percent, arm, requests, errors, timeouts, allowed, reviewed, blocked, latency, scores
FROM unnest(%(rollout_ids)s::uuid[], %(firsts)s::float8[], %(throughs)s::float8[]) AS span (rollout_id, first, through)
CROSS JOIN LATERAL (
    SELECT * FROM sira_canary_evidence e
    WHERE e.rollout_id = span.rollout_id
      AND bucket_start >= to_timestamp(first) AND bucket_start < to_timestamp(through) OFFSET 0) AS sealed
LEFT JOIN sira_canary_phases phases ON (phases.rollout_id, phases.phase) = (sealed.rollout_id, sealed.phase);

-- name: paired_evidence
-- Paired decisions per rollout, bucket and phase in each span.
SELECT sealed.rollout_id::text, extract(epoch FROM bucket_start)::bigint AS start, sealed.phase,
       canary_percent AS percent, n11, n10, n01, n00
FROM unnest(%(rollout_ids)s::uuid[], %(firsts)s::float8[], %(throughs)s::float8[]) AS span (rollout_id, first, through)
CROSS JOIN LATERAL (
    SELECT * FROM sira_canary_paired_evidence e
    WHERE e.rollout_id = span.rollout_id
      AND bucket_start >= to_timestamp(first) AND bucket_start < to_timestamp(through) OFFSET 0) AS sealed
JOIN sira_canary_phases phases ON (phases.rollout_id, phases.phase) = (sealed.rollout_id, sealed.phase);

-- name: production_error_cells
-- Requests and errors of production's two halves per 30 s of the last day.
SELECT coalesce(sum(requests) FILTER (WHERE half = 0), 0)::bigint, coalesce(sum(errors) FILTER (WHERE half = 0), 0)::bigint,
       coalesce(sum(requests) FILTER (WHERE half = 1), 0)::bigint, coalesce(sum(errors) FILTER (WHERE half = 1), 0)::bigint
FROM sira_production_errors
WHERE product = %(product)s AND bucket_start >= to_timestamp(%(now)s) - interval '24 hours'
GROUP BY bucket_start ORDER BY bucket_start;

-- name: insert_verdicts
-- Insert the verdicts of one tick.
INSERT INTO sira_canary_verdicts
    (rollout_id, phase, verdict, action, reasons, measurements, inputs, dispersion, evidence_from, evidence_through,
     judged_at)
SELECT rollout_id, phase, verdict, action, reasons, measurements, inputs, dispersion, to_timestamp(evidence_from),
       to_timestamp(evidence_through), to_timestamp(judged_at)
FROM jsonb_to_recordset(%(verdicts)s) AS judged (
    rollout_id uuid, phase int, verdict text, action text, reasons jsonb, measurements jsonb, inputs jsonb,
    dispersion float8, evidence_from float8, evidence_through float8, judged_at float8);

-- name: make_partitions
-- Create the log's partitions from yesterday to some days ahead.
SELECT sira_make_partitions((now() AT TIME ZONE 'UTC')::date - 1, (now() AT TIME ZONE 'UTC')::date + %(days_ahead)s::int);

-- name: drop_partitions
-- Drop partitions of the log that are older than the retention allows.
SELECT sira_drop_partitions((now() AT TIME ZONE 'UTC')::date - %(retention_days)s::int);

-- name: drop_evidence
-- Drop verdicts and evidence of rollouts that ended before the retention.
SELECT sira_drop_evidence((now() AT TIME ZONE 'UTC')::date - %(retention_days)s::int);

-- name: newest_rows
-- The time of the newest logged row per product, from the counts that are shipped with the rows: production's per half
-- minute, and a canary's buckets because at full share production has no rows.
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
-- Delete verdicts older than an hour that equal the one before, but keep the first of every ten minutes.
DELETE FROM sira_canary_verdicts v USING (
    SELECT rollout_id, tick,
           (phase, verdict, action, dispersion) IS NOT DISTINCT FROM
               lag((phase, verdict, action, dispersion)) OVER ticks AS repeats,
           date_bin('10 min', judged_at, 'epoch') = lag(date_bin('10 min', judged_at, 'epoch')) OVER ticks AS same_period
    FROM sira_canary_verdicts
    WHERE judged_at BETWEEN clock_timestamp() - interval '2 days' AND clock_timestamp() - interval '1 hour'
    WINDOW ticks AS (PARTITION BY rollout_id ORDER BY tick)) AS old
WHERE (v.rollout_id, v.tick) = (old.rollout_id, old.tick) AND old.repeats AND old.same_period;

-- name: drop_production_errors
-- Delete production's error counts once the estimate of the dispersion no longer reads them.
DELETE FROM sira_production_errors WHERE bucket_start < clock_timestamp() - interval '2 days';
