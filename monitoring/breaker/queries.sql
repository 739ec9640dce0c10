-- The breakers: one block per function of monitoring/breaker/store.py.

-- name: breaker_exists
-- Return whether migration 006 has run.
SELECT to_regclass('sira_breaker') IS NOT NULL;

-- name: breakers
-- The breaker of every product that has one.
SELECT product, enabled, max_block_share, quiet_seconds, tripped_at, tripped_share, quiet_since
FROM sira_breaker ORDER BY product;

-- name: lock_breakers
-- The same, after every other change to them has ended.
SELECT product, enabled, max_block_share, quiet_seconds, tripped_at, tripped_share, quiet_since
FROM sira_breaker ORDER BY product FOR UPDATE;

-- name: store_breaker
-- Store the breaker of one product.
INSERT INTO sira_breaker (product, enabled, max_block_share, quiet_seconds, tripped_at, tripped_share, quiet_since)
VALUES (%(product)s, %(enabled)s, %(max_block_share)s, %(quiet_seconds)s, %(tripped_at)s, %(tripped_share)s,
        %(quiet_since)s)
ON CONFLICT (product) DO UPDATE SET enabled = excluded.enabled, max_block_share = excluded.max_block_share,
    quiet_seconds = excluded.quiet_seconds, tripped_at = excluded.tripped_at, tripped_share = excluded.tripped_share,
    quiet_since = excluded.quiet_since;

-- name: block_shares
-- The share of events that each product's model wanted to block since a moment. Reads what the guard counted.
SELECT product, sum(blocked)::float8 / sum(requests) FROM sira_production_decisions
WHERE bucket_start > %(since)s GROUP BY product;

-- name: downgraded
-- Reviews by product and hour that the model wanted to block. Reads a table of scoring, by its index of such rows.
SELECT product, hour, count(*) AS downgraded FROM unnest(%(hours)s::timestamptz[]) AS hour
CROSS JOIN LATERAL (
    SELECT product FROM sira_predictions p
    WHERE p.created_at >= hour AND p.created_at < hour + interval '1 hour' AND p.day = (hour AT TIME ZONE 'UTC')::date
      AND decision = 'review' AND score >= block_threshold AND variant = 'production'
      AND p.product = ANY(%(products)s)) AS found
GROUP BY product, hour;

-- name: product_exists
-- Return whether a version of the product is registered. Reads a table of the registry.
SELECT EXISTS (SELECT FROM siramodel_registry WHERE product = %(product)s);
