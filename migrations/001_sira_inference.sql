-- 001: the registry, the canary, the prediction log, and who may do what.
-- Runs with plain `psql \i`, in one transaction, and is safe to run twice.

BEGIN;

-- Two sessions that migrate at once wait for each other here.
SELECT pg_advisory_xact_lock(hashtext('sira_migrations'));

CREATE TABLE IF NOT EXISTS sira_migrations (
    version     text PRIMARY KEY,
    sha256      text,
    applied_at  timestamptz NOT NULL DEFAULT now()
);

-- ---------------------------------------------------------------- registry

CREATE TABLE IF NOT EXISTS siramodel_registry (
    model_id        uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    product         text NOT NULL CHECK (product ~ '^[a-z0-9][a-z0-9_.-]{0,63}$'),
    name            text NOT NULL CHECK (length(name) BETWEEN 1 AND 128),
    version         text NOT NULL CHECK (length(version) BETWEEN 1 AND 64),
    status          text NOT NULL DEFAULT 'staging'
                    CHECK (status IN ('staging', 'canary', 'production', 'retired', 'archived', 'rolled_back')),
    storage_s3_key  text NOT NULL,
    sha256          text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    size_bytes      bigint NOT NULL CHECK (size_bytes > 0),
    signature       jsonb NOT NULL,
    thresholds      jsonb NOT NULL
                    CHECK ((thresholds->>'review')::float8 BETWEEN 0 AND 1
                       AND (thresholds->>'block')::float8 BETWEEN (thresholds->>'review')::float8 AND 1),
    metadata        jsonb NOT NULL DEFAULT '{}',
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_by      text NOT NULL DEFAULT session_user,
    updated_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (product, name, version)
);

-- At most one production version per product: the database's word, not the application's.
CREATE UNIQUE INDEX IF NOT EXISTS siramodel_registry_one_production
    ON siramodel_registry (product) WHERE status = 'production';
CREATE INDEX IF NOT EXISTS siramodel_registry_listing
    ON siramodel_registry (created_at DESC, model_id);
CREATE INDEX IF NOT EXISTS siramodel_registry_product_listing
    ON siramodel_registry (product, created_at DESC, model_id);
CREATE INDEX IF NOT EXISTS siramodel_registry_status
    ON siramodel_registry (status, product) WHERE status IN ('production', 'canary');

-- What a version is may never change, only what it may do.
CREATE OR REPLACE FUNCTION sira_registry_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.model_id, NEW.product, NEW.name, NEW.version, NEW.storage_s3_key, NEW.sha256, NEW.size_bytes,
        NEW.signature, NEW.thresholds, NEW.created_at, NEW.created_by)
       IS DISTINCT FROM
       (OLD.model_id, OLD.product, OLD.name, OLD.version, OLD.storage_s3_key, OLD.sha256, OLD.size_bytes,
        OLD.signature, OLD.thresholds, OLD.created_at, OLD.created_by) THEN
        RAISE EXCEPTION 'a registered version is immutable: register a new version of %/%', OLD.product, OLD.name;
    END IF;
    IF NEW.status <> OLD.status AND (OLD.status, NEW.status) NOT IN (
        ('staging', 'canary'), ('staging', 'production'), ('staging', 'archived'),
        ('canary', 'production'), ('canary', 'staging'), ('canary', 'rolled_back'), ('canary', 'archived'),
        ('production', 'retired'),
        ('retired', 'production'), ('retired', 'archived'),
        ('rolled_back', 'staging'), ('rolled_back', 'archived')) THEN
        RAISE EXCEPTION 'a % version cannot become %', OLD.status, NEW.status;
    END IF;
    NEW.updated_at := clock_timestamp();
    RETURN NEW;
END $$;

CREATE OR REPLACE TRIGGER siramodel_registry_guard BEFORE UPDATE ON siramodel_registry
    FOR EACH ROW EXECUTE FUNCTION sira_registry_guard();

-- Every change wakes every worker's model sync; its poll is the net below.
CREATE OR REPLACE FUNCTION sira_notify_serving() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('sira_serving', '');
    RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER siramodel_registry_notify
    AFTER INSERT OR UPDATE OR DELETE ON siramodel_registry
    FOR EACH STATEMENT EXECUTE FUNCTION sira_notify_serving();

-- ---------------------------------------------------------------- canary

-- One row per rollout; the running one of a product is its canary configuration.
CREATE TABLE IF NOT EXISTS sira_canary_config (
    rollout_id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    product              text NOT NULL,
    canary_model_id      uuid NOT NULL REFERENCES siramodel_registry (model_id),
    production_model_id  uuid NOT NULL REFERENCES siramodel_registry (model_id),
    canary_percent       float8 NOT NULL CHECK (canary_percent BETWEEN 0 AND 100),
    status               text NOT NULL DEFAULT 'running'
                         CHECK (status IN ('running', 'paused', 'stopped', 'rolled_back', 'promoted')),
    mode                 text NOT NULL DEFAULT 'sequential' CHECK (mode IN ('sequential', 'threshold')),
    plan                 jsonb NOT NULL,
    limits               jsonb NOT NULL,
    step                 int NOT NULL DEFAULT 0 CHECK (step >= -1),  -- -1: below the plan's first step, set by hand
    phase                int NOT NULL DEFAULT 0,           -- counts every change of the split; evidence is kept per phase
    step_started_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    sealed_through       timestamptz NOT NULL              -- evidence before this is judged and never changes
                         DEFAULT date_bin('5 s', clock_timestamp(), 'epoch'),
    judge_state          text,                             -- JSON as the judge wrote it: it reads back every bit
    dispersion           float8 CHECK (dispersion >= 1),   -- of production's errors; null: too little history
    dispersion_at        timestamptz,                      -- when it was last estimated
    created_at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_by           text NOT NULL DEFAULT session_user,
    updated_at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at             timestamptz
);
-- Written anew every tick: packing it took more of Postgres's time than all else in a tick.
ALTER TABLE sira_canary_config ALTER COLUMN judge_state SET STORAGE EXTERNAL;
CREATE UNIQUE INDEX IF NOT EXISTS sira_canary_config_one_running
    ON sira_canary_config (product) WHERE status IN ('running', 'paused');
CREATE INDEX IF NOT EXISTS sira_canary_config_product ON sira_canary_config (product, created_at DESC);

-- Only what changes the traffic wakes the workers: a tick that only seals evidence does not.
CREATE OR REPLACE TRIGGER sira_canary_config_notify_insert AFTER INSERT ON sira_canary_config
    FOR EACH STATEMENT EXECUTE FUNCTION sira_notify_serving();
CREATE OR REPLACE TRIGGER sira_canary_config_notify_update AFTER UPDATE OF canary_percent, status, phase, limits ON sira_canary_config
    FOR EACH ROW WHEN ((OLD.canary_percent, OLD.status, OLD.phase, OLD.limits)
                       IS DISTINCT FROM (NEW.canary_percent, NEW.status, NEW.phase, NEW.limits))
    EXECUTE FUNCTION sira_notify_serving();

-- Each split a rollout has had, from its start to its end.
CREATE TABLE IF NOT EXISTS sira_canary_phases (
    rollout_id           uuid NOT NULL REFERENCES sira_canary_config (rollout_id),
    phase                int NOT NULL,
    step                 int NOT NULL,
    canary_percent       float8 NOT NULL,
    production_model_id  uuid NOT NULL,
    started_at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_by           text NOT NULL,
    PRIMARY KEY (rollout_id, phase)
);

CREATE TABLE IF NOT EXISTS sira_canary_rollback_log (
    id                   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    product              text NOT NULL,
    canary_model_id      uuid NOT NULL,
    production_model_id  uuid,
    reason               text NOT NULL,
    rolled_back_by       text NOT NULL DEFAULT session_user,
    rollout_id           uuid,
    measurements         jsonb NOT NULL DEFAULT '[]',
    created_at           timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX IF NOT EXISTS sira_canary_rollback_log_product ON sira_canary_rollback_log (product, created_at DESC);

CREATE TABLE IF NOT EXISTS sira_canary_verdicts (
    rollout_id      uuid NOT NULL REFERENCES sira_canary_config (rollout_id),
    tick            bigint GENERATED ALWAYS AS IDENTITY,
    phase           int NOT NULL,
    verdict         text NOT NULL CHECK (verdict IN ('continue', 'hold', 'advance', 'rollback')),
    action          text NOT NULL CHECK (action IN ('continue', 'hold', 'advance', 'promote', 'rollback')),
    reasons         jsonb NOT NULL,
    measurements    jsonb NOT NULL,
    inputs          jsonb NOT NULL,            -- what the judge saw besides the buckets: alerts, custom values, labels
    dispersion      float8,                    -- the buckets of this tick, and those after it, were weighed by this
    evidence_from   timestamptz NOT NULL,
    evidence_through timestamptz NOT NULL,
    judged_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (rollout_id, tick)
);
CREATE INDEX IF NOT EXISTS sira_canary_verdicts_judged_at ON sira_canary_verdicts (judged_at);

-- Per rollout, phase, arm and 5 s bucket. All columns merge by addition. Phase -1 is production before the rollout.
CREATE TABLE IF NOT EXISTS sira_canary_evidence (
    rollout_id    uuid NOT NULL,
    phase         int NOT NULL,
    arm           text NOT NULL CHECK (arm IN ('production', 'canary')),
    bucket_start  timestamptz NOT NULL,
    requests      bigint NOT NULL DEFAULT 0,
    errors        bigint NOT NULL DEFAULT 0,
    timeouts      bigint NOT NULL DEFAULT 0,
    allowed       bigint NOT NULL DEFAULT 0,
    reviewed      bigint NOT NULL DEFAULT 0,
    blocked       bigint NOT NULL DEFAULT 0,
    latency       jsonb NOT NULL DEFAULT '{}',   -- bin -> count, model-scoring latency
    scores        jsonb NOT NULL DEFAULT '{}',   -- bin of 20 -> count
    PRIMARY KEY (rollout_id, bucket_start, phase, arm)
);

-- Events that both models scored: first letter canary, second production; 1 = block.
CREATE TABLE IF NOT EXISTS sira_canary_paired_evidence (
    rollout_id    uuid NOT NULL,
    phase         int NOT NULL,
    bucket_start  timestamptz NOT NULL,
    n11           bigint NOT NULL DEFAULT 0,
    n10           bigint NOT NULL DEFAULT 0,
    n01           bigint NOT NULL DEFAULT 0,
    n00           bigint NOT NULL DEFAULT 0,
    decision_flips bigint NOT NULL DEFAULT 0,    -- any change of decision, review included
    PRIMARY KEY (rollout_id, bucket_start, phase)
);

-- Production's own 30 s halves over the last day, canary or not: for the overdispersion of its errors, and for what a
-- canary that starts is compared with.
CREATE TABLE IF NOT EXISTS sira_production_errors (
    product       text NOT NULL,
    bucket_start  timestamptz NOT NULL,
    half          int NOT NULL CHECK (half IN (0, 1)),
    requests      bigint NOT NULL DEFAULT 0,
    errors        bigint NOT NULL DEFAULT 0,
    latency       jsonb NOT NULL DEFAULT '{}',   -- bin -> count, model-scoring latency
    PRIMARY KEY (product, bucket_start, half)
);
ALTER TABLE sira_production_errors ADD COLUMN IF NOT EXISTS latency jsonb NOT NULL DEFAULT '{}';

-- A serving process whose fuse tripped says so here; the controller makes it the rollback of all.
CREATE TABLE IF NOT EXISTS sira_canary_fuse_trips (
    rollout_id    uuid NOT NULL,
    process       text NOT NULL,
    tripped_at    timestamptz NOT NULL,
    requests      bigint NOT NULL,
    errors        bigint NOT NULL,
    production_failing boolean NOT NULL,
    PRIMARY KEY (rollout_id, process, tripped_at)
);

-- A trip does not wait for the next tick. Per row: a shipment without a trip must not notify.
CREATE OR REPLACE FUNCTION sira_notify_fuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('sira_fuse', '');
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER sira_canary_fuse_trips_notify AFTER INSERT ON sira_canary_fuse_trips
    FOR EACH ROW EXECUTE FUNCTION sira_notify_fuse();

-- The controller that acts, and when it last did: another may follow when that is too long ago.
CREATE TABLE IF NOT EXISTS sira_controller_lease (
    singleton     boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    holder        text NOT NULL,
    acted_at      timestamptz NOT NULL
);

-- ---------------------------------------------------------------- prediction log

CREATE TABLE IF NOT EXISTS sira_predictions (
    prediction_id      uuid NOT NULL,
    day                date NOT NULL,             -- UTC day of created_at: the partition
    created_at         timestamptz NOT NULL,
    product            text NOT NULL,
    event_id           text NOT NULL,
    routing_key        text NOT NULL,
    payload            json NOT NULL,             -- canonical text, byte for byte: its sha256 is payload_sha256
    payload_sha256     text NOT NULL,
    model_id           uuid NOT NULL,             -- the version that answered
    model_version      text NOT NULL,
    artifact_sha256    text NOT NULL,
    runtime_version    text NOT NULL,
    score              float8,                    -- null when no model could score
    decision           text CHECK (decision IN ('allow', 'review', 'block')),
    review_threshold   float8 NOT NULL,
    block_threshold    float8 NOT NULL,
    variant            text NOT NULL CHECK (variant IN ('production', 'canary')),  -- whose answer it is
    arm                text NOT NULL CHECK (arm IN ('production', 'canary')),      -- where it was routed
    rollout_id         uuid,
    phase              int,
    cached             boolean NOT NULL,
    latency_seconds    float8 NOT NULL,           -- request in, answer ready to commit
    model_seconds      float8,                    -- the routed model's session.run; null when cached or a first call
    outcome            text NOT NULL CHECK (outcome IN ('ok', 'canary_error', 'canary_timeout', 'canary_non_finite', 'error', 'timeout', 'non_finite')),
    PRIMARY KEY (prediction_id, day)
) PARTITION BY RANGE (day);
CREATE INDEX IF NOT EXISTS sira_predictions_event ON sira_predictions (event_id, product);

-- The other model's score of an event, off the answer's path.
CREATE TABLE IF NOT EXISTS sira_paired_predictions (
    prediction_id      uuid NOT NULL,
    day                date NOT NULL,
    created_at         timestamptz NOT NULL,
    rollout_id         uuid NOT NULL,
    phase              int NOT NULL,
    product            text NOT NULL,
    event_id           text NOT NULL,
    amount             float8,                    -- the payload's amount, when it has one: what a flip is worth
    canary_score       float8 NOT NULL,
    canary_decision    text NOT NULL CHECK (canary_decision IN ('allow', 'review', 'block')),
    production_score   float8 NOT NULL,
    production_decision text NOT NULL CHECK (production_decision IN ('allow', 'review', 'block')),
    PRIMARY KEY (prediction_id, rollout_id, day)
) PARTITION BY RANGE (day);
CREATE INDEX IF NOT EXISTS sira_paired_predictions_event ON sira_paired_predictions (event_id, product);
CREATE INDEX IF NOT EXISTS sira_paired_predictions_flips ON sira_paired_predictions (rollout_id, created_at)
    WHERE canary_decision <> production_decision;

-- A row whose day has no partition yet is kept here, never refused.
CREATE TABLE IF NOT EXISTS sira_predictions_default PARTITION OF sira_predictions DEFAULT;
CREATE TABLE IF NOT EXISTS sira_paired_predictions_default PARTITION OF sira_paired_predictions DEFAULT;

-- Makes the partitions of the given days, moving rows the default partition already holds for them.
CREATE OR REPLACE FUNCTION sira_make_partitions(first_day date, last_day date) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    parent text; child text; made int := 0; d date;
BEGIN
    IF last_day - first_day > 400 THEN
        RAISE EXCEPTION 'at most 400 days at once, not %', last_day - first_day;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('sira_partitions'));
    FOR d IN SELECT generate_series(first_day, last_day, interval '1 day')::date LOOP
        FOREACH parent IN ARRAY ARRAY['sira_predictions', 'sira_paired_predictions'] LOOP
            child := parent || '_' || to_char(d, 'YYYYMMDD');
            CONTINUE WHEN to_regclass('public.' || child) IS NOT NULL;
            EXECUTE format('CREATE TABLE public.%I (LIKE public.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', child, parent);
            EXECUTE format('WITH moved AS (DELETE FROM public.%I WHERE day = %L RETURNING *) INSERT INTO public.%I SELECT * FROM moved',
                           parent || '_default', d, child);
            EXECUTE format('ALTER TABLE public.%I ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)', parent, child, d, d + 1);
            made := made + 1;
        END LOOP;
    END LOOP;
    RETURN made;
END $$;

-- Drops whole days of the log that are older than the retention; refuses to touch the last 30 days.
CREATE OR REPLACE FUNCTION sira_drop_partitions(before_day date) RETURNS int
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
        WHERE i.inhparent IN ('public.sira_predictions'::regclass, 'public.sira_paired_predictions'::regclass)
          AND c.relname ~ '_[0-9]{8}$' AND to_date(right(c.relname, 8), 'YYYYMMDD') < before_day
    LOOP
        EXECUTE format('DROP TABLE public.%I', child);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $$;

-- Forgets the verdicts of rollouts that ended before a day together with the evidence they follow from, so that a verdict
-- that is kept can be recomputed. What was rolled back, and everything in the audit, stays.
CREATE OR REPLACE FUNCTION sira_drop_evidence(before_day date) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    rollout uuid; dropped int := 0;
BEGIN
    IF before_day > (now() AT TIME ZONE 'UTC')::date - 30 THEN
        RAISE EXCEPTION 'evidence of the last 30 days is never dropped: % is too late', before_day;
    END IF;
    FOR rollout IN
        SELECT rollout_id FROM sira_canary_config c WHERE ended_at < before_day::timestamp AT TIME ZONE 'UTC'
           AND EXISTS (SELECT FROM sira_canary_evidence e WHERE e.rollout_id = c.rollout_id
                       UNION ALL SELECT FROM sira_canary_verdicts v WHERE v.rollout_id = c.rollout_id)
    LOOP
        DELETE FROM sira_canary_verdicts WHERE rollout_id = rollout;
        DELETE FROM sira_canary_evidence WHERE rollout_id = rollout;
        DELETE FROM sira_canary_paired_evidence WHERE rollout_id = rollout;
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $$;

-- What the checklists ask, kept as the log is written: a view over it never scans the log.
CREATE TABLE IF NOT EXISTS sira_prediction_hours (
    hour        timestamptz NOT NULL,
    product     text NOT NULL,
    model_id    uuid NOT NULL,
    variant     text NOT NULL,
    decision    text NOT NULL,                   -- 'none' when no model could score
    outcome     text NOT NULL,
    predictions bigint NOT NULL DEFAULT 0,
    cached      bigint NOT NULL DEFAULT 0,
    latency     jsonb NOT NULL DEFAULT '{}',     -- bin -> count, whole-request latency
    PRIMARY KEY (hour, product, model_id, variant, decision, outcome)
);

-- ---------------------------------------------------------------- labels

CREATE TABLE IF NOT EXISTS sira_labels (
    product      text NOT NULL,
    event_id     text NOT NULL,
    label        text NOT NULL CHECK (label IN ('fraud', 'legitimate')),
    source       text NOT NULL CHECK (length(source) BETWEEN 1 AND 64),
    labelled_at  timestamptz NOT NULL,
    received_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor        text NOT NULL DEFAULT session_user,
    PRIMARY KEY (product, event_id, source, labelled_at, label)
);

-- Labels per (rollout, event day, decision pair): counted when they have matured.
CREATE TABLE IF NOT EXISTS sira_canary_label_evidence (
    rollout_id           uuid NOT NULL,
    event_day            date NOT NULL,
    canary_decision      text NOT NULL,
    production_decision  text NOT NULL,
    events               bigint NOT NULL DEFAULT 0,
    matured              bigint NOT NULL DEFAULT 0,   -- old enough to be judged
    fraud                bigint NOT NULL DEFAULT 0,
    legitimate           bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (rollout_id, event_day, canary_decision, production_decision)
);

-- Labels received before this are counted.
CREATE TABLE IF NOT EXISTS sira_label_progress (
    singleton        boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    counted_through  timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS sira_labels_received_at ON sira_labels (received_at);

-- ---------------------------------------------------------------- audit

CREATE TABLE IF NOT EXISTS sira_audit_log (
    seq         bigint PRIMARY KEY,
    at          timestamptz NOT NULL,
    actor       text NOT NULL,
    action      text NOT NULL,
    subject     text NOT NULL,
    before      jsonb,
    after       jsonb,
    reason      text,
    previous    text NOT NULL,                   -- sha256 of the row before; the first row chains to 64 zeros
    sha256      text NOT NULL UNIQUE
);

-- Logs are appended to, by anyone, for ever: not even the owner edits a row by mistake.
CREATE OR REPLACE FUNCTION sira_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP;
END $$;
CREATE OR REPLACE TRIGGER sira_audit_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON sira_audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION sira_append_only();
CREATE OR REPLACE TRIGGER sira_canary_rollback_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON sira_canary_rollback_log
    FOR EACH STATEMENT EXECUTE FUNCTION sira_append_only();

-- ---------------------------------------------------------------- histograms in SQL

-- Latency bins: growth 1.3^(1/13) from 1 ms to 10 s, so that 1.3x is exactly 13 bins (canary/evidence.py, latency_bin).
CREATE OR REPLACE FUNCTION sira_latency_bin(seconds float8) RETURNS int
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    -- No ELSE: a row without a time has no bin, and least() would pass over its null.
    SELECT CASE WHEN seconds <= 0.001 THEN 0
                WHEN seconds > 0.001 THEN least(457, ceil(ln(seconds / 0.001::float8) * 13 / ln(1.3::float8)))::int END
$$;

CREATE OR REPLACE FUNCTION sira_latency_bin_edge(bin int) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT 0.001 * power(1.3::float8, bin / 13.0::float8) $$;

CREATE OR REPLACE FUNCTION sira_histogram_add(a jsonb, b jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN a = '{}'::jsonb THEN b WHEN b = '{}'::jsonb THEN a ELSE (
        SELECT jsonb_object_agg(bin, n) FROM (
            SELECT key AS bin, sum(value::bigint) AS n
            FROM (SELECT * FROM jsonb_each_text(a) UNION ALL SELECT * FROM jsonb_each_text(b)) AS both_sides
            GROUP BY key) AS merged) END
$$;

CREATE OR REPLACE AGGREGATE sira_histogram_sum(jsonb) (
    SFUNC = sira_histogram_add, STYPE = jsonb, INITCOND = '{}'
);

-- ---------------------------------------------------------------- views for the checklists

CREATE OR REPLACE VIEW v_active_models AS
    SELECT product, status, name, version, model_id, sha256, storage_s3_key, thresholds, created_at, updated_at
    FROM siramodel_registry WHERE status IN ('production', 'canary')
    ORDER BY product, status DESC;

CREATE OR REPLACE VIEW v_canary_health AS
    SELECT c.product, c.rollout_id, c.status, c.canary_percent, c.step, c.step_started_at,
           c.canary_model_id, c.production_model_id, v.verdict, v.reasons, v.judged_at,
           e.canary_requests, e.canary_errors, e.production_requests, e.production_errors
    FROM sira_canary_config c
    LEFT JOIN LATERAL (
        SELECT verdict, reasons, judged_at FROM sira_canary_verdicts v
        WHERE v.rollout_id = c.rollout_id ORDER BY tick DESC LIMIT 1) v ON true
    LEFT JOIN LATERAL (
        SELECT sum(requests) FILTER (WHERE arm = 'canary') AS canary_requests,
               sum(errors) FILTER (WHERE arm = 'canary') AS canary_errors,
               sum(requests) FILTER (WHERE arm = 'production') AS production_requests,
               sum(errors) FILTER (WHERE arm = 'production') AS production_errors
        FROM sira_canary_evidence e
        WHERE e.rollout_id = c.rollout_id AND e.phase >= 0 AND e.bucket_start > now() - interval '1 hour') e ON true
    WHERE c.status IN ('running', 'paused');

CREATE OR REPLACE VIEW v_decision_distribution_daily AS
    SELECT (hour AT TIME ZONE 'UTC')::date AS day, product, variant, decision,
           sum(predictions)::bigint AS predictions,
           round(sum(predictions) / sum(sum(predictions)) OVER (PARTITION BY (hour AT TIME ZONE 'UTC')::date, product, variant), 4) AS share
    FROM sira_prediction_hours
    GROUP BY 1, 2, 3, 4;

-- The p95 is the upper edge of its bin. An hour's histograms are taken apart at once: merged pairwise it took 3 times as long.
CREATE OR REPLACE VIEW v_service_health_hourly AS
    SELECT hour, product, variant, predictions, errors, round(errors::numeric / predictions, 6) AS error_rate,
           p95.seconds AS p95_seconds, round(cached / predictions, 4) AS cache_hit_rate
    FROM (
        SELECT hour, product, variant, sum(predictions)::bigint AS predictions,
               coalesce(sum(predictions) FILTER (WHERE outcome <> 'ok'), 0)::bigint AS errors,
               sum(cached) AS cached, array_agg(latency) AS histograms
        FROM sira_prediction_hours GROUP BY 1, 2, 3) AS hours
    CROSS JOIN LATERAL (
        SELECT sira_latency_bin_edge(min(bin)) AS seconds FROM (
            SELECT bin, sum(n) OVER (ORDER BY bin) AS running, sum(n) OVER () AS total
            FROM (SELECT key::int AS bin, sum(value::float8) AS n
                  FROM unnest(histograms) AS histogram CROSS JOIN LATERAL jsonb_each_text(histogram)
                  GROUP BY 1) AS bins) AS cumulated
        WHERE running >= 0.95 * total) AS p95;

CREATE OR REPLACE VIEW v_label_outcomes AS
    SELECT r.product, e.rollout_id, e.canary_decision, e.production_decision,
           sum(e.events)::bigint AS events, sum(e.matured)::bigint AS matured,
           sum(e.fraud)::bigint AS fraud, sum(e.legitimate)::bigint AS legitimate
    FROM sira_canary_label_evidence e JOIN sira_canary_config r USING (rollout_id)
    GROUP BY 1, 2, 3, 4;

CREATE OR REPLACE VIEW v_rollbacks AS
    SELECT id, created_at, product, canary_model_id, production_model_id, reason, rolled_back_by, rollout_id
    FROM sira_canary_rollback_log ORDER BY created_at DESC;

SELECT sira_make_partitions((now() AT TIME ZONE 'UTC')::date - 1, (now() AT TIME ZONE 'UTC')::date + 7);

-- ---------------------------------------------------------------- least privilege

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'sira_service') THEN
        CREATE ROLE sira_service NOLOGIN;
    END IF;
EXCEPTION WHEN insufficient_privilege THEN
    RAISE NOTICE 'role sira_service was not made: ask an administrator to CREATE ROLE sira_service, then run this again';
END $$;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'sira_service') THEN
        GRANT USAGE ON SCHEMA public TO sira_service;
        GRANT SELECT ON ALL TABLES IN SCHEMA public TO sira_service;
        -- The registry: versions come and change status; what a version is cannot change (the guard above).
        GRANT INSERT, UPDATE (status, updated_at) ON siramodel_registry TO sira_service;
        -- Append only.
        GRANT INSERT ON sira_predictions, sira_paired_predictions, sira_audit_log, sira_canary_rollback_log,
                        sira_labels, sira_canary_verdicts, sira_canary_phases, sira_canary_fuse_trips TO sira_service;
        REVOKE UPDATE, DELETE, TRUNCATE ON sira_predictions, sira_paired_predictions, sira_audit_log,
                        sira_canary_rollback_log, sira_labels, sira_canary_phases,
                        sira_canary_fuse_trips FROM sira_service;
        -- Sums that grow.
        GRANT INSERT, UPDATE ON sira_canary_config, sira_canary_evidence, sira_canary_paired_evidence,
                        sira_production_errors, sira_prediction_hours, sira_canary_label_evidence,
                        sira_label_progress, sira_controller_lease TO sira_service;
        -- Short-lived detail the controller may thin out; the log it was drawn from stays.
        GRANT DELETE ON sira_production_errors, sira_canary_verdicts TO sira_service;
        GRANT EXECUTE ON FUNCTION sira_make_partitions(date, date), sira_drop_partitions(date),
                        sira_drop_evidence(date) TO sira_service;
    END IF;
END $$;
REVOKE EXECUTE ON FUNCTION sira_make_partitions(date, date), sira_drop_partitions(date),
                        sira_drop_evidence(date) FROM PUBLIC;

INSERT INTO sira_migrations (version) VALUES ('001_sira_inference') ON CONFLICT DO NOTHING;

COMMIT;
