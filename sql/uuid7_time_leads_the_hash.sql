-- The hash of a key that is a UUID of version 7 begins with its time, so that
-- keys of the same time are neighbors in the index; the other bytes, and all
-- bytes for any other key, are hash.
CREATE FUNCTION leads(key text) RETURNS boolean LANGUAGE sql AS $$
	SELECT left(lower(replace(key, '-', '')), 12) = left(replace(idempotency.key_hash(key, 'uuid7')::text, '-', ''), 12)
$$;
SELECT key, leads(key) FROM (VALUES
	('0193a4f2-7c1b-7def-8abc-0123456789ab'),
	('0193A4F2-7C1B-7DEF-9ABC-0123456789AB'),
	('0193a4f2-7C1b-7dEf-aabc-0123456789aB'),
	('ffffffff-ffff-7fff-bfff-ffffffffffff'),
	('00000000-0000-7000-8000-000000000000'),
	-- another version, another variant
	('0193a4f2-7c1b-4def-8abc-0123456789ab'),
	('0193a4f2-7c1b-8def-8abc-0123456789ab'),
	('0193a4f2-7c1b-7def-7abc-0123456789ab'),
	('0193a4f2-7c1b-7def-cabc-0123456789ab'),
	-- no UUID, or another form of one
	('0193a4f27c1b7def8abc0123456789ab'),
	('0193a4f2-7c1b7-def-8abc-0123456789ab'),
	('{0193a4f2-7c1b-7def-8abc-0123456789a'),
	('0193a4f2-7c1b-7def-8abc-0123456789ag'),
	('0193a4f2-7c1b-7def-8abc-0123456789ab '),
	('0193a4f2-7c1b-7def-8abc-0123456789a'),
	('0193a4f2-7c1b-7def-8abc-0123456789' || E'\u00e9')) AS k (key);

-- lower and upper case are two keys, and scopes differ, with the same time
SELECT count(DISTINCT hash) AS hashes, count(DISTINCT left(hash::text, 13)) AS times
FROM (VALUES ('0193a4f2-7c1b-7def-8abc-0123456789ab'), ('0193A4F2-7C1B-7DEF-8ABC-0123456789AB')) AS k (key),
	(VALUES (''), ('a'), ('b')) AS s (scope), idempotency.key_hash(key, scope) AS hash;

-- the 80 bits after the time all depend on key and scope
SELECT count(DISTINCT right(replace(hash::text, '-', ''), 20)) AS hashes,
	bit_or(('x' || right(replace(hash::text, '-', ''), 20))::bit(80)) = repeat('1', 80)::bit(80) AS bits_set,
	bit_and(('x' || right(replace(hash::text, '-', ''), 20))::bit(80)) = repeat('0', 80)::bit(80) AS bits_clear
FROM generate_series(1, 1000) AS n, idempotency.key_hash('0193a4f2-7c1b-7def-8abc-' || lpad(n::text, 12, '0'), 'uuid7') AS hash;

-- and the 64 bits that name the lock do not depend on the time: a thousand keys of
-- one millisecond have a thousand locks.  (Without preload a command holds none.)
CREATE FUNCTION lock_held(request jsonb) RETURNS jsonb LANGUAGE sql AS $$
	SELECT to_jsonb(classid || ' ' || objid) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory' AND objsubid = 18756
$$;
SELECT count(DISTINCT response) IN (0, 1000) AS differ
FROM generate_series(1, 1000) AS n, idempotency.execute('0193a4f2-7c1b-7def-8abc-' || lpad(n::text, 12, '0'), 'uuid7/locks', 'lock_held');
SELECT count(*) FROM idempotency.keys AS k, idempotency.forget(k.key, k.scope) AS forgotten WHERE k.scope = 'uuid7/locks' AND forgotten;

-- keys of both kinds are claimed, completed, found, in batches and alone
SELECT array_agg('0193a4f2-7c1b-7def-8abc-' || lpad(n::text, 12, '0')) || '{a,b}' AS keys FROM generate_series(1, 50) AS n \gset
BEGIN;
SELECT outcome, count(*) FROM idempotency.claim_many(:'keys', 'uuid7') GROUP BY outcome;
SELECT idempotency.complete_many(:'keys', 'uuid7');
COMMIT;
SELECT count(*), bool_and(l.hash = k.hash) AS found FROM idempotency.keys AS k, idempotency.lookup(k.key, k.scope) AS l WHERE k.scope = 'uuid7';
SELECT outcome, count(*) FROM idempotency.claim_many(:'keys', 'uuid7') GROUP BY outcome;
SELECT idempotency.once('0193A4F2-7C1B-7DEF-8ABC-000000000001', 'uuid7');
SELECT count(*) FROM idempotency.keys AS k, idempotency.forget(k.key, k.scope) AS forgotten WHERE k.scope = 'uuid7' AND forgotten;
