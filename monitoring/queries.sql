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

-- name: profiles_exist
-- Return whether migration 005 has run.
SELECT to_regclass('sira_input_profiles') IS NOT NULL;

-- name: lock_profiles
-- Only one controller counts at a time; the others publish what is stored.
SELECT pg_try_advisory_xact_lock(hashtext('sira_input_profiles')), clock_timestamp();

-- name: profile_position
-- How far the log has been read.
SELECT day, row::text AS row FROM sira_input_profile_position;

-- name: store_profile_position
-- Remember how far the log has been read.
INSERT INTO sira_input_profile_position (day, row) VALUES (%(day)s, %(row)s::tid)
ON CONFLICT (singleton) DO UPDATE SET day = excluded.day, row = excluded.row;

-- name: log_blocks
-- The size of a day's partition in blocks. Reads a table of scoring.
SELECT pg_relation_size(coalesce(to_regclass('sira_predictions_' || to_char(%(day)s::date, 'YYYYMMDD')),
                                 to_regclass('sira_predictions_default'))) / current_setting('block_size')::bigint;

-- name: logged_events
-- The events that production answered, of a day's partition, between two positions. Reads a table of scoring.
SELECT ctid::text AS row, date_trunc('hour', created_at, 'UTC') AS hour, product, model_id::text AS model_id,
       payload::text AS payload
FROM sira_predictions
WHERE day = %(day)s AND ctid > %(after)s::tid AND ctid < %(end)s::tid AND variant = 'production';

-- name: first_full_day
-- The first whole day on which a version answered as production, and its events of that day. Reads a table of scoring.
SELECT first.day, coalesce(sum(h.predictions), 0)::bigint AS events
FROM (SELECT min(hour AT TIME ZONE 'UTC')::date + 1 AS day FROM sira_prediction_hours
      WHERE model_id = %(model_id)s AND variant = 'production') AS first
LEFT JOIN sira_prediction_hours AS h
    ON h.model_id = %(model_id)s AND h.variant = 'production' AND (h.hour AT TIME ZONE 'UTC')::date = first.day
WHERE first.day IS NOT NULL
GROUP BY first.day;

-- name: sampled_events
-- A share of the events that a version answered on a day. Reads a table of scoring.
SELECT payload::text FROM sira_predictions TABLESAMPLE BERNOULLI (%(percent)s)
WHERE day = %(day)s AND model_id = %(model_id)s AND variant = 'production';

-- name: baseline
-- What is normal for a version's fields.
SELECT source, fields, made_at FROM sira_input_baselines WHERE model_id = %(model_id)s;

-- name: insert_baseline
-- Keep what is normal for a version's fields; it never changes.
INSERT INTO sira_input_baselines (model_id, source, fields) VALUES (%(model_id)s, %(source)s, %(fields)s)
ON CONFLICT DO NOTHING;

-- name: profile
-- A version's counts of the hours from one on, by field.
SELECT field, hour, counts FROM sira_input_profiles
WHERE product = %(product)s AND model_id = %(model_id)s AND hour >= %(since)s ORDER BY hour, field;

-- name: store_profile
-- Replace the counts of one field and hour.
INSERT INTO sira_input_profiles (product, model_id, hour, field, counts)
VALUES (%(product)s, %(model_id)s, %(hour)s, %(field)s, %(counts)s)
ON CONFLICT (product, hour, model_id, field) DO UPDATE SET counts = excluded.counts;

-- name: drop_profiles
-- Delete counts older than 90 days.
DELETE FROM sira_input_profiles WHERE hour < clock_timestamp() - interval '90 days';

-- name: guard_of
-- The guard's state of one product.
SELECT ready, block_share_jumped, review_share_jumped FROM v_production_guard WHERE product = %(product)s;
