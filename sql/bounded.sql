-- Messages show a limited number of bytes of the caller's input; attempts
-- never wrap around; policies of a thousand levels are distinguished.
SELECT idempotency.set_policy('bounded/long', require_request => true);
SET idempotency.max_key_length = 8192;
CREATE FUNCTION message_of(statement text) RETURNS TABLE (message integer, detail integer) LANGUAGE plpgsql AS $$
DECLARE
	raised text;
	more text;
BEGIN
	EXECUTE statement;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS raised = MESSAGE_TEXT, more = PG_EXCEPTION_DETAIL;
	RETURN QUERY SELECT octet_length(substring(raised FROM '"(.*)"')), octet_length(substring(more FROM '"(.*)"'));
END $$;
SELECT message FROM message_of($$ SELECT idempotency.complete(repeat('k', 8192), 'none') $$);
SELECT message FROM message_of($$ SELECT idempotency.complete(repeat('é', 4000), 'none') $$);
SELECT message, detail FROM message_of($$ SELECT idempotency.claim(repeat('k', 8192), 'bounded/long/' || repeat('s', 987)) $$);
RESET idempotency.max_key_length;
SELECT idempotency.drop_policy('bounded/long');

-- the highest attempt
INSERT INTO idempotency.keys (scope, key, status, attempt, expires_at, slot) VALUES ('bounded', 'last', 'released', 2147483646, 'infinity', -1);
BEGIN;
SELECT outcome, attempt FROM idempotency.claim('last', 'bounded', lease => '1 minute');
SELECT idempotency.release('last', 'bounded');
SELECT outcome FROM idempotency.claim('last', 'bounded');
ROLLBACK;
SELECT idempotency.forget('last', 'bounded');

-- a thousand levels, each with a policy
INSERT INTO idempotency.policy (scope, min_key_length) SELECT repeat('/', n), 1 + n % 3 FROM generate_series(1, 1000) AS n;
BEGIN;
SELECT outcome FROM idempotency.claim('ab', repeat('/', 1000));
SELECT outcome FROM idempotency.claim('a', repeat('/', 999));
SELECT idempotency.claim('a', repeat('/', 1000));
ROLLBACK;
DELETE FROM idempotency.policy WHERE scope LIKE '/%';
DROP FUNCTION message_of(text);
