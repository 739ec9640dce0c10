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
