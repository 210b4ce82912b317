-- Two keys with the same hash are an error, never a wrong answer. No such pair
-- is known, so the owner of the tables forges one.

-- The hash of a row that arrives by hand is computed, whatever the row says.
\set VERBOSITY terse
BEGIN;
INSERT INTO idempotency.keys (scope, key, status, attempt, expires_at, slot, hash)
VALUES ('hash_collision', 'other', 'released', 1, 'infinity', -1, idempotency.key_hash('key', 'hash_collision')),
	('hash_collision', 'none', 'released', 1, 'infinity', -1, NULL);
INSERT INTO idempotency.keys_long (scope, key, status, attempt, expires_at, slot, hash)
VALUES ('hash_collision', 'leaf', 'released', 1, 'infinity', -1, gen_random_uuid());
SELECT key, hash = idempotency.key_hash(key, scope) AS computed FROM idempotency.keys WHERE scope = 'hash_collision';
SELECT outcome, attempt FROM idempotency.claim('other', 'hash_collision');
ROLLBACK;
-- If no trigger computes the hash, a wrong one is refused.
BEGIN;
ALTER TABLE idempotency.keys DISABLE TRIGGER ALL;
INSERT INTO idempotency.keys (scope, key, status, attempt, expires_at, slot, hash)
VALUES ('hash_collision', 'other', 'completed', 1, 'infinity', -1, idempotency.key_hash('key', 'hash_collision'));
ROLLBACK;
\echo :LAST_ERROR_SQLSTATE
BEGIN;
ALTER TABLE idempotency.keys_long DISABLE TRIGGER ALL;
INSERT INTO idempotency.keys_long (scope, key, status, attempt, expires_at, slot, hash)
VALUES ('other', 'key', 'completed', 1, 'infinity', -1, idempotency.key_hash('key', 'hash_collision'));
ROLLBACK;
\echo :LAST_ERROR_SQLSTATE
-- the same key twice is refused, too
INSERT INTO idempotency.keys (scope, key, status, attempt, expires_at, slot, hash)
SELECT 'hash_collision', 'twice', 'completed', 1, 'infinity', -1, idempotency.key_hash('twice', 'hash_collision')
FROM generate_series(1, 2);
\echo :LAST_ERROR_SQLSTATE
\set VERBOSITY default

BEGIN;
ALTER TABLE idempotency.keys DROP CONSTRAINT keys_hash;
ALTER TABLE idempotency.keys DISABLE TRIGGER use_leaf;
SAVEPOINT no_row;
-- another key of the scope
INSERT INTO idempotency.keys (scope, key, status, attempt, claimed_at, completed_at, expires_at, slot, hash)
VALUES ('hash_collision', 'other', 'completed', 1, now(), now(), 'infinity', -1, idempotency.key_hash('key', 'hash_collision'));
SAVEPOINT forged;
SELECT outcome FROM idempotency.claim('key', 'hash_collision');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK TO forged;
SELECT idempotency.complete('key', 'hash_collision', attempt => 1);
\echo :LAST_ERROR_SQLSTATE
ROLLBACK TO forged;
SELECT status FROM idempotency.lookup('key', 'hash_collision');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK TO no_row;
-- the same key of another scope, in progress
INSERT INTO idempotency.keys (scope, key, status, attempt, lease_until, claimed_at, expires_at, slot, hash)
VALUES ('other', 'key', 'in_progress', 1, 'infinity', now(), 'infinity', -1, idempotency.key_hash('key', 'hash_collision'));
SAVEPOINT forged;
SELECT outcome FROM idempotency.claim('key', 'hash_collision');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK TO forged;
-- other keys are not affected
SELECT outcome FROM idempotency.claim('another', 'hash_collision');
ROLLBACK TO no_row;
-- the same bytes, divided differently
INSERT INTO idempotency.keys (scope, key, status, attempt, claimed_at, completed_at, expires_at, slot, hash)
VALUES ('hash_collisionk', 'ey', 'completed', 1, now(), now(), 'infinity', -1, idempotency.key_hash('key', 'hash_collision'));
SELECT outcome FROM idempotency.claim('key', 'hash_collision');
ROLLBACK;

-- without the forged row the key is free
SELECT outcome FROM idempotency.claim('key', 'hash_collision', lease => '1 minute');
SELECT count(*) FROM pg_constraint WHERE conname = 'keys_hash' AND conrelid = 'idempotency.keys'::regclass;

-- Hashes of 100,000 keys and their scopes are different.
SELECT count(DISTINCT idempotency.key_hash(n::text, (n % 10)::text)) FROM generate_series(1, 100000) AS n;
SELECT count(DISTINCT idempotency.key_hash(left('abcdefgh', n), right('abcdefgh', -n))) FROM generate_series(0, 8) AS n;
-- Each half depends on both the key and the scope.
SELECT count(DISTINCT left(hash::text, 18)) AS left_by_scope, count(DISTINCT right(hash::text, 17)) AS right_by_scope
FROM generate_series(1, 1000) AS n, idempotency.key_hash('key', n::text) AS hash;
SELECT count(DISTINCT left(hash::text, 18)) AS left_by_key, count(DISTINCT right(hash::text, 17)) AS right_by_key
FROM generate_series(1, 1000) AS n, idempotency.key_hash(n::text, 'scope') AS hash;
SELECT count(*) AS equal_halves FROM generate_series(1, 1000) AS n, idempotency.key_hash(n::text, 'scope') AS hash
WHERE left(replace(hash::text, '-', ''), 16) = right(replace(hash::text, '-', ''), 16);
