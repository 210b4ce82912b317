-- in_flight and holder() show when the attempt began; a key that was issued and
-- not claimed, or whose row was inserted by hand, has no such time.
BEGIN;
SELECT outcome FROM idempotency.claim('claimed', 'since', lease => '1 minute');
SELECT idempotency.issue('since', 'cart') AS issued \gset
INSERT INTO idempotency.keys (scope, key, status, attempt, expires_at, slot)
	VALUES ('since', 'by hand', 'in_progress', 1, clock_timestamp() + interval '1 hour', -1);
SELECT CASE key WHEN :'issued' THEN 'issued' ELSE key END AS key, attempt,
	since BETWEEN now() AND clock_timestamp() AS since_the_claim
FROM idempotency.in_flight WHERE scope = 'since' ORDER BY since, attempt;
SELECT since FROM idempotency.holder('by hand', 'since');
ROLLBACK;
