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

-- name: fields
-- The payload fields in the signatures of a product, and of some events of each of the newest hours of a period.
SELECT input->>'name' AS field
FROM siramodel_registry, jsonb_array_elements(signature->'fields') AS input WHERE product = %(product)s
UNION
SELECT field
FROM (SELECT DISTINCT hour FROM sira_prediction_hours
      WHERE product = %(product)s AND predictions > 0
        AND hour >= %(since)s::date::timestamp AT TIME ZONE 'UTC'
        AND hour < (%(until)s::date + 1)::timestamp AT TIME ZONE 'UTC'
      ORDER BY hour DESC LIMIT %(hours)s) AS newest
CROSS JOIN LATERAL (
    SELECT payload FROM sira_predictions
    WHERE day = (hour AT TIME ZONE 'UTC')::date AND created_at >= hour AND created_at < hour + interval '1 hour'
      AND product = %(product)s
    LIMIT %(rows)s) AS logged
CROSS JOIN LATERAL json_object_keys(payload) AS field;
