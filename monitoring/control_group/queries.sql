-- The control groups: one block per function of monitoring/control_group/store.py.

-- name: control_groups_exist
-- Return whether migration 012 has run.
SELECT to_regclass('sira_control_group') IS NOT NULL;

-- name: control_groups
-- The control group of every product that has one, without its seed, and what it did on this UTC day. Reads a table of
-- scoring.
SELECT g.product, enabled, share, answer, max_per_day, max_amount, amount_field, coalesce(would_block, 0) AS would_block,
       coalesce(eligible, 0) AS eligible, coalesce(let_through, 0) AS let_through
FROM sira_control_group g
LEFT JOIN sira_control_days d ON d.product = g.product AND d.day = (clock_timestamp() AT TIME ZONE 'UTC')::date
ORDER BY g.product;

-- name: lock_control_group
-- The control group of a product, after every other change to it has ended.
SELECT product, enabled, share, answer, max_per_day, max_amount, amount_field
FROM sira_control_group WHERE product = %(product)s FOR UPDATE;

-- name: store_control_group
-- Store the control group of one product. Its seed never changes, so that a repeated event gets the same answer.
INSERT INTO sira_control_group (product, enabled, share, answer, max_per_day, max_amount, amount_field, seed)
VALUES (%(product)s, %(enabled)s, %(share)s, %(answer)s, %(max_per_day)s, %(max_amount)s, %(amount_field)s,
        uuid_send(gen_random_uuid()))
ON CONFLICT (product) DO UPDATE SET enabled = excluded.enabled, share = excluded.share, answer = excluded.answer,
    max_per_day = excluded.max_per_day, max_amount = excluded.max_amount, amount_field = excluded.amount_field;

-- name: product_exists
-- Return whether a version of the product is registered. Reads a table of the registry.
SELECT EXISTS (SELECT FROM siramodel_registry WHERE product = %(product)s);
