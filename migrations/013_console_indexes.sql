-- 013: indexes for the console, over rows that are few: what was not allowed, and what two models decide differently.
-- Runs with plain `psql \i`, in one transaction, and is safe to run twice.

BEGIN;

SELECT pg_advisory_xact_lock(hashtext('sira_migrations'));

-- Shippers wait while these are built, and their spools grow meanwhile: nothing is lost, and scoring goes on.
-- Most rows are allowed, and those need no entry here: a search for them finds enough by their time.
CREATE INDEX IF NOT EXISTS sira_predictions_refused ON sira_predictions (product, decision, created_at)
    WHERE decision <> 'allow';
-- The sums of a rollout's flips are read from this index alone, and the largest are its first entries.
CREATE INDEX IF NOT EXISTS sira_paired_predictions_flip_amounts ON sira_paired_predictions
    (rollout_id, amount DESC NULLS LAST, created_at DESC) INCLUDE (day, production_decision, canary_decision)
    WHERE canary_decision <> production_decision;

INSERT INTO sira_migrations (version) VALUES ('013_console_indexes') ON CONFLICT DO NOTHING;

COMMIT;
