-- A key is remembered from the claim on if claim and completion share a
-- transaction, and from the completion if they do not or if complete() is
-- given a ttl. An unfinished claim never expires before its lease.
CREATE FUNCTION counted_from(name text, term interval) RETURNS text
BEGIN ATOMIC
	SELECT CASE expires_at WHEN claimed_at + term THEN 'claim' WHEN completed_at + term THEN 'completion' WHEN lease_until THEN 'lease' ELSE 'neither' END
	FROM idempotency.lookup(name, 'ttl');
END;

-- one transaction
BEGIN;
SELECT outcome FROM idempotency.claim('one', 'ttl', ttl => '3 hours'), pg_sleep(0.001);
SELECT idempotency.complete('one', 'ttl');
COMMIT;
SELECT counted_from('one', '3 hours');
BEGIN;
SELECT outcome FROM idempotency.claim('one by default', 'ttl'), pg_sleep(0.001);
SELECT idempotency.fail('one by default', 'ttl');
COMMIT;
SELECT counted_from('one by default', '1 day');

-- savepoints belong to the same transaction
BEGIN;
SAVEPOINT a;
SELECT outcome FROM idempotency.claim('savepoint', 'ttl', ttl => '3 hours'), pg_sleep(0.001);
RELEASE a;
SAVEPOINT b;
SELECT idempotency.complete('savepoint', 'ttl', attempt => 1);
COMMIT;
SELECT counted_from('savepoint', '3 hours');

-- one transaction, and complete() is given a ttl
BEGIN;
SELECT outcome FROM idempotency.claim('explicit', 'ttl', ttl => '3 hours'), pg_sleep(0.001);
SELECT idempotency.complete('explicit', 'ttl', ttl => '2 hours');
COMMIT;
SELECT counted_from('explicit', '2 hours');

-- two transactions
SELECT outcome FROM idempotency.claim('two', 'ttl', ttl => '3 hours', lease => '1 minute');
SELECT counted_from('two', '3 hours');
SELECT idempotency.complete('two', 'ttl', attempt => 1);
SELECT counted_from('two', '3 hours');
SELECT outcome FROM idempotency.claim('two by default', 'ttl', lease => '1 minute');
SELECT idempotency.fail('two by default', 'ttl', attempt => 1);
SELECT counted_from('two by default', '1 day');
SELECT outcome FROM idempotency.claim('two explicit', 'ttl', ttl => '3 hours', lease => '1 minute');
SELECT idempotency.complete('two explicit', 'ttl', attempt => 1, ttl => '5 minutes');
SELECT counted_from('two explicit', '5 minutes');

-- a takeover counts by its own ttl
SELECT outcome FROM idempotency.claim('takeover', 'ttl', ttl => '3 hours', lease => '1 us'), pg_sleep(0.001);
BEGIN;
SELECT outcome, attempt FROM idempotency.claim('takeover', 'ttl', ttl => '5 hours'), pg_sleep(0.001);
SELECT idempotency.complete('takeover', 'ttl');
COMMIT;
SELECT counted_from('takeover', '5 hours');

-- an unfinished claim lives as long as its lease, however short its ttl
SELECT outcome, expires_at - claimed_at AS kept FROM idempotency.claim('short', 'ttl', ttl => '1 us', lease => '2 hours');
SELECT outcome FROM idempotency.claim('short', 'ttl'), pg_sleep(0.001);
SELECT counted_from('short', '1 us');
SELECT idempotency.checkpoint('short', 'ttl', 'step', attempt => 1, lease => '4 hours');
SELECT counted_from('short', '1 us');
SELECT outcome FROM idempotency.claim('short', 'ttl');
SELECT idempotency.complete('short', 'ttl', attempt => 1, ttl => '1 minute');
SELECT counted_from('short', '1 minute');

-- counted by the clock, not from the start of the transaction
BEGIN;
SELECT count(*) FROM pg_sleep(0.002);
SELECT claimed_at > now() + interval '1 ms' AS clock FROM idempotency.claim('clock', 'ttl');
SELECT count(*) FROM pg_sleep(0.002);
SELECT idempotency.complete('clock', 'ttl');
SELECT completed_at > claimed_at + interval '1 ms' AS clock FROM idempotency.lookup('clock', 'ttl');
COMMIT;

-- A key whose ttl becomes longer or shorter has one row, in the table of the
-- wheel for its expiry.
CREATE TABLE term (number integer, ttl interval);
INSERT INTO term VALUES (1, '1 s'), (2, '30 minutes'), (3, '23 hours'), (4, '1 day'), (5, '25 hours'), (6, '49 hours'),
	(7, '5 days'), (8, '7 days'), (9, '8 days'), (10, '9 days'), (11, '30 days'), (12, '1 year'), (13, '5000 years');
CREATE FUNCTION claim_and_complete() RETURNS void LANGUAGE sql AS $$
	SELECT idempotency.claim('from ' || a.number || ' to ' || b.number, 'ttl', ttl => a.ttl, lease => '1 us') FROM term AS a, term AS b;
	SELECT idempotency.complete('from ' || a.number || ' to ' || b.number, 'ttl', '1', attempt => 1, ttl => b.ttl) FROM term AS a, term AS b;
$$;
SELECT claim_and_complete();
SELECT a.number, b.number FROM term AS a, term AS b LEFT JOIN LATERAL idempotency.lookup('from ' || a.number || ' to ' || b.number, 'ttl') AS l ON true
WHERE b.number > 1 AND (l.response = '1' AND l.expires_at = l.completed_at + b.ttl) IS NOT TRUE;
SELECT count(*) AS row_count, count(DISTINCT key) AS keys FROM idempotency.keys WHERE scope = 'ttl' AND key LIKE 'from %';
SELECT count(*) AS outlive_their_slot FROM idempotency.keys AS k
WHERE slot >= 0 AND expires_at > (SELECT max(until) FROM idempotency.wheel AS w WHERE w.slot = k.slot);
DROP FUNCTION claim_and_complete;
DROP FUNCTION counted_from;
DROP TABLE term;
