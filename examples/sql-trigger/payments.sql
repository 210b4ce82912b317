-- Payments behind a trigger: the application inserts a key with its row, and
-- knows nothing else of the extension.
--
-- A row whose key has come before is skipped; if the rest of it differs, it is
-- refused with IK422.  A row without a key goes in as ever.
ALTER TABLE payments ADD COLUMN idempotency_key text;
CREATE INDEX ON payments (idempotency_key);

CREATE TRIGGER claim_key BEFORE INSERT ON payments
	FOR EACH ROW EXECUTE FUNCTION idempotency.guard('idempotency_key', 'payments', 'skip');
CREATE TRIGGER complete_key AFTER INSERT ON payments
	FOR EACH ROW EXECUTE FUNCTION idempotency.guard('idempotency_key', 'payments');
