-- What the pages of rollouts read: one block per function of store.py and course.py.

-- name: verdict_ticks
-- At most `points` verdicts of a rollout in order. They are counted from the oldest, so that most stay the same when
-- another one is added; the newest is among them.
SELECT tick FROM (SELECT tick, row_number() OVER (ORDER BY tick) AS n, count(*) OVER () AS total
                  FROM sira_canary_verdicts WHERE rollout_id = %(rollout_id)s::uuid) AS numbered
WHERE n = total OR n %% ceil(total / %(points)s::float8)::bigint = 0
ORDER BY n;

-- name: verdicts
-- The verdicts of these ticks.
SELECT tick, judged_at, phase, verdict, action, reasons::text, measurements::text FROM sira_canary_verdicts
WHERE rollout_id = %(rollout_id)s::uuid AND tick = ANY(%(ticks)s);

-- name: names
-- The names of versions by their ids.
SELECT model_id::text, name || ' ' || version AS name FROM siramodel_registry WHERE model_id = ANY(%(model_ids)s::uuid[]);

-- name: requests_per_second
-- What a product has been asked per second for about the last two minutes, without and by its canary.
WITH span AS (SELECT first, extract(epoch FROM %(now)s::timestamptz - first)::float8 AS seconds
              FROM (SELECT date_bin('30 s', %(now)s::timestamptz, 'epoch') - interval '90 s' AS first) AS cells)
SELECT coalesce((SELECT sum(requests) FROM sira_production_errors
                 WHERE product = %(product)s AND bucket_start >= first), 0)::float8 / seconds AS production,
       coalesce((SELECT sum(requests) FROM sira_canary_evidence e JOIN sira_canary_config c USING (rollout_id)
                 WHERE c.product = %(product)s AND c.status IN ('running', 'paused') AND arm = 'canary'
                   AND bucket_start >= first), 0)::float8 / seconds AS canary
FROM span;

-- name: rollbacks
-- Why a rollout was rolled back.
SELECT created_at, reason, rolled_back_by FROM sira_canary_rollback_log
WHERE rollout_id = %(rollout_id)s::uuid ORDER BY created_at;

-- name: candidates
-- Versions that a rollout could start with, newest first: those of products without a live one.
SELECT model_id::text, product, name, version, created_at FROM siramodel_registry r
WHERE status IN ('staging', 'canary')
  AND NOT EXISTS (SELECT FROM sira_canary_config c WHERE c.product = r.product AND c.status IN ('running', 'paused'))
  AND EXISTS (SELECT FROM siramodel_registry p WHERE p.product = r.product AND p.status = 'production')
ORDER BY created_at DESC LIMIT 200;
