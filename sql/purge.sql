-- purge() removes every key of a scope and of those below it, and no other.
SET client_min_messages = warning;
TRUNCATE idempotency.keys;
RESET client_min_messages;

CREATE FUNCTION pg_temp.fill(scope text, keys integer, ttl interval) RETURNS bigint
LANGUAGE sql AS $$
	SELECT count(*) FILTER (WHERE idempotency.once(scope || ttl || n, scope, ttl)) FROM generate_series(1, keys) AS n;
$$;

SELECT pg_temp.fill('purge/a', 100, '1 day'), pg_temp.fill('purge/b', 100, '1 day'),
	pg_temp.fill('purge/a', 100, '1 year');
SELECT idempotency.purge('purge/a');
SELECT scope, count(*) FROM idempotency.keys GROUP BY scope;
SELECT idempotency.purge('purge/a');

-- scopes below begin after a slash
SELECT pg_temp.fill('purge/c', 10, '1 day'), pg_temp.fill('purge/c/1', 10, '1 day'), pg_temp.fill('purge/c/1/x', 10, '1 year'),
	pg_temp.fill('purge/c1', 10, '1 day'), pg_temp.fill('purge', 10, '1 day'), pg_temp.fill('', 10, '1 day'), pg_temp.fill('/', 10, '1 day');
SELECT idempotency.purge('purge/c');
SELECT scope, count(*) FROM idempotency.keys GROUP BY scope ORDER BY scope COLLATE "C";
SELECT idempotency.purge('');
SELECT idempotency.purge('purge/');
SELECT scope, count(*) FROM idempotency.keys GROUP BY scope ORDER BY scope COLLATE "C";
SELECT idempotency.purge('purge');
SELECT scope, count(*) FROM idempotency.keys GROUP BY scope ORDER BY scope COLLATE "C";

-- a purge that is rolled back has removed nothing
SELECT pg_temp.fill('purge/b', 10, '1 day'), pg_temp.fill('purge/b', 10, '1 year');
BEGIN;
SELECT idempotency.purge('purge/b');
SELECT count(*) FROM idempotency.keys WHERE scope = 'purge/b';
ROLLBACK;
SELECT count(*) FROM idempotency.keys WHERE scope = 'purge/b';
-- the keys are free again
SELECT idempotency.purge('purge/b');
SELECT pg_temp.fill('purge/b', 10, '1 year');

-- keys that have expired are removed, too, and not counted
SELECT pg_temp.fill('purge/d', 10, '1 day');
SELECT pg_temp.fill('purge/d', 5, '1 us'), pg_sleep(0.001);
SELECT idempotency.purge('purge/d');
SELECT count(*) FROM idempotency.keys WHERE scope = 'purge/d';

-- a claim of the same transaction
BEGIN;
SELECT outcome FROM idempotency.claim('own', 'purge/e');
SELECT idempotency.purge('purge/e');
SELECT outcome, attempt FROM idempotency.claim('own', 'purge/e');
SELECT idempotency.complete('own', 'purge/e', '"second"');
COMMIT;
SELECT response FROM idempotency.lookup('own', 'purge/e');

-- invalid arguments
SELECT idempotency.purge(NULL);
BEGIN READ ONLY;
SELECT idempotency.purge('purge/a');
ROLLBACK;
