-- Statements of scoring/models/store.py.

-- name: running_rollouts
-- Every rollout that may route traffic. Reads sira_canary_config, a table of canary.
SELECT rollout_id::text, product, canary_model_id::text, phase, canary_percent, limits,
       extract(epoch FROM clock_timestamp() - sealed_through)::float8 AS unjudged_seconds
FROM sira_canary_config WHERE status IN ('running', 'paused')
ORDER BY product;

-- name: breaker_exists
-- Return whether migration 006 has run.
SELECT to_regclass('sira_breaker') IS NOT NULL;

-- name: tripped_breakers
-- The products whose blocks become reviews. Reads a table of monitoring.
SELECT product FROM sira_breaker WHERE tripped_at IS NOT NULL ORDER BY product

-- name: control_groups_exist
-- Return whether migration 012 has run.
SELECT to_regclass('sira_control_group') IS NOT NULL;

-- name: control_groups
-- The control groups that are on. Reads a table of monitoring.
SELECT product, share, answer, max_per_day, max_amount, amount_field, seed
FROM sira_control_group WHERE enabled ORDER BY product;

-- name: open_day
-- Begin a day's count of slots; workers that begin it at once wait for each other.
INSERT INTO sira_control_slots (product, day, taken) VALUES (%(product)s, %(day)s, 0) ON CONFLICT DO NOTHING;

-- name: lock_slots
-- The slots that are still to be had, which only this transaction may take; no row when the group is off.
SELECT greatest(0, max_per_day - taken) FROM sira_control_slots s JOIN sira_control_group g USING (product)
WHERE (product, day) = (%(product)s, %(day)s) AND enabled FOR UPDATE OF s;

-- name: take_slots
-- Take slots, or give them back.
UPDATE sira_control_slots SET taken = greatest(0, taken + %(slots)s::int)
WHERE (product, day) = (%(product)s, %(day)s);
