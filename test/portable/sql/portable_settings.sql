-- Policies override settings, which every role may set.
SELECT outcome, expires_at - claimed_at AS ttl FROM idempotency.claim('a', 'portable_settings', lease => '1 us');
SET idempotency.default_ttl = '2 hours';
SET idempotency.default_lease = '3 minutes';
SELECT outcome, expires_at - claimed_at AS ttl FROM idempotency.claim('b', 'portable_settings');
SELECT lease_until - claimed_at AS lease FROM idempotency.lookup('b', 'portable_settings');
SELECT idempotency.set_policy('portable_settings', ttl => '5 hours', lease => '0');
BEGIN;
SELECT outcome, expires_at - claimed_at AS ttl FROM idempotency.claim('c', 'portable_settings');
SELECT lease_until FROM idempotency.lookup('c', 'portable_settings');
ROLLBACK;
SELECT idempotency.drop_policy('portable_settings');
RESET idempotency.default_ttl;
RESET idempotency.default_lease;
SET idempotency.max_key_length = 5;
SELECT idempotency.claim('123456', 'portable_settings');
RESET idempotency.max_key_length;

-- the prefix of SQLSTATEs
\set VERBOSITY sqlstate
SET idempotency.sqlstate_prefix = 'PT';
SELECT idempotency.claim('', 'portable_settings');
SELECT idempotency.complete('absent', 'portable_settings', attempt => 1);
SELECT outcome FROM idempotency.claim('unfinished', 'portable_settings');
RESET idempotency.sqlstate_prefix;
\set VERBOSITY default

-- A transaction uses only its share of the lock table; ROLLBACK TO returns a part.
BEGIN;
SELECT count(idempotency.claim(n::text, 'portable_settings')) FROM generate_series(1, 50) AS n;
SAVEPOINT s;
SELECT count(idempotency.claim(n::text, 'portable_settings')) FROM generate_series(51, 250) AS n;
SELECT count(*) = current_setting('max_locks_per_transaction')::integer AS a_share FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid();
ROLLBACK TO s;
SELECT count(idempotency.claim(n::text, 'portable_settings')) FROM generate_series(51, 60) AS n;
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid();
SELECT count(idempotency.complete(n::text, 'portable_settings')) FROM generate_series(1, 60) AS n;
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid();
COMMIT;
DELETE FROM idempotency.keys WHERE scope = 'portable_settings';
