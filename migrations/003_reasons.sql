-- 003: why a prediction came out as it did: reasons, the backgrounds they are relative to, and importance per version.
-- Runs with plain `psql \i`, in one transaction, and is safe to run twice.

BEGIN;

SELECT pg_advisory_xact_lock(hashtext('sira_migrations'));

-- Frozen samples of ordinary events: one payload per line, canonical JSON, only the fields that a version takes.
CREATE TABLE IF NOT EXISTS sira_reasons_backgrounds (
    sha256      text PRIMARY KEY CHECK (sha256 = encode(sha256(convert_to(payloads, 'UTF8')), 'hex')),
    rows        int NOT NULL CHECK (rows > 0),
    payloads    text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The background of a version; it never changes, so that an explanation is the same years later.
CREATE TABLE IF NOT EXISTS sira_model_backgrounds (
    model_id    uuid PRIMARY KEY REFERENCES siramodel_registry (model_id),
    sha256      text NOT NULL REFERENCES sira_reasons_backgrounds (sha256),
    source      text NOT NULL CHECK (source IN ('reference', 'production')),
    frozen_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE IF NOT EXISTS sira_prediction_reasons (
    prediction_id      uuid NOT NULL,
    day                date NOT NULL,             -- UTC day of the prediction's created_at: the partition
    created_at         timestamptz NOT NULL,      -- of the prediction
    product            text NOT NULL,
    model_id           uuid NOT NULL,
    decision           text NOT NULL CHECK (decision IN ('allow', 'review', 'block')),
    background_sha256  text NOT NULL,
    method             text NOT NULL CHECK (method IN ('exact', 'linear', 'sampled')),
    scale              text NOT NULL CHECK (scale IN ('log_odds', 'probability')),
    base               float8 NOT NULL,           -- on `scale`: base + sum of impacts is the score's margin
    reasons            jsonb NOT NULL,            -- fields by absolute impact; classes of values, never a value
    PRIMARY KEY (prediction_id, day)
) PARTITION BY RANGE (day);
CREATE INDEX IF NOT EXISTS sira_prediction_reasons_product ON sira_prediction_reasons (product, created_at DESC);
CREATE TABLE IF NOT EXISTS sira_prediction_reasons_default PARTITION OF sira_prediction_reasons DEFAULT;

-- Which fields matter to a version in general: the mean absolute impact over its background, and over a week's traffic.
CREATE TABLE IF NOT EXISTS sira_model_importance (
    model_id           uuid NOT NULL REFERENCES siramodel_registry (model_id),
    events             text NOT NULL CHECK (events IN ('background', 'traffic')),
    rows               int NOT NULL,
    background_sha256  text NOT NULL,
    method             text NOT NULL,
    scale              text NOT NULL,
    fields             jsonb NOT NULL,            -- [{"field": ..., "impact": ...}], the largest first
    computed_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (model_id, events)
);

-- As sira_make_partitions, for this log: 001 must be able to run again without taking anything back.
CREATE OR REPLACE FUNCTION sira_make_reasons_partitions(first_day date, last_day date) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    child text; made int := 0; d date;
BEGIN
    IF last_day - first_day > 400 THEN
        RAISE EXCEPTION 'at most 400 days at once, not %', last_day - first_day;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('sira_partitions'));
    FOR d IN SELECT generate_series(first_day, last_day, interval '1 day')::date LOOP
        child := 'sira_prediction_reasons_' || to_char(d, 'YYYYMMDD');
        CONTINUE WHEN to_regclass('public.' || child) IS NOT NULL;
        EXECUTE format('CREATE TABLE public.%I (LIKE public.sira_prediction_reasons INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', child);
        EXECUTE format('WITH moved AS (DELETE FROM public.sira_prediction_reasons_default WHERE day = %L RETURNING *) INSERT INTO public.%I SELECT * FROM moved', d, child);
        EXECUTE format('ALTER TABLE public.sira_prediction_reasons ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)', child, d, d + 1);
        made := made + 1;
    END LOOP;
    RETURN made;
END $$;

-- Drops whole days of reasons that are older than the retention; refuses to touch the last 30 days.
CREATE OR REPLACE FUNCTION sira_drop_reasons_partitions(before_day date) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    child text; dropped int := 0;
BEGIN
    IF before_day > (now() AT TIME ZONE 'UTC')::date - 30 THEN
        RAISE EXCEPTION 'the last 30 days of the log are never dropped: % is too late', before_day;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('sira_partitions'));
    FOR child IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'public.sira_prediction_reasons'::regclass
          AND c.relname ~ '_[0-9]{8}$' AND to_date(right(c.relname, 8), 'YYYYMMDD') < before_day
    LOOP
        EXECUTE format('DROP TABLE public.%I', child);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $$;

SELECT sira_make_reasons_partitions((now() AT TIME ZONE 'UTC')::date - 1, (now() AT TIME ZONE 'UTC')::date + 7);

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'sira_service') THEN
        GRANT SELECT ON ALL TABLES IN SCHEMA public TO sira_service;
        GRANT INSERT ON sira_reasons_backgrounds, sira_model_backgrounds, sira_prediction_reasons TO sira_service;
        GRANT INSERT, UPDATE ON sira_model_importance TO sira_service;
        GRANT EXECUTE ON FUNCTION sira_make_reasons_partitions(date, date), sira_drop_reasons_partitions(date) TO sira_service;
    END IF;
END $$;
REVOKE EXECUTE ON FUNCTION sira_make_reasons_partitions(date, date), sira_drop_reasons_partitions(date) FROM PUBLIC;

INSERT INTO sira_migrations (version) VALUES ('003_reasons') ON CONFLICT DO NOTHING;

COMMIT;
