-- Statements of backtest/jobs/store.py: one block per function.

-- name: is_migrated
-- Return whether the table exists.
SELECT to_regclass('sira_backtests') IS NOT NULL;

-- name: insert
-- Insert a backtest that waits for a process.
INSERT INTO sira_backtests (product, model_id, sha256, request, created_by)
VALUES (%(product)s, %(model_id)s::uuid, %(sha256)s, %(request)s, %(actor)s)
RETURNING *;

-- name: find
-- The backtest with this id.
SELECT * FROM sira_backtests WHERE backtest_id::text = %(backtest_id)s;

-- name: newest
-- The newest backtests of one product or of all, without their reports.
SELECT backtest_id, product, model_id, sha256, production_model_id, request, status, rows_total, rows_done,
       NULL::jsonb AS report, error, created_at, created_by, started_at, seen_at, ended_at
FROM sira_backtests WHERE %(product)s::text IS NULL OR product = %(product)s::text
ORDER BY created_at DESC LIMIT %(limit)s;

-- name: count_waiting
-- How many backtests of a product have not ended.
SELECT count(*) FROM sira_backtests WHERE product = %(product)s AND status IN ('waiting', 'running');

-- name: has_work
-- Return whether a backtest waits, or has a process that has not reported for a while.
SELECT EXISTS (SELECT FROM sira_backtests
               WHERE status = 'waiting'
                  OR (status = 'running' AND seen_at < clock_timestamp() - %(silent)s::interval));

-- name: count_by_status
-- How many backtests of each product have each status, and when the last of them ended.
SELECT product, status, count(backtest_id) AS backtests, max(ended_at) AS last_ended
FROM (SELECT DISTINCT product FROM sira_backtests) AS products
CROSS JOIN unnest(%(statuses)s::text[]) AS status
LEFT JOIN sira_backtests USING (product, status)
GROUP BY product, status;

-- name: take
-- Take the oldest backtest that waits, or whose process has not reported for a while.
UPDATE sira_backtests SET status = 'running', started_at = clock_timestamp(), seen_at = clock_timestamp(), rows_done = 0
WHERE backtest_id = (
    SELECT backtest_id FROM sira_backtests
    WHERE status = 'waiting' OR (status = 'running' AND seen_at < clock_timestamp() - %(silent)s::interval)
    ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING *;

-- name: report_progress
-- Record how far a backtest is, and that its process lives.
UPDATE sira_backtests SET rows_total = %(total)s, rows_done = %(done)s, seen_at = clock_timestamp()
WHERE backtest_id = %(backtest_id)s::uuid AND status = 'running';

-- name: finish
-- Record the report.
UPDATE sira_backtests
SET status = 'done', report = %(report)s, production_model_id = %(production_model_id)s::uuid, ended_at = clock_timestamp()
WHERE backtest_id = %(backtest_id)s::uuid AND status = 'running';

-- name: fail
-- Record why there is no report.
UPDATE sira_backtests SET status = 'failed', error = %(error)s, ended_at = clock_timestamp()
WHERE backtest_id = %(backtest_id)s::uuid AND status = 'running';
