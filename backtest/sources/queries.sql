-- Statements of backtest/sources: one block per function.

-- name: hours
-- The predictions of a product per UTC hour, as they were counted while the log was written.
SELECT (hour AT TIME ZONE 'UTC')::date AS day, extract(hour FROM hour AT TIME ZONE 'UTC')::int AS hour,
       sum(predictions)::bigint AS predictions
FROM sira_prediction_hours
WHERE product = %(product)s
  AND hour >= %(since)s::date::timestamp AT TIME ZONE 'UTC' AND hour < (%(until)s::date + 1)::timestamp AT TIME ZONE 'UTC'
GROUP BY 1, 2 ORDER BY 1, 2;

-- name: labels
-- The label that counts of each event: the latest. Reads sira_labels, a table of canary.
SELECT DISTINCT ON (event_id) event_id, label = 'fraud' AS fraud FROM sira_labels
WHERE product = %(product)s AND labelled_at <= %(at)s
ORDER BY event_id, labelled_at DESC, received_at DESC;
