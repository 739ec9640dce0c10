-- 011: indexes for the console's search of decisions, by time and by routing key.
-- Runs with plain `psql \i`, in one transaction, and is safe to run twice.

BEGIN;

SELECT pg_advisory_xact_lock(hashtext('sira_migrations'));

-- Shippers wait while these are built, and their spools grow meanwhile: nothing is lost, and scoring goes on.
CREATE INDEX IF NOT EXISTS sira_predictions_created_at ON sira_predictions (created_at);
-- A hash, because a key is only ever looked up whole: it costs half of what a tree over the text costs per row.
CREATE INDEX IF NOT EXISTS sira_predictions_routing_key ON sira_predictions USING hash (routing_key);

INSERT INTO sira_migrations (version) VALUES ('011_decision_search') ON CONFLICT DO NOTHING;

COMMIT;
