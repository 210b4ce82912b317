-- A caller's mistake raises an error of class IK with a hint, and leaves
-- nothing behind.
\getenv abs_srcdir PG_ABS_SRCDIR
\i :abs_srcdir/test/show_error.sql

-- The key: missing, empty, too long.
CALL pg_temp.show_error($$ SELECT idempotency.claim(NULL, 'bad_input') $$);
CALL pg_temp.show_error($$ SELECT idempotency.claim('', 'bad_input') $$);
CALL pg_temp.show_error($$ SELECT idempotency.claim(repeat('k', 256), 'bad_input') $$);
CALL pg_temp.show_error($$ SELECT idempotency.claim(repeat('k', 1000000), 'bad_input') $$);
CALL pg_temp.show_error($$ SELECT idempotency.claim(repeat(E'\u00e9', 128), 'bad_input') $$);
CALL pg_temp.show_error($$ SELECT idempotency.complete(NULL, 'bad_input') $$);
CALL pg_temp.show_error($$ SELECT idempotency.complete('', 'bad_input') $$);
CALL pg_temp.show_error($$ SELECT idempotency.fail(NULL, 'bad_input') $$);
CALL pg_temp.show_error($$ SELECT idempotency.fail('', 'bad_input') $$);
CALL pg_temp.show_error($$ SELECT idempotency.release(NULL, 'bad_input') $$);
CALL pg_temp.show_error($$ SELECT idempotency.release('', 'bad_input') $$);
CALL pg_temp.show_error($$ SELECT idempotency.heartbeat(NULL, 'bad_input') $$);
CALL pg_temp.show_error($$ SELECT idempotency.heartbeat('', 'bad_input') $$);
CALL pg_temp.show_error($$ SELECT idempotency.checkpoint(NULL, 'bad_input') $$);
CALL pg_temp.show_error($$ SELECT idempotency.checkpoint('', 'bad_input') $$);
CALL pg_temp.show_error($$ SELECT idempotency.lookup(NULL, 'bad_input') $$);
CALL pg_temp.show_error($$ SELECT idempotency.lookup('', 'bad_input') $$);

-- The scope: an empty string is a scope, NULL is not.
CALL pg_temp.show_error($$ SELECT idempotency.claim('key', NULL) $$);
CALL pg_temp.show_error($$ SELECT idempotency.complete('key', NULL) $$);
CALL pg_temp.show_error($$ SELECT idempotency.fail('key', NULL) $$);
CALL pg_temp.show_error($$ SELECT idempotency.release('key', NULL) $$);
CALL pg_temp.show_error($$ SELECT idempotency.heartbeat('key', NULL) $$);
CALL pg_temp.show_error($$ SELECT idempotency.checkpoint('key', NULL) $$);
CALL pg_temp.show_error($$ SELECT idempotency.lookup('key', NULL) $$);

-- The scope: at most 1,000 bytes, and no request in its place.
CALL pg_temp.show_error($$ SELECT idempotency.claim('key', repeat('s', 1001)) $$);
CALL pg_temp.show_error($$ SELECT idempotency.claim('key', repeat(E'\u00e9', 501)) $$);
CALL pg_temp.show_error($$ SELECT idempotency.claim('key', '{"amount": 1}') $$);
CALL pg_temp.show_error($$ SELECT idempotency.claim('key', '[]') $$);
CALL pg_temp.show_error($$ SELECT idempotency.execute('key', '{}', 'jsonb_pass', '{}') $$);
CALL pg_temp.show_error($$ SELECT idempotency.complete('key', '{"id": 1}') $$);
CALL pg_temp.show_error($$ SELECT idempotency.lookup('key', '{}') $$);
CALL pg_temp.show_error($$ SELECT idempotency.claim_many('{a}', '{}') $$);
CALL pg_temp.show_error($$ SELECT idempotency.issue('{}', 'cart') $$);
CALL pg_temp.show_error($$ SELECT idempotency.issue(repeat('s', 1001), 'cart') $$);
CALL pg_temp.show_error($$ SELECT idempotency.set_policy('[]', ttl => '1 day') $$);
CALL pg_temp.show_error($$ SELECT idempotency.set_policy(repeat('s', 1001), ttl => '1 day') $$);
CALL pg_temp.show_error($$ SELECT idempotency.purge('[]') $$);
CALL pg_temp.show_error($$ SELECT idempotency.erase_scope('{}') $$);
CALL pg_temp.show_error($$ SELECT idempotency.retain('key', '{}', '1 day') $$);
BEGIN;
SELECT outcome FROM idempotency.claim('key', repeat('s', 1000));
SELECT length(idempotency.issue(repeat('s', 1000), 'cart'));
ROLLBACK;
\set VERBOSITY sqlstate
SELECT idempotency.execute('key', 'bad_input');
\set VERBOSITY default

-- Intervals: zero, negative, longer than any calendar.
CALL pg_temp.show_error($$ SELECT idempotency.claim('key', 'bad_input', ttl => '0') $$);
CALL pg_temp.show_error($$ SELECT idempotency.claim('key', 'bad_input', ttl => '-1 us') $$);
CALL pg_temp.show_error($$ SELECT idempotency.claim('key', 'bad_input', ttl => '1 month -30 days') $$);
CALL pg_temp.show_error($$ SELECT idempotency.claim('key', 'bad_input', ttl => '-1 month 29 days 23:59:59') $$);
CALL pg_temp.show_error($$ SELECT idempotency.claim('key', 'bad_input', ttl => '-178000000 years') $$);
CALL pg_temp.show_error($$ SELECT idempotency.claim('key', 'bad_input', ttl => '178000000 years') $$);
CALL pg_temp.show_error($$ SELECT idempotency.claim('key', 'bad_input', ttl => '2147483647 days') $$);
CALL pg_temp.show_error($$ SELECT idempotency.claim('key', 'bad_input', ttl => '2500000000 hours') $$);
CALL pg_temp.show_error($$ SELECT idempotency.claim('key', 'bad_input', ttl => '6000 years') $$);
CALL pg_temp.show_error($$ SELECT idempotency.claim('key', 'bad_input', lease => '0') $$);
CALL pg_temp.show_error($$ SELECT idempotency.claim('key', 'bad_input', lease => '-1 s') $$);
CALL pg_temp.show_error($$ SELECT idempotency.claim('key', 'bad_input', lease => '178000000 years') $$);
CALL pg_temp.show_error($$ SELECT idempotency.claim('key', 'bad_input', wait => '-1 us') $$);
CALL pg_temp.show_error($$ SELECT idempotency.claim('key', 'bad_input', wait => '-178000000 years') $$);
CALL pg_temp.show_error($$ SELECT idempotency.claim('key', 'bad_input', wait => '178000000 years') $$);

-- Since PostgreSQL 17 an interval can be infinite: it is too long.
SELECT CASE WHEN current_setting('server_version_num')::integer >= 170000
			THEN 'infinity' ELSE '178000000 years' END AS endless \gset
SELECT format('SELECT idempotency.claim(%L, %L, ttl => %L)', 'key', 'bad_input', :'endless') AS statement \gset
CALL pg_temp.show_error(:'statement');
SELECT format('SELECT idempotency.claim(%L, %L, lease => %L)', 'key', 'bad_input', :'endless') AS statement \gset
CALL pg_temp.show_error(:'statement');
SELECT format('SELECT idempotency.claim(%L, %L, wait => %L)', 'key', 'bad_input', :'endless') AS statement \gset
CALL pg_temp.show_error(:'statement');

-- None of these claimed anything.
SELECT count(*) FROM idempotency.keys WHERE scope = 'bad_input';

-- The same for functions that end or prolong a claim; the claim does not change.
BEGIN;
SELECT outcome FROM idempotency.claim('key', 'bad_input', lease => '1 minute');
CALL pg_temp.show_error($$ SELECT idempotency.complete('key', 'bad_input', ttl => '0') $$);
CALL pg_temp.show_error($$ SELECT idempotency.complete('key', 'bad_input', ttl => '-1 s') $$);
CALL pg_temp.show_error($$ SELECT idempotency.complete('key', 'bad_input', ttl => '178000000 years') $$);
CALL pg_temp.show_error($$ SELECT idempotency.complete('key', 'bad_input', status_code => 99) $$);
CALL pg_temp.show_error($$ SELECT idempotency.complete('key', 'bad_input', status_code => 600) $$);
CALL pg_temp.show_error($$ SELECT idempotency.complete('key', 'bad_input', status_code => 0) $$);
CALL pg_temp.show_error($$ SELECT idempotency.complete('key', 'bad_input', status_code => -200) $$);
CALL pg_temp.show_error($$ SELECT idempotency.complete('key', 'bad_input', status_code => 2147483647) $$);
CALL pg_temp.show_error($$ SELECT idempotency.complete('key', 'bad_input', attempt => 0) $$);
CALL pg_temp.show_error($$ SELECT idempotency.complete('key', 'bad_input', attempt => -1) $$);
CALL pg_temp.show_error($$ SELECT idempotency.complete('key', 'bad_input', attempt => -2147483648) $$);
CALL pg_temp.show_error($$ SELECT idempotency.fail('key', 'bad_input', ttl => '0') $$);
CALL pg_temp.show_error($$ SELECT idempotency.fail('key', 'bad_input', status_code => 600) $$);
CALL pg_temp.show_error($$ SELECT idempotency.fail('key', 'bad_input', attempt => 0) $$);
CALL pg_temp.show_error($$ SELECT idempotency.release('key', 'bad_input', 0) $$);
CALL pg_temp.show_error($$ SELECT idempotency.heartbeat('key', 'bad_input', -1) $$);
CALL pg_temp.show_error($$ SELECT idempotency.heartbeat('key', 'bad_input', lease => '0') $$);
CALL pg_temp.show_error($$ SELECT idempotency.heartbeat('key', 'bad_input', lease => '-1 day') $$);
CALL pg_temp.show_error($$ SELECT idempotency.heartbeat('key', 'bad_input', lease => '178000000 years') $$);
CALL pg_temp.show_error($$ SELECT idempotency.checkpoint('key', 'bad_input', attempt => 0) $$);
CALL pg_temp.show_error($$ SELECT idempotency.checkpoint('key', 'bad_input', lease => '0') $$);
SELECT status, attempt, status_code FROM idempotency.lookup('key', 'bad_input');

-- NULL means the default if the default is NULL.
SELECT outcome FROM idempotency.claim('nulls', 'bad_input', NULL, NULL, NULL, NULL, NULL);
SAVEPOINT claimed;
SELECT idempotency.heartbeat('nulls', 'bad_input', NULL, NULL);
ROLLBACK TO claimed;
SELECT idempotency.checkpoint('nulls', 'bad_input', NULL, NULL, NULL, NULL);
SELECT idempotency.complete('nulls', 'bad_input', NULL, NULL, NULL, NULL, NULL);
SELECT outcome, status_code, resource_id, response FROM idempotency.claim('nulls', 'bad_input');
COMMIT;

-- The longest intervals.
SELECT outcome, expires_at > clock_timestamp() + interval '4999 years' AS remembered
FROM idempotency.claim('longest', 'bad_input', ttl => '5000 years', lease => '5000 years',
					   wait => '5000 years', first_sent => clock_timestamp());

-- No such claim.
CALL pg_temp.show_error($$ SELECT idempotency.complete('absent', 'bad_input') $$);
CALL pg_temp.show_error($$ SELECT idempotency.complete('absent', 'bad_input', attempt => 1) $$);
CALL pg_temp.show_error($$ SELECT idempotency.fail('absent', 'bad_input', attempt => 1) $$);
CALL pg_temp.show_error($$ SELECT idempotency.release('absent', 'bad_input', 1) $$);
CALL pg_temp.show_error($$ SELECT idempotency.heartbeat('absent', 'bad_input', 1) $$);
CALL pg_temp.show_error($$ SELECT idempotency.checkpoint('absent', 'bad_input', attempt => 1) $$);
CALL pg_temp.show_error($$ SELECT idempotency.complete('key', 'bad_input/other', attempt => 1) $$);
CALL pg_temp.show_error($$ SELECT idempotency.complete(repeat('k', 1000000), 'bad_input', attempt => 1) $$);

SELECT key, status FROM idempotency.keys WHERE scope = 'bad_input' ORDER BY key COLLATE "C";
