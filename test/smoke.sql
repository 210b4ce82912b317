-- The test of all packages, on a new server that preloads the library.
\set ON_ERROR_STOP on

CREATE EXTENSION idempotency;
CREATE ROLE app;
SELECT idempotency.grant_usage('app') \g /dev/null
SET ROLE app;
DO $$
DECLARE
	c idempotency.claim_result;
BEGIN
	ASSERT idempotency.once('m1', 'smoke') AND NOT idempotency.once('m1', 'smoke');
	c := idempotency.claim('k1', 'smoke', '{"amount": 5}');
	ASSERT c.outcome = 'new', c;
	PERFORM idempotency.complete('k1', 'smoke', '{"id": 17}');
	c := idempotency.claim('k1', 'smoke', '{"amount": 5.0}');
	ASSERT c.outcome = 'replay' AND c.response = '{"id": 17}', c;
	c := idempotency.claim('k1', 'smoke', '{"amount": 6}');
	ASSERT c.outcome = 'mismatch', c;
END $$;
RESET ROLE;
DO $$
BEGIN
	ASSERT (SELECT sum(claims) FROM idempotency.stats) = 5, 'claims are counted';
	FOR tenth IN 1 .. 100 LOOP
		EXIT WHEN EXISTS (SELECT FROM pg_stat_activity WHERE backend_type LIKE '%idempotency%');
		PERFORM pg_sleep(0.1), pg_stat_clear_snapshot();
	END LOOP;
	ASSERT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type LIKE '%idempotency%'), 'the worker runs';
END $$;
SELECT 'idempotency ' || extversion || ' works on PostgreSQL ' || current_setting('server_version')
FROM pg_extension WHERE extname = 'idempotency';
