-- name: stage_json
-- Load rows as JSON that Postgres parses, for comparison with COPY.
INSERT INTO staged_predictions
SELECT prediction_id, created_at, product, event_id, routing_key, payload::json, payload_sha256, model_id, model_version,
       artifact_sha256, runtime_version, score, decision, review_threshold, block_threshold, variant, arm, rollout_id,
       phase, cached, latency_seconds, model_seconds, outcome
FROM json_to_recordset(%(rows)s::json) AS sent (
    prediction_id uuid, created_at float8, product text, event_id text, routing_key text, payload text,
    payload_sha256 text, model_id uuid, model_version text, artifact_sha256 text, runtime_version text, score float8,
    decision text, review_threshold float8, block_threshold float8, variant text, arm text, rollout_id uuid, phase int,
    cached boolean, latency_seconds float8, model_seconds float8, outcome text);
