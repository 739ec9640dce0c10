-- One-time sign-in links: one block per function of console/sign_in/links.py.

-- name: links_exist
-- Return whether migration 010 has run.
SELECT to_regclass('sira_console_links') IS NOT NULL;

-- name: insert_link
-- Store a link by the hash of its code, and delete those that have expired.
WITH expired AS (DELETE FROM sira_console_links WHERE expires_at < clock_timestamp())
INSERT INTO sira_console_links (code_sha256, subject, role, expires_at)
VALUES (%(code_sha256)s, %(subject)s, %(role)s, clock_timestamp() + %(lifetime)s::interval);

-- name: redeem_link
-- Delete a link that is still valid and return whom it names: of two that redeem it at once, one gets it.
DELETE FROM sira_console_links WHERE code_sha256 = %(code_sha256)s AND expires_at >= clock_timestamp()
RETURNING subject, role;
