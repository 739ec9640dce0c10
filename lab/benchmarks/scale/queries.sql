-- Statements of the measurements in this folder.

-- name: log_size
-- Rows of the prediction log, bytes of its tables and indexes, and bytes of write-ahead log so far.
SELECT (SELECT count(*) FROM sira_predictions), sum(pg_table_size(inhrelid))::bigint,
       sum(pg_indexes_size(inhrelid))::bigint, pg_current_wal_lsn() - '0/0'
FROM pg_inherits WHERE inhparent = 'sira_predictions'::regclass;

-- name: lock_waits
-- Share of the busy shippers that wait for a lock.
SELECT avg((wait_event_type = 'Lock')::int) FROM pg_stat_activity
WHERE application_name = 'sira-shipper' AND state <> 'idle';

-- name: turn_clock
-- Replace clock_timestamp() in this session by the setting benchmarks.now.
CREATE SCHEMA turned_clock;
CREATE FUNCTION turned_clock.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
    $$ SELECT to_timestamp(current_setting('benchmarks.now')::float8) $$;
SET search_path = turned_clock, pg_catalog, public;

-- name: leave_unjudged
-- Make the evidence since then unjudged for every rollout.
UPDATE sira_canary_config SET sealed_through = date_bin('5 s', to_timestamp(%(since)s), 'epoch');

-- name: make_shapes
-- Create the table of bucket shapes.
CREATE TEMP TABLE shapes (
    shape int, arm text, requests int, errors int, blocked int, latency jsonb, scores jsonb);

-- name: add_shape
-- Add the shape of one bucket of one arm.
INSERT INTO shapes VALUES (%(shape)s, %(arm)s, %(requests)s, %(errors)s, %(blocked)s, %(latency)s, %(scores)s);

-- name: add_arm_evidence
-- Fill every rollout's evidence of both arms with shapes.
INSERT INTO sira_canary_evidence
    (rollout_id, phase, arm, bucket_start, requests, errors, allowed, blocked, latency, scores)
SELECT rollout_id, phase, arm, to_timestamp(at), requests, errors, requests - errors - blocked, blocked, latency, scores
FROM sira_canary_config
CROSS JOIN generate_series(%(first)s::bigint, %(until)s::bigint - 5, 5) AS at
JOIN shapes ON shape = (at / 5 + abs(hashtext(product))::bigint) %% %(shapes)s;

-- name: add_paired_evidence
-- Fill every rollout's paired evidence with shapes: no decision differs.
INSERT INTO sira_canary_paired_evidence (rollout_id, phase, bucket_start, n11, n10, n01, n00, decision_flips)
SELECT rollout_id, phase, to_timestamp(at), 1, 0, 0, requests - errors - 1, 0
FROM sira_canary_config
CROSS JOIN generate_series(%(first)s::bigint, %(until)s::bigint - 5, 5) AS at
JOIN shapes ON shape = (at / 5 + abs(hashtext(product))::bigint) %% %(shapes)s AND arm = 'canary';

-- name: add_production_errors
-- Fill production's errors per half minute and half with shapes.
INSERT INTO sira_production_errors (product, bucket_start, half, requests, errors)
SELECT product, to_timestamp(at), half, requests / 2 * 6, errors / 2 * 6
FROM sira_canary_config
CROSS JOIN generate_series(%(first)s::bigint / 30 * 30, %(until)s::bigint - 30, 30) AS at
CROSS JOIN generate_series(0, 1) AS half
JOIN shapes ON shape = (at / 30 + half + abs(hashtext(product))::bigint) %% %(shapes)s AND arm = 'production'
ON CONFLICT DO NOTHING;

-- name: make_log_sources
-- Create the tables that generated days draw products and payloads from.
CREATE TEMP TABLE log_products (
    number int PRIMARY KEY, product text, artifact_sha256 text, production_model_id uuid, canary_model_id uuid,
    rollout_id uuid, rollout_from date);
CREATE TEMP TABLE log_payloads (number int PRIMARY KEY, payload text, payload_sha256 text);

-- name: add_log_product
-- Add a product, with its rollout if it has one.
INSERT INTO log_products VALUES (%(number)s, %(product)s, %(artifact_sha256)s, %(production_model_id)s,
    %(canary_model_id)s, %(rollout_id)s, %(rollout_from)s);

-- name: add_log_payload
-- Add a payload.
INSERT INTO log_payloads VALUES (%(number)s, %(payload)s, %(payload_sha256)s);

-- name: log_by_day
-- The rows of each day, by the hourly sums.
SELECT (hour AT TIME ZONE 'UTC')::date AS day, sum(predictions)::bigint FROM sira_prediction_hours GROUP BY 1;

-- name: reopen_log_products
-- Add the products of a log that exists: enough to add its last hour.
INSERT INTO log_products (number, product)
SELECT row_number() OVER (), product FROM (SELECT DISTINCT product FROM sira_prediction_hours) AS logged;

-- name: backdate_rollout
-- Move the start of a rollout, and the time through which it was judged, into the past.
UPDATE sira_canary_config
SET created_at = %(since)s, step_started_at = %(since)s, sealed_through = date_bin('5 s', %(judged)s, 'epoch')
WHERE rollout_id = %(rollout_id)s;

-- name: make_log_partitions
-- Create the log's partitions for these days.
SELECT sira_make_partitions(%(first)s, %(last)s);

-- name: plan_whole_days
-- The planner has no statistics of a day that was just written and would look up its rows one by one.
SET LOCAL enable_nestloop = off;

-- name: generate_day
-- Generate a day. Half of its events are the first product's; during its rollout a tenth of them go to the canary.
INSERT INTO sira_predictions (
    prediction_id, day, created_at, product, event_id, routing_key, payload, payload_sha256, model_id, model_version,
    artifact_sha256, runtime_version, score, decision, review_threshold, block_threshold, variant, arm, rollout_id,
    phase, cached, latency_seconds, model_seconds, outcome)
SELECT md5(event_id)::uuid, %(day)s, at, product, event_id, event_id, payload::json, payload_sha256,
       CASE WHEN arm = 'canary' AND NOT failed THEN canary_model_id ELSE production_model_id END, 'benchmark',
       artifact_sha256, 'onnxruntime 1.32.0', score,
       CASE WHEN score >= 0.9 THEN 'block' WHEN score >= 0.7 THEN 'review' WHEN score IS NOT NULL THEN 'allow' END,
       0.7, 0.9, CASE WHEN failed THEN 'production' ELSE arm END, arm, rollout_id, phase, false,
       0.002 * exp(0.6 * normal), CASE WHEN NOT failed THEN 0.0006 * exp(0.4 * normal) END,
       CASE WHEN NOT failed THEN 'ok' WHEN arm = 'canary' THEN 'canary_error' ELSE 'error' END
FROM (
    SELECT *, CASE WHEN failed AND arm = 'production' THEN NULL ELSE power(chance, 6) END AS score
    FROM (
        SELECT p.product, p.artifact_sha256, p.production_model_id, p.canary_model_id, payload, payload_sha256,
               to_char(%(day)s::date, 'YYYYMMDD-') || to_char(n, 'FM000000000') AS event_id,
               (%(day)s::date + (n + 0.5) * interval '1 day' / %(rows)s) AT TIME ZONE 'UTC' AS at,
               CASE WHEN runs THEN p.rollout_id END AS rollout_id, CASE WHEN runs THEN 0 END AS phase,
               CASE WHEN runs AND n / 2 %% 10 = 0 THEN 'canary' ELSE 'production' END AS arm,
               random() AS chance, random() < 0.002 AS failed, random_normal() AS normal
        FROM generate_series(0, %(rows)s::int - 1) AS n
        JOIN log_products p ON p.number = CASE WHEN n %% 2 = 0 THEN 0 ELSE 1 + n / 2 %% (%(products)s - 1) END
        JOIN log_payloads ON log_payloads.number = n %% %(payloads)s
        CROSS JOIN LATERAL (SELECT p.rollout_id IS NOT NULL AND %(day)s >= p.rollout_from AS runs) AS rollout
    ) AS drawn
) AS scored;

-- name: add_last_hour
-- Add the last hour's requests, errors and latency histograms of every product, per half minute and half.
INSERT INTO sira_production_errors (product, bucket_start, half, requests, errors, latency)
SELECT product, date_bin('30 s', clock_timestamp(), 'epoch') - cell * interval '30 s', half,
       %(rows_per_hour)s / 240, %(rows_per_hour)s / 240 / 500,
       (SELECT jsonb_object_agg(bin::text, 1 + bin) FROM generate_series(10, 69) AS bin)
FROM log_products CROSS JOIN generate_series(1, 120) AS cell CROSS JOIN generate_series(0, 1) AS half
ON CONFLICT DO NOTHING;

-- name: log_statements
-- Write every statement into the server's log, with the name of its connection.
ALTER SYSTEM SET log_statement = 'all';

-- name: name_connections
-- See log_statements.
ALTER SYSTEM SET log_line_prefix = '%a ';

-- name: reload_settings
-- Let the server read its settings again.
SELECT pg_reload_conf();

-- name: reset_settings
-- Undo what was set, for a database that is kept.
ALTER SYSTEM RESET ALL;

-- name: add_hours_of_day
-- Add the hourly sums of a day, as shipping does.
INSERT INTO sira_prediction_hours (hour, product, model_id, variant, decision, outcome, predictions, cached, latency)
SELECT hour, product, model_id, variant, decision, outcome, sum(n), 0, jsonb_object_agg(bin, n)
FROM (SELECT date_trunc('hour', created_at, 'UTC') AS hour, product, model_id, variant,
             coalesce(decision, 'none') AS decision, outcome, sira_latency_bin(latency_seconds) AS bin, count(*) AS n
      FROM sira_predictions WHERE day = %(day)s GROUP BY 1, 2, 3, 4, 5, 6, 7) AS bins
GROUP BY 1, 2, 3, 4, 5, 6;

-- name: pair_day
-- Add paired predictions of the day's canary events; one in a hundred has another decision.
INSERT INTO sira_paired_predictions (
    prediction_id, day, created_at, rollout_id, phase, product, event_id, amount, canary_score, canary_decision,
    production_score, production_decision)
SELECT prediction_id, day, created_at, rollout_id, phase, product, event_id, (payload->>'amount')::float8, score,
       decision, score, CASE WHEN random() >= 0.01 THEN decision WHEN decision = 'allow' THEN 'review' ELSE 'allow' END
FROM sira_predictions WHERE day = %(day)s AND arm = 'canary' AND outcome = 'ok';

-- name: add_evidence_of_day
-- Add the evidence of both arms for a day, as shipping does.
INSERT INTO sira_canary_evidence
    (rollout_id, phase, arm, bucket_start, requests, errors, allowed, reviewed, blocked, latency, scores)
SELECT rollout_id, phase, arm, bucket_start, requests, errors, allowed, reviewed, blocked, coalesce(latency, '{}'),
       coalesce(scores, '{}')
FROM (SELECT rollout_id, phase, arm, date_bin('5 s', created_at, 'epoch') AS bucket_start, count(*) AS requests,
             count(*) FILTER (WHERE outcome <> 'ok') AS errors,
             count(*) FILTER (WHERE decision = 'allow' AND variant = arm) AS allowed,
             count(*) FILTER (WHERE decision = 'review' AND variant = arm) AS reviewed,
             count(*) FILTER (WHERE decision = 'block' AND variant = arm) AS blocked
      FROM sira_predictions WHERE day = %(day)s AND rollout_id IS NOT NULL GROUP BY 1, 2, 3, 4) AS counts
LEFT JOIN (SELECT rollout_id, phase, arm, bucket_start, jsonb_object_agg(bin, n) AS latency
      FROM (SELECT rollout_id, phase, arm, date_bin('5 s', created_at, 'epoch') AS bucket_start,
                   sira_latency_bin(model_seconds) AS bin, count(*) AS n
            FROM sira_predictions WHERE day = %(day)s AND model_seconds IS NOT NULL AND rollout_id IS NOT NULL
            GROUP BY 1, 2, 3, 4, 5) AS bins GROUP BY 1, 2, 3, 4) AS latencies
    USING (rollout_id, phase, arm, bucket_start)
LEFT JOIN (SELECT rollout_id, phase, arm, bucket_start, jsonb_object_agg(bin, n) AS scores
      FROM (SELECT rollout_id, phase, arm, date_bin('5 s', created_at, 'epoch') AS bucket_start,
                   least(floor(score * 20)::int, 19) AS bin, count(*) AS n
            FROM sira_predictions WHERE day = %(day)s AND score IS NOT NULL AND variant = arm AND rollout_id IS NOT NULL
            GROUP BY 1, 2, 3, 4, 5) AS bins GROUP BY 1, 2, 3, 4) AS distributions
    USING (rollout_id, phase, arm, bucket_start);

-- name: add_paired_evidence_of_day
-- Add the paired evidence of a day, as shipping does.
INSERT INTO sira_canary_paired_evidence (rollout_id, phase, bucket_start, n11, n10, n01, n00, decision_flips)
SELECT rollout_id, phase, date_bin('5 s', created_at, 'epoch'),
       count(*) FILTER (WHERE canary_decision = 'block' AND production_decision = 'block'),
       count(*) FILTER (WHERE canary_decision = 'block' AND production_decision <> 'block'),
       count(*) FILTER (WHERE canary_decision <> 'block' AND production_decision = 'block'),
       count(*) FILTER (WHERE canary_decision <> 'block' AND production_decision <> 'block'),
       count(*) FILTER (WHERE canary_decision <> production_decision)
FROM sira_paired_predictions WHERE day = %(day)s GROUP BY 1, 2, 3;

-- name: label_day
-- Label one in fifty of the day's paired events.
INSERT INTO sira_labels (product, event_id, label, source, labelled_at)
SELECT product, event_id, CASE WHEN random() < 0.5 THEN 'fraud' ELSE 'legitimate' END, 'review',
       created_at + interval '1 hour'
FROM sira_paired_predictions WHERE day = %(day)s AND random() < 0.02;

-- name: repeat_verdict
-- Repeat a verdict as a week of ticks leaves them: one per ten minutes, and each of the last hour.
INSERT INTO sira_canary_verdicts (rollout_id, phase, verdict, action, reasons, measurements, inputs, dispersion,
                                  evidence_from, evidence_through, judged_at)
SELECT rollout_id, phase, verdict, action, reasons, measurements, inputs, dispersion, at - interval '5 s', at, at
FROM (SELECT * FROM sira_canary_verdicts ORDER BY tick LIMIT 1) AS first
CROSS JOIN (SELECT generate_series(%(since)s::timestamptz, %(until)s::timestamptz, interval '10 min') AS at
            UNION SELECT generate_series(%(until)s::timestamptz - interval '1 hour', %(until)s, interval '5 s')) AS times
ORDER BY at;

-- name: views
-- Names of the product's views.
SELECT viewname FROM pg_views WHERE schemaname = 'public' AND viewname LIKE 'v\_%' ORDER BY viewname;
