-- Production's decisions and the guard's state: one block per function of monitoring/store.py.

-- name: guard_exists
-- Return whether migration 004 has run.
SELECT to_regclass('sira_production_guard') IS NOT NULL;

-- name: lock_guard
-- Only one controller counts at a time; the others publish what is stored.
SELECT pg_try_advisory_xact_lock(hashtext('sira_guard')), clock_timestamp();

-- name: guard_rows
-- The guard's state of every product.
SELECT product, counted_at, totals, wealth, firing, ready FROM sira_production_guard ORDER BY product;

-- name: recent_totals
-- What production decided in this hour and the two before, by product and hour. Reads a table of scoring.
SELECT product, to_char(hour AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24') AS hour,
       sum(predictions)::bigint AS requests,
       coalesce(sum(predictions) FILTER (WHERE decision = 'review'), 0)::bigint AS reviewed,
       coalesce(sum(predictions) FILTER (WHERE decision = 'block'), 0)::bigint AS blocked
FROM sira_prediction_hours
WHERE variant = 'production' AND hour >= date_trunc('hour', %(now)s::timestamptz, 'UTC') - interval '2 hours'
GROUP BY product, hour;

-- name: past_hours
-- The same of the last seven days, for the hours around the present one. Reads a table of scoring.
SELECT product, (date_trunc('hour', %(now)s::timestamptz, 'UTC') - hour) AS age,
       sum(predictions)::bigint AS requests,
       coalesce(sum(predictions) FILTER (WHERE decision = 'review'), 0)::bigint AS reviewed,
       coalesce(sum(predictions) FILTER (WHERE decision = 'block'), 0)::bigint AS blocked
FROM sira_prediction_hours
WHERE variant = 'production' AND hour = ANY(%(hours)s::timestamptz[])
GROUP BY product, hour;

-- name: day_of_cells
-- Decisions of the last day in cells of 30 s, by product, hour and cell.
SELECT product, extract(epoch FROM date_bin('30 s', bucket_start, 'epoch'))::bigint AS cell,
       sum(requests)::bigint AS requests, sum(reviewed)::bigint AS reviewed, sum(blocked)::bigint AS blocked
FROM sira_production_decisions
WHERE bucket_start >= %(now)s::timestamptz - interval '1 day'
GROUP BY product, cell ORDER BY product, cell;

-- name: insert_decisions
-- Record what was decided since the last look.
INSERT INTO sira_production_decisions (product, bucket_start, requests, reviewed, blocked)
VALUES (%(product)s, %(now)s, %(requests)s, %(reviewed)s, %(blocked)s) ON CONFLICT DO NOTHING;

-- name: store_guard
-- Store the guard's state of one product.
INSERT INTO sira_production_guard (product, counted_at, totals, wealth, firing, ready)
VALUES (%(product)s, %(now)s, %(totals)s, %(wealth)s, %(firing)s, %(ready)s)
ON CONFLICT (product) DO UPDATE SET counted_at = excluded.counted_at, totals = excluded.totals,
    wealth = excluded.wealth, firing = excluded.firing, ready = excluded.ready;

-- name: drop_decisions
-- Delete decisions older than two days.
DELETE FROM sira_production_decisions WHERE bucket_start < clock_timestamp() - interval '2 days';
