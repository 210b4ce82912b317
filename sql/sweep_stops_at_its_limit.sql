-- A round deletes no more rows than its limit, and the next ones continue
-- until no expired rows are left.
SET client_min_messages = warning;
TRUNCATE idempotency.keys;
RESET client_min_messages;
DO $$
BEGIN
	FOR n IN 1..300 LOOP
		PERFORM idempotency.claim('key ' || n, 'sweep_limit', ttl => '1 year', lease => '1 hour');
		PERFORM idempotency.complete('key ' || n, 'sweep_limit', attempt => 1, ttl => '0.001 s');
	END LOOP;
END
$$;
SELECT pg_sleep(0.01);
SELECT rows_deleted FROM idempotency.sweep(10);
SELECT rows_deleted FROM idempotency.sweep(10);
SELECT count(*) FROM idempotency.keys;
SELECT rows_deleted FROM idempotency.sweep(1000);
SELECT count(*) FROM idempotency.keys;
