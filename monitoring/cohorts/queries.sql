-- Performance by cohort: one block per function of monitoring/cohorts/store.py.

-- name: cohorts_exist
-- Return whether migration 009 has run.
SELECT to_regclass('sira_cohort_sums') IS NOT NULL;

-- name: lock_cohorts
-- Only one controller counts at a time.
SELECT pg_try_advisory_xact_lock(hashtext('sira_cohorts'));

-- name: clock
-- Return the database's clock.
SELECT clock_timestamp();

-- name: hours_to_count
-- Hours whose events have become more since they were counted, newest first. The present hour is counted while it has
-- few events. Reads a table of scoring.
SELECT logged.hour, array_agg(logged.product) AS products, array_agg(logged.model_id::text) AS model_ids,
       array_agg(logged.predictions) AS predictions
FROM (SELECT hour, product, model_id, sum(predictions)::bigint AS predictions FROM sira_prediction_hours
      WHERE variant = 'production' AND decision <> 'none' AND hour >= %(since)s GROUP BY 1, 2, 3) AS logged
LEFT JOIN sira_cohort_hours counted USING (hour, product, model_id)
WHERE counted.predictions IS DISTINCT FROM logged.predictions
GROUP BY logged.hour
HAVING logged.hour < date_trunc('hour', %(now)s::timestamptz, 'UTC') OR sum(logged.predictions) <= %(max_open)s
ORDER BY logged.hour DESC LIMIT %(max_hours)s;

-- name: count_hour
-- Count the events of an hour again, and add to the cohorts what has changed. If fewer events are found than before,
-- the day has left the log, and what was counted stays. Reads a table of scoring.
WITH wanted AS (
    SELECT product, model_id, predictions
    FROM unnest(%(products)s::text[], %(model_ids)s::uuid[], %(predictions)s::bigint[])
         AS wanted (product, model_id, predictions)
),
fresh AS (
    SELECT product, model_id, score_bin, decision_model, decision, count(*) AS events, sum(score::numeric) AS score,
           sum((score * score)::numeric) AS score_squares
    FROM v_cohort_events JOIN wanted USING (product, model_id)
    WHERE day = %(day)s AND created_at >= %(hour)s::timestamptz AND created_at < %(hour)s::timestamptz + interval '1 hour'
    GROUP BY 1, 2, 3, 4, 5
),
found AS (
    SELECT w.product, w.model_id, w.predictions, coalesce(sum(f.events), 0)::bigint AS events,
           coalesce(jsonb_agg(to_jsonb(f) - 'product' - 'model_id') FILTER (WHERE f.events IS NOT NULL), '[]') AS sums
    FROM wanted w LEFT JOIN fresh f USING (product, model_id) GROUP BY 1, 2, 3
),
more AS (
    SELECT found.product, found.model_id, found.sums, before.sums AS sums_before
    FROM found LEFT JOIN sira_cohort_hours before
        ON (before.hour, before.product, before.model_id) = (%(hour)s::timestamptz, found.product, found.model_id)
    WHERE found.events >= coalesce(before.events, 0)
),
stored AS (
    INSERT INTO sira_cohort_hours AS h (hour, product, model_id, predictions, events, sums)
    SELECT %(hour)s::timestamptz, product, model_id, predictions, events, sums FROM found
    ON CONFLICT (hour, product, model_id) DO UPDATE SET predictions = excluded.predictions,
        events = greatest(h.events, excluded.events),
        sums = CASE WHEN excluded.events >= h.events THEN excluded.sums ELSE h.sums END
),
changes AS (
    SELECT product, model_id, added.* FROM more CROSS JOIN LATERAL jsonb_to_recordset(sums) AS added (
        score_bin smallint, decision_model text, decision text, events bigint, score numeric, score_squares numeric)
    UNION ALL
    SELECT product, model_id, score_bin, decision_model, decision, -events, -score, -score_squares
    FROM more CROSS JOIN LATERAL jsonb_to_recordset(sums_before) AS taken (
        score_bin smallint, decision_model text, decision text, events bigint, score numeric, score_squares numeric)
)
INSERT INTO sira_cohort_sums AS s (product, week, model_id, score_bin, decision_model, decision, label, events, weight,
                                   weight_squares, score, score_squares, amount, amount_squares)
SELECT product, %(week)s::date, model_id, score_bin, decision_model, decision, 'any', sum(events), sum(events), sum(events),
       sum(score), sum(score_squares), 0, 0
FROM changes GROUP BY 1, 2, 3, 4, 5, 6 HAVING sum(events) <> 0 OR sum(score) <> 0
ON CONFLICT (product, week, model_id, score_bin, decision_model, decision, label) DO UPDATE SET
    events = s.events + excluded.events, weight = s.weight + excluded.weight,
    weight_squares = s.weight_squares + excluded.weight_squares, score = s.score + excluded.score,
    score_squares = s.score_squares + excluded.score_squares;

-- name: labelled_in_hour
-- Events of an hour that got their labels before they were counted. Reads a table of canary.
SELECT e.day, e.prediction_id::text FROM v_cohort_events e
WHERE e.day = %(day)s AND e.created_at >= %(hour)s::timestamptz AND e.created_at < %(hour)s::timestamptz + interval '1 hour'
  AND EXISTS (SELECT FROM sira_labels l WHERE (l.product, l.event_id) = (e.product, e.event_id))
  AND NOT EXISTS (SELECT FROM sira_cohort_labels c WHERE (c.product, c.event_id, c.day, c.prediction_id)
                                                       = (e.product, e.event_id, e.day, e.prediction_id));

-- name: labels_through
-- Up to when labels are counted.
SELECT labels_through FROM sira_cohort_progress;

-- name: next_labels
-- The end of the next labels to count: when the last of so many was received, or now. Reads a table of canary.
SELECT coalesce((SELECT received_at FROM sira_labels WHERE received_at > %(since)s
                 ORDER BY received_at OFFSET %(max_labels)s LIMIT 1), %(now)s);

-- name: labelled_since
-- Events whose labels were received in a span and are not counted yet. Labels that were counted are left out by their
-- number before the log is asked, which has an index per day. Reads a table of canary.
SELECT e.day, e.prediction_id::text FROM (
    SELECT received.product, received.event_id
    FROM (SELECT DISTINCT product, event_id FROM sira_labels
          WHERE received_at > %(since)s AND received_at <= %(until)s) AS received
    CROSS JOIN LATERAL (SELECT count(*) AS labels FROM sira_labels l
                        WHERE (l.product, l.event_id) = (received.product, received.event_id)) AS present
    WHERE NOT EXISTS (SELECT FROM sira_cohort_labels c WHERE (c.product, c.event_id) = (received.product, received.event_id)
                                                         AND c.labels = present.labels)) AS labelled
JOIN v_cohort_events e USING (product, event_id) WHERE e.day >= %(first_day)s;

-- name: count_labelled
-- Add the labels of events to their cohorts, and take away what earlier labels of theirs had added.
WITH wanted AS (
    SELECT DISTINCT day, prediction_id FROM unnest(%(days)s::date[], %(prediction_ids)s::uuid[])
        AS wanted (day, prediction_id)
),
found AS (
    SELECT e.product, e.event_id, e.day, e.prediction_id, e.week, e.model_id, e.score_bin, e.decision_model, e.decision,
           e.weight, e.score, coalesce(e.amount, 0) AS amount, now.labels, now.label,
           sira_label_age(now.known_at - e.created_at) AS age, before.label AS label_before, before.age AS age_before
    FROM wanted JOIN v_cohort_events e USING (day, prediction_id)
    CROSS JOIN LATERAL sira_event_label(e.product, e.event_id) AS now
    LEFT JOIN sira_cohort_labels before ON (before.product, before.event_id, before.day, before.prediction_id)
                                         = (e.product, e.event_id, e.day, e.prediction_id)
    WHERE before.labels IS DISTINCT FROM now.labels
),
stored AS (
    INSERT INTO sira_cohort_labels (product, event_id, day, prediction_id, labels, label, age)
    SELECT product, event_id, day, prediction_id, labels, label, age FROM found
    ON CONFLICT (product, event_id, day, prediction_id) DO UPDATE SET
        labels = excluded.labels, label = excluded.label, age = excluded.age
),
changes AS (
    SELECT product, week, model_id, score_bin, decision_model, decision, weight, score, amount, label, age, 1 AS sign
    FROM found
    UNION ALL
    SELECT product, week, model_id, score_bin, decision_model, decision, weight, score, amount, label_before,
           age_before, -1
    FROM found WHERE label_before IS NOT NULL
),
aged AS (
    INSERT INTO sira_cohort_label_ages AS a (product, week, model_id, label, age, events)
    SELECT product, week, model_id, label, age, sum(sign) FROM changes GROUP BY 1, 2, 3, 4, 5 HAVING sum(sign) <> 0
    ON CONFLICT (product, week, model_id, label, age) DO UPDATE SET events = a.events + excluded.events
),
summed AS (
    INSERT INTO sira_cohort_sums AS s (product, week, model_id, score_bin, decision_model, decision, label, events,
                                       weight, weight_squares, score, score_squares, amount, amount_squares)
    SELECT product, week, model_id, score_bin, decision_model, decision, label, sum(sign), sum(sign * weight::numeric),
           sum(sign * (weight * weight)::numeric), sum(sign * (weight * score)::numeric),
           sum(sign * (weight * score * score)::numeric), sum(sign * (weight * amount)::numeric),
           sum(sign * (weight * weight * amount * amount)::numeric)
    FROM changes GROUP BY 1, 2, 3, 4, 5, 6, 7
    ON CONFLICT (product, week, model_id, score_bin, decision_model, decision, label) DO UPDATE SET
        events = s.events + excluded.events, weight = s.weight + excluded.weight,
        weight_squares = s.weight_squares + excluded.weight_squares, score = s.score + excluded.score,
        score_squares = s.score_squares + excluded.score_squares, amount = s.amount + excluded.amount,
        amount_squares = s.amount_squares + excluded.amount_squares
)
SELECT count(*) FROM found;

-- name: store_labels_through
-- Remember up to when labels are counted.
INSERT INTO sira_cohort_progress (labels_through) VALUES (%(until)s)
ON CONFLICT (singleton) DO UPDATE SET labels_through = excluded.labels_through;

-- name: drop_hours
-- Forget what old hours have added: they are not counted again.
DELETE FROM sira_cohort_hours WHERE hour < %(before)s;

-- name: drop_labels
-- The same for the labels of old days.
DELETE FROM sira_cohort_labels WHERE day < %(before)s;

-- name: cohort_sums
-- The sums of a product's cohorts from a week on. Reads a table of the registry.
SELECT s.week, s.model_id::text, r.version, s.score_bin, s.decision_model, s.decision, s.label, s.events,
       s.weight::float8, s.weight_squares::float8, s.score::float8, s.score_squares::float8, s.amount::float8,
       s.amount_squares::float8
FROM sira_cohort_sums s JOIN siramodel_registry r USING (model_id)
WHERE s.product = %(product)s AND s.week >= %(since)s AND s.events > 0;

-- name: label_ages
-- The ages of labels of a product's cohorts from a week on.
SELECT week, model_id::text, age, sum(events)::bigint FROM sira_cohort_label_ages
WHERE product = %(product)s AND week >= %(since)s GROUP BY 1, 2, 3;
