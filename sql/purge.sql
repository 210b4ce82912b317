-- purge() removes every key of a scope and no other

SET client_min_messages = warning;
TRUNCATE idempotency.keys;
RESET client_min_messages;

CREATE FUNCTION pg_temp.fill(scope text, keys integer, ttl interval) RETURNS bigint
LANGUAGE sql AS $$
	SELECT count(*) FROM idempotency.claim_many(
		(SELECT array_agg(scope || n) FROM generate_series(1, keys) AS n), scope, ttl => ttl, lease => '1 minute');
$$;

CREATE FUNCTION pg_temp.storage() RETURNS TABLE (leaf regclass, file oid)
LANGUAGE sql AS $$
	SELECT inhrelid::regclass, pg_relation_filenode(inhrelid)
	FROM pg_inherits WHERE inhparent = 'idempotency.keys'::regclass;
$$;

-- beside another scope: row by row
SELECT pg_temp.fill('purge/a', 100, '1 day'), pg_temp.fill('purge/b', 100, '1 day'),
	pg_temp.fill('purge/a', 100, '1 year');
SELECT idempotency.purge('purge/a');
SELECT scope, count(*) FROM idempotency.keys GROUP BY scope;
SELECT idempotency.purge('purge/a');

-- not the scopes below it
SELECT idempotency.purge('purge');
SELECT count(*) FROM idempotency.keys;

-- whole leaves are emptied as one
CREATE TEMP TABLE before AS SELECT * FROM pg_temp.storage();
SELECT idempotency.purge('purge/b');
SELECT count(*) FROM idempotency.keys;
SELECT count(*) AS emptied FROM pg_temp.storage() AS now JOIN before USING (leaf) WHERE now.file <> before.file;

-- a purge that is rolled back has removed nothing, either way
SELECT pg_temp.fill('purge/a', 10, '1 day'), pg_temp.fill('purge/b', 10, '1 day'), pg_temp.fill('purge/b', 10, '1 year');
BEGIN;
SELECT idempotency.purge('purge/b');
SELECT scope, count(*) FROM idempotency.keys GROUP BY scope;
ROLLBACK;
SELECT scope, count(*) FROM idempotency.keys GROUP BY scope ORDER BY scope;

-- the keys are free again
SELECT idempotency.purge('purge/b');
SELECT outcome, attempt FROM idempotency.claim('purge/b1', 'purge/b', lease => '1 minute');

-- expired keys of another scope do not keep a leaf from being emptied, and are not counted
SELECT idempotency.purge('purge/a'), idempotency.purge('purge/b');
SELECT pg_temp.fill('purge/a', 10, '1 day');
SET session_replication_role = replica;
UPDATE idempotency.keys SET expires_at = clock_timestamp() - interval '1 second' WHERE key <> 'purge/a1';
RESET session_replication_role;
SELECT idempotency.purge('purge/a');

-- misuse
SELECT idempotency.purge(NULL);
BEGIN READ ONLY;
SELECT idempotency.purge('purge/a');
ROLLBACK;
