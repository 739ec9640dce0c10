-- The overview's figures: for console/overview/store.py and traffic.py. Each is one query for all products.

-- name: products
-- Each product with its production version; versions that serve nothing are counted only.
SELECT product, production.model_id::text, production.name, production.version, production.updated_at AS since,
       counted.versions
FROM (SELECT product, count(*) AS versions FROM siramodel_registry GROUP BY product) AS counted
LEFT JOIN LATERAL (SELECT model_id, name, version, updated_at FROM siramodel_registry r
                   WHERE r.product = counted.product AND status = 'production') AS production ON true
ORDER BY product;

-- name: rollouts
-- Each live rollout, and those that were rolled back within a day, with the latest verdict.
SELECT c.product, c.rollout_id::text, c.status, c.canary_percent, c.step, jsonb_array_length(c.plan->'steps') AS steps,
       c.step_started_at, c.ended_at, canary.name || ' ' || canary.version AS canary, judged.verdict, judged.reasons,
       judged.judged_at
FROM sira_canary_config c
JOIN siramodel_registry canary ON canary.model_id = c.canary_model_id
LEFT JOIN LATERAL (SELECT verdict, reasons, judged_at FROM sira_canary_verdicts v
                   WHERE v.rollout_id = c.rollout_id ORDER BY tick DESC LIMIT 1) AS judged ON true
WHERE c.status IN ('running', 'paused')
   OR (c.status = 'rolled_back' AND c.ended_at > %(now)s::timestamptz - interval '1 day')
ORDER BY c.product, c.created_at DESC LIMIT 200;

-- name: decisions_by_hour
-- What was decided in each of the last 24 hours.
SELECT product, hour, coalesce(sum(predictions) FILTER (WHERE decision = 'allow'), 0)::bigint AS allowed,
       coalesce(sum(predictions) FILTER (WHERE decision = 'review'), 0)::bigint AS reviewed,
       coalesce(sum(predictions) FILTER (WHERE decision = 'block'), 0)::bigint AS blocked,
       coalesce(sum(predictions) FILTER (WHERE decision = 'none'), 0)::bigint AS failed
FROM sira_prediction_hours
WHERE hour > date_trunc('hour', %(now)s::timestamptz, 'UTC') - interval '24 hours'
GROUP BY product, hour ORDER BY product, hour;

-- name: last_hour
-- Requests and errors of the production arm in the complete cells of 30 s of the last hour.
SELECT product, bucket_start, sum(requests)::bigint AS requests, sum(errors)::bigint AS errors
FROM sira_production_errors
WHERE bucket_start >= date_bin('30 s', %(now)s::timestamptz, 'epoch') - interval '1 hour'
  AND bucket_start < date_bin('30 s', %(now)s::timestamptz, 'epoch')
GROUP BY product, bucket_start;

-- name: cell_latency
-- The latency histograms of some cells, one row per half.
SELECT product, bucket_start, latency::text FROM sira_production_errors
JOIN unnest(%(products)s::text[], %(starts)s::timestamptz[]) AS cells (product, bucket_start)
    USING (product, bucket_start);

-- name: canary_last_hour
-- Requests and errors of the canary arm of live rollouts in the last hour, per 30 s.
SELECT c.product, date_bin('30 s', bucket_start, 'epoch') AS bucket_start, sum(requests)::bigint AS requests,
       sum(errors)::bigint AS errors
FROM sira_canary_config c JOIN sira_canary_evidence e USING (rollout_id)
WHERE c.status IN ('running', 'paused') AND arm = 'canary' AND e.phase >= 0
  AND bucket_start >= date_bin('30 s', %(now)s::timestamptz, 'epoch') - interval '1 hour'
GROUP BY 1, 2;

-- name: lease
-- When a controller last judged.
SELECT acted_at FROM sira_controller_lease;
