-- 007: the archive: what the manifests in the bucket say, and which days of the log may be dropped.
-- Runs with plain `psql \i`, in one transaction, and is safe to run twice.

BEGIN;

SELECT pg_advisory_xact_lock(hashtext('sira_migrations'));

-- A copy of each manifest's counts. The manifest in the bucket is the record; this table can be made again from it.
CREATE TABLE IF NOT EXISTS sira_archive_days (
    kind         text NOT NULL CHECK (kind IN ('log', 'paired', 'labels', 'reasons')),
    product      text NOT NULL,
    day          date NOT NULL,
    rows         bigint NOT NULL CHECK (rows >= 0),
    bytes        bigint NOT NULL,
    parts        int NOT NULL,
    hours        jsonb NOT NULL,                 -- UTC hour of the day -> rows
    archived_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    verified_at  timestamptz,                    -- parts read back, and every row of Postgres found in them
    PRIMARY KEY (kind, product, day)
);
CREATE INDEX IF NOT EXISTS sira_archive_days_day ON sira_archive_days (day);

-- Rows of the log that are known to be lost, so that they no longer raise an alarm and no longer keep their day.
CREATE TABLE IF NOT EXISTS sira_log_losses (
    product      text NOT NULL,
    hour         timestamptz NOT NULL CHECK (hour = date_trunc('hour', hour, 'UTC')),
    rows         bigint NOT NULL CHECK (rows > 0),
    reason       text NOT NULL CHECK (length(reason) > 0),
    actor        text NOT NULL DEFAULT session_user,
    accepted_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (product, hour, accepted_at)
);

-- Returns whether the archive was verified within the last day and has that many rows of an hour.
CREATE OR REPLACE FUNCTION sira_archive_has(dataset text, of_product text, of_day date, of_hour int, n bigint)
RETURNS boolean LANGUAGE sql STABLE SET search_path = pg_catalog, public AS $$
    SELECT EXISTS (SELECT FROM sira_archive_days
                   WHERE (kind, product, day) = (dataset, of_product, of_day)
                     AND verified_at > now() - interval '1 day' AND coalesce((hours->>of_hour::text)::bigint, 0) >= n)
$$;

-- Drops a day of the log if the archive was verified within the last day and has, hour by hour, at least the rows that
-- Postgres has and has counted. Returns the number of partitions, or 0 if the day must stay.
CREATE OR REPLACE FUNCTION sira_drop_archived_day(archived_day date) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    kinds text[][] := ARRAY[['log', 'sira_predictions'], ['paired', 'sira_paired_predictions'],
                            ['reasons', 'sira_prediction_reasons']];
    kind text[]; child text; dropped int := 0; lacks boolean;
BEGIN
    IF archived_day > (now() AT TIME ZONE 'UTC')::date - 31 THEN
        RAISE EXCEPTION 'the last 30 days of the log are never dropped: % is too late', archived_day;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('sira_partitions'));
    FOREACH kind SLICE 1 IN ARRAY kinds LOOP
        CONTINUE WHEN to_regclass('public.' || kind[2]) IS NULL;
        EXECUTE format(
            'SELECT EXISTS (SELECT FROM (SELECT product, extract(hour FROM created_at AT TIME ZONE ''UTC'')::int AS hour,'
            ' count(*) AS n FROM public.%I WHERE day = $1 GROUP BY 1, 2) AS counted'
            ' WHERE NOT sira_archive_has($2, product, $1, hour, n))', kind[2])
        INTO lacks USING archived_day, kind[1];
        IF lacks THEN
            RETURN 0;
        END IF;
    END LOOP;
    IF EXISTS (SELECT FROM (
            SELECT product, extract(hour FROM hour AT TIME ZONE 'UTC')::int AS hour, sum(n)::bigint AS n
            FROM (SELECT product, hour, predictions AS n FROM sira_prediction_hours
                  UNION ALL SELECT product, hour, -rows FROM sira_log_losses) AS counted_or_lost
            WHERE hour >= archived_day::timestamp AT TIME ZONE 'UTC'
              AND hour < (archived_day + 1)::timestamp AT TIME ZONE 'UTC' GROUP BY 1, 2) AS counted
        WHERE NOT sira_archive_has('log', product, archived_day, hour, n)) THEN
        RETURN 0;
    END IF;
    FOREACH kind SLICE 1 IN ARRAY kinds LOOP
        child := kind[2] || '_' || to_char(archived_day, 'YYYYMMDD');
        CONTINUE WHEN to_regclass('public.' || child) IS NULL;
        EXECUTE format('DROP TABLE public.%I', child);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $$;

-- How many predictions each worker has shipped, by hour: its own count, kept beside its spool, so that it survives a
-- Postgres that is set back.
CREATE TABLE IF NOT EXISTS sira_shipped_hours (
    spool        uuid NOT NULL,                  -- the identity of a worker's spool file
    product      text NOT NULL,
    hour         timestamptz NOT NULL,
    rows         bigint NOT NULL CHECK (rows >= 0),
    reported_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (hour, product, spool)
);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'sira_service') THEN
        GRANT SELECT, INSERT, UPDATE ON sira_archive_days TO sira_service;
        GRANT SELECT, INSERT, UPDATE, DELETE ON sira_shipped_hours TO sira_service;
        GRANT SELECT, INSERT ON sira_log_losses TO sira_service;
        GRANT EXECUTE ON FUNCTION sira_drop_archived_day(date) TO sira_service;
    END IF;
END $$;
REVOKE EXECUTE ON FUNCTION sira_drop_archived_day(date) FROM PUBLIC;

INSERT INTO sira_migrations (version) VALUES ('007_archive') ON CONFLICT DO NOTHING;

COMMIT;
