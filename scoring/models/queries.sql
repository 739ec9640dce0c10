-- Statements of scoring/models/store.py.

-- name: running_rollouts
-- Every rollout that may route traffic. Reads sira_canary_config, a table of canary.
SELECT rollout_id::text, product, canary_model_id::text, phase, canary_percent, limits,
       extract(epoch FROM clock_timestamp() - sealed_through)::float8 AS unjudged_seconds
FROM sira_canary_config WHERE status IN ('running', 'paused')
ORDER BY product
