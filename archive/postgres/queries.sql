-- Statements of archive/store.py and archive/source.py.

-- name: take_lock
-- One process archives at a time; the lock ends with its connection.
SELECT pg_try_advisory_lock(hashtext('sira_archive'))

-- name: is_locked
-- True while a process archives this database.
SELECT EXISTS (SELECT FROM pg_locks JOIN pg_database d ON d.oid = database
               WHERE locktype = 'advisory' AND datname = current_database() AND objsubid = 1
                 AND (classid::bigint << 32 | objid::bigint) = hashtext('sira_archive')::bigint)

-- name: still_connected
-- The backend that holds the lock, to notice a connection that was replaced.
SELECT pg_backend_pid()

-- name: tables
-- Which of these tables exist.
SELECT name FROM unnest(%(names)s::text[]) AS name WHERE to_regclass('public.' || name) IS NOT NULL

-- name: columns
-- The columns of a table with their types, and whether each is part of the primary key.
SELECT a.attname, format_type(a.atttypid, NULL), coalesce(a.attnum = ANY(i.indkey), false)
FROM pg_attribute a LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary
WHERE a.attrelid = to_regclass('public.' || %(table)s) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum

-- name: declared_fields
-- The fields in the signatures of a product's versions.
SELECT DISTINCT field->>'name', field->>'kind'
FROM siramodel_registry, jsonb_array_elements(signature->'fields') AS field
WHERE product = %(product)s ORDER BY 1, 2

-- name: oldest_day
-- The oldest day with a partition of the log.
SELECT min(to_date(right(c.relname, 8), 'YYYYMMDD'))
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'public.sira_predictions'::regclass AND c.relname ~ '_[0-9]{8}$'

-- name: days_behind
-- Closed days of which the archive has fewer predictions in any hour than were counted when they were shipped.
SELECT DISTINCT counted.day FROM (
    SELECT product, (hour AT TIME ZONE 'UTC')::date AS day, extract(hour FROM hour AT TIME ZONE 'UTC')::int AS hour,
           sum(n) AS n
    FROM (SELECT product, hour, predictions AS n FROM sira_prediction_hours
          UNION ALL SELECT product, hour, -rows FROM sira_log_losses) AS counted_or_lost
    WHERE hour >= %(oldest)s::date::timestamp AT TIME ZONE 'UTC'
      AND hour < (%(newest)s::date + 1)::timestamp AT TIME ZONE 'UTC' GROUP BY 1, 2, 3) AS counted
LEFT JOIN sira_archive_days a ON (a.kind, a.product, a.day) = ('log', counted.product, counted.day)
WHERE coalesce((a.hours->>counted.hour::text)::bigint, 0) < counted.n
ORDER BY 1

-- name: newest_archived
-- The newest archived day of a kind.
SELECT max(day) FROM sira_archive_days WHERE kind = %(kind)s

-- name: oldest_label
-- The day of the oldest label.
SELECT (min(received_at) AT TIME ZONE 'UTC')::date FROM sira_labels

-- name: count_log
-- Predictions of a day by product and hour.
SELECT product, extract(hour FROM created_at AT TIME ZONE 'UTC')::int, count(*)
FROM sira_predictions WHERE day = %(day)s GROUP BY 1, 2

-- name: count_paired
-- Paired predictions of a day by product and hour.
SELECT product, extract(hour FROM created_at AT TIME ZONE 'UTC')::int, count(*)
FROM sira_paired_predictions WHERE day = %(day)s GROUP BY 1, 2

-- name: count_labels
-- Labels that were received on a day, by product and hour.
SELECT product, extract(hour FROM received_at AT TIME ZONE 'UTC')::int, count(*)
FROM sira_labels
WHERE received_at >= %(day)s::date::timestamp AT TIME ZONE 'UTC'
  AND received_at < (%(day)s::date + 1)::timestamp AT TIME ZONE 'UTC' GROUP BY 1, 2

-- name: count_reasons
-- Reasons of a day's predictions by product and hour.
SELECT product, extract(hour FROM created_at AT TIME ZONE 'UTC')::int, count(*)
FROM sira_prediction_reasons WHERE day = %(day)s GROUP BY 1, 2

-- name: copy_log
-- Predictions of some hours. No order: the table is nearly in the order of time, and each row group is sorted.
COPY (SELECT {columns} FROM sira_predictions
      WHERE day = %(day)s AND product = %(product)s AND created_at >= %(since)s AND created_at < %(until)s)
TO STDOUT

-- name: copy_paired
-- Paired predictions of some hours.
COPY (SELECT {columns} FROM sira_paired_predictions
      WHERE day = %(day)s AND product = %(product)s AND created_at >= %(since)s AND created_at < %(until)s)
TO STDOUT

-- name: copy_labels
-- Labels that were received in some hours.
COPY (SELECT {columns} FROM sira_labels
      WHERE product = %(product)s AND received_at >= %(since)s AND received_at < %(until)s)
TO STDOUT

-- name: copy_reasons
-- Reasons of the predictions of some hours.
COPY (SELECT {columns} FROM sira_prediction_reasons
      WHERE day = %(day)s AND product = %(product)s AND created_at >= %(since)s AND created_at < %(until)s)
TO STDOUT

-- name: first_day
-- The oldest day of a product, in Postgres or in the archive.
SELECT min(day) FROM (
    SELECT (min(hour) AT TIME ZONE 'UTC')::date AS day FROM sira_prediction_hours WHERE product = %(product)s
    UNION ALL SELECT min(day) FROM sira_archive_days WHERE product = %(product)s AND kind = 'log') AS days

-- name: labels_of
-- The label of each of these events that counts: the latest.
SELECT DISTINCT ON (event_id) event_id, label FROM sira_labels
WHERE product = %(product)s AND event_id = ANY(%(event_ids)s)
ORDER BY event_id, labelled_at DESC, received_at DESC

-- name: record_day
-- Copy the counts of a manifest. A change of the counts means that the day must be verified again.
INSERT INTO sira_archive_days AS a (kind, product, day, rows, bytes, parts, hours)
VALUES (%(kind)s, %(product)s, %(day)s, %(rows)s, %(bytes)s, %(parts)s, %(hours)s)
ON CONFLICT (kind, product, day) DO UPDATE SET
    rows = excluded.rows, bytes = excluded.bytes, parts = excluded.parts, hours = excluded.hours,
    archived_at = CASE WHEN a.rows = excluded.rows THEN a.archived_at ELSE clock_timestamp() END,
    verified_at = CASE WHEN a.rows = excluded.rows THEN a.verified_at END

-- name: record_verified
-- The parts of a day were read back, and every row that Postgres has is in them.
UPDATE sira_archive_days SET verified_at = clock_timestamp()
WHERE (kind, product, day) = (%(kind)s, %(product)s, %(day)s)

-- name: recorded_days
-- What the archive holds.
SELECT kind, product, day, rows, bytes, parts, hours, archived_at, verified_at FROM sira_archive_days
WHERE (%(product)s::text IS NULL OR product = %(product)s) AND (%(kind)s::text IS NULL OR kind = %(kind)s)
  AND (%(since)s::date IS NULL OR day >= %(since)s) AND (%(until)s::date IS NULL OR day <= %(until)s)
ORDER BY day, product, kind

-- name: days_to_drop
-- Days with a partition of the log that are older than the retention.
SELECT to_date(right(c.relname, 8), 'YYYYMMDD') AS day
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'public.sira_predictions'::regclass AND c.relname ~ '_[0-9]{8}$'
  AND to_date(right(c.relname, 8), 'YYYYMMDD') < (now() AT TIME ZONE 'UTC')::date - %(retention_days)s::int
ORDER BY 1

-- name: drop_day
-- Drop a day of the log if the archive has all of it.
SELECT sira_drop_archived_day(%(day)s)

-- name: hours_of_log
-- Per product and hour: rows that workers have shipped, rows that were counted with their insert, rows in the archive,
-- and rows that are known to be lost.
SELECT product, hour, coalesce(max(n) FILTER (WHERE source = 'shipped'), 0)::bigint,
       coalesce(max(n) FILTER (WHERE source = 'counted'), 0)::bigint,
       coalesce(max(n) FILTER (WHERE source = 'archived'), 0)::bigint,
       coalesce(max(n) FILTER (WHERE source = 'lost'), 0)::bigint
FROM (
    SELECT 'shipped' AS source, product, hour, sum(rows) AS n FROM sira_shipped_hours
    WHERE hour >= %(since)s GROUP BY 2, 3
    UNION ALL
    SELECT 'counted', product, hour, sum(predictions) FROM sira_prediction_hours WHERE hour >= %(since)s GROUP BY 2, 3
    UNION ALL
    SELECT 'archived', product, (day + make_interval(hours => key::int)) AT TIME ZONE 'UTC', value::bigint
    FROM sira_archive_days, jsonb_each_text(hours) WHERE kind = 'log' AND day >= (%(since)s AT TIME ZONE 'UTC')::date
    UNION ALL
    SELECT 'lost', product, hour, sum(rows) FROM sira_log_losses WHERE hour >= %(since)s GROUP BY 2, 3) AS counts
WHERE hour >= %(since)s
GROUP BY 1, 2 ORDER BY 2, 1

-- name: accept_loss
-- Record that rows of an hour are lost.
INSERT INTO sira_log_losses (product, hour, rows, reason, actor)
VALUES (%(product)s, %(hour)s, %(rows)s, %(reason)s, %(actor)s)

-- name: drop_shipped_hours
-- Delete reports that workers no longer repeat.
DELETE FROM sira_shipped_hours WHERE hour < clock_timestamp() - interval '60 days'
