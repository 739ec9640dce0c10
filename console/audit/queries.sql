-- What the page of the audit log reads: one block per function of console/audit/store.py.

-- name: audit_rows
-- Audit rows before a sequence number, newest first, of one actor, subject or kind of action.
SELECT seq, at, actor, action, subject, before, after, reason, previous, sha256 FROM sira_audit_log
WHERE (%(below)s::bigint IS NULL OR seq < %(below)s)
  AND (%(actor)s::text IS NULL OR actor = %(actor)s)
  AND (%(subject)s::text IS NULL OR subject = %(subject)s)
  AND (%(action)s::text IS NULL OR action LIKE %(action)s || '%%')
ORDER BY seq DESC LIMIT %(limit)s;

-- name: audit_head
-- The last row's sequence number and hash.
SELECT seq, sha256 FROM sira_audit_log ORDER BY seq DESC LIMIT 1;
