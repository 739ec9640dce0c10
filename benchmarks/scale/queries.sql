-- Statements of the measurements: one block per use.

-- name: turn_clock
CREATE SCHEMA turned_clock;
CREATE FUNCTION turned_clock.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
    $$ SELECT to_timestamp(current_setting('benchmarks.now')::float8) $$;
SET search_path = turned_clock, pg_catalog, public;

-- name: leave_unjudged
UPDATE sira_canary_config SET sealed_through = date_bin('5 s', to_timestamp(%(since)s), 'epoch');

-- name: make_shapes
CREATE TEMP TABLE shapes (
    shape int, arm text, requests int, errors int, blocked int, latency jsonb, scores jsonb);

-- name: add_shape
INSERT INTO shapes VALUES (%(shape)s, %(arm)s, %(requests)s, %(errors)s, %(blocked)s, %(latency)s, %(scores)s);

-- name: add_arm_evidence
INSERT INTO sira_canary_evidence
    (rollout_id, phase, arm, bucket_start, requests, errors, allowed, blocked, latency, scores)
SELECT rollout_id, phase, arm, to_timestamp(at), requests, errors, requests - errors - blocked, blocked, latency, scores
FROM sira_canary_config
CROSS JOIN generate_series(%(first)s::bigint, %(until)s::bigint - 5, 5) AS at
JOIN shapes ON shape = (at / 5 + abs(hashtext(product))::bigint) %% %(shapes)s;

-- name: add_paired_evidence
INSERT INTO sira_canary_paired_evidence (rollout_id, phase, bucket_start, n11, n10, n01, n00, decision_flips)
SELECT rollout_id, phase, to_timestamp(at), 1, 0, 0, requests - errors - 1, 0
FROM sira_canary_config
CROSS JOIN generate_series(%(first)s::bigint, %(until)s::bigint - 5, 5) AS at
JOIN shapes ON shape = (at / 5 + abs(hashtext(product))::bigint) %% %(shapes)s AND arm = 'canary';

-- name: add_production_errors
INSERT INTO sira_production_errors (product, bucket_start, half, requests, errors)
SELECT product, to_timestamp(at), half, requests / 2 * 6, errors / 2 * 6
FROM sira_canary_config
CROSS JOIN generate_series(%(first)s::bigint / 30 * 30, %(until)s::bigint - 30, 30) AS at
CROSS JOIN generate_series(0, 1) AS half
JOIN shapes ON shape = (at / 30 + half + abs(hashtext(product))::bigint) %% %(shapes)s AND arm = 'production'
ON CONFLICT DO NOTHING;
