-- Each setting is the default for calls that leave out its argument.
SELECT count(*) FROM idempotency.lookup('settings');

SET idempotency.default_ttl = '2 hours';
SET idempotency.default_lease = '90s';
SELECT outcome, expires_at - claimed_at AS ttl FROM idempotency.claim('terms', 'settings');
SELECT lease_until - claimed_at AS lease FROM idempotency.lookup('terms', 'settings');
SELECT idempotency.heartbeat('terms', 'settings', 1) - clock_timestamp() BETWEEN '80 s' AND '90 s' AS lease;
SELECT outcome, retry_after BETWEEN '80 s' AND '90 s' AS retry_after FROM idempotency.claim('terms', 'settings');
SELECT idempotency.complete('terms', 'settings', attempt => 1);
SELECT expires_at - completed_at AS ttl FROM idempotency.lookup('terms', 'settings');
SELECT outcome FROM idempotency.claim('old', 'settings', first_sent => clock_timestamp() - interval '3 hours');

-- arguments override settings
SELECT outcome, expires_at - claimed_at AS ttl FROM idempotency.claim('explicit', 'settings', ttl => '3 hours', lease => '4 s');
SELECT lease_until - claimed_at AS lease FROM idempotency.lookup('explicit', 'settings');
SELECT outcome FROM idempotency.claim('old', 'settings', ttl => '4 hours', first_sent => clock_timestamp() - interval '3 hours');

-- a claim keeps the ttl it asked for
SET idempotency.default_ttl = '5 hours';
SELECT idempotency.complete('explicit', 'settings', attempt => 1);
SELECT expires_at - completed_at AS ttl FROM idempotency.lookup('explicit', 'settings');
RESET idempotency.default_lease;

-- for one transaction, for one function
BEGIN;
SET LOCAL idempotency.default_ttl = '7 hours';
SELECT expires_at - claimed_at AS ttl FROM idempotency.claim('local', 'settings', lease => '1 minute');
COMMIT;
CREATE FUNCTION claim_for_minutes(key text) RETURNS interval
LANGUAGE sql SET idempotency.default_ttl = '8 minutes'
AS $$ SELECT expires_at - claimed_at FROM idempotency.claim(key, 'settings', lease => '1 minute') $$;
SELECT claim_for_minutes('function');
SELECT expires_at - claimed_at AS ttl FROM idempotency.claim('session', 'settings', lease => '1 minute');
DROP FUNCTION claim_for_minutes;
RESET idempotency.default_ttl;

-- intervals in words, and with the units of settings
SET idempotency.default_ttl = '36h';
SELECT expires_at = claimed_at + interval '36 hours' AS ttl FROM idempotency.claim('36h', 'settings', lease => '1 minute');
SET idempotency.default_ttl = '1 week 2 days 03:04:05';
SELECT expires_at = claimed_at + interval '9 days 03:04:05' AS ttl FROM idempotency.claim('words', 'settings', lease => '1 minute');
SET idempotency.default_ttl = 'P1DT2H';
SELECT expires_at = claimed_at + interval '1 day 2 hours' AS ttl FROM idempotency.claim('iso', 'settings', lease => '1 minute');
RESET idempotency.default_ttl;

-- an invalid interval, or one that is not longer than zero, is refused
SET idempotency.default_ttl = '0';
SET idempotency.default_ttl = '-1 day';
SET idempotency.default_ttl = '1 month -29 days';
SET idempotency.default_ttl = '-1 month 31 days';
SELECT outcome FROM idempotency.claim('February', 'settings', ttl => '1 month -28 days');
SELECT outcome FROM idempotency.claim('February', 'settings', ttl => '1 month -27 days', lease => '1 month -27 days');
SET idempotency.default_ttl = '';
SET idempotency.default_ttl = 'soon';
SET idempotency.default_ttl = 'infinity';
SET idempotency.default_ttl = '1 day 1 day x';
SET idempotency.default_ttl = '999999999999999999 days';
SET idempotency.default_lease = 'none';
SET idempotency.default_lease = '0';
RESET idempotency.default_lease;
SET idempotency.default_lease = 'OFF';
RESET idempotency.default_lease;
SET idempotency.default_lease = '-1 s';
SET idempotency.default_wait = '-1 ms';
SET idempotency.default_wait = '0';
RESET idempotency.default_wait;
SHOW idempotency.default_ttl;
SHOW idempotency.default_lease;

-- a number other than zero needs a unit
SET idempotency.default_ttl = '60';
SET idempotency.default_ttl = 60;
SET idempotency.default_ttl = ' 1.5 ';
SET idempotency.default_ttl = '1e6';
SET idempotency.default_lease = '-60';
SET idempotency.default_wait = '5';
SET idempotency.default_wait = 0;
SET idempotency.default_wait = '0.0';
RESET idempotency.default_wait;
SET idempotency.wheel_tick = '3600';
SHOW idempotency.wheel_tick;

-- settings have the limits of arguments
SET idempotency.default_ttl = '6000 years';
SET idempotency.default_ttl = '-6000 years';
SET idempotency.default_lease = '6000 years';
SET idempotency.default_wait = '6000 years';
SET idempotency.default_ttl = '5000 years';
SELECT outcome FROM idempotency.claim('longest', 'settings', first_sent => clock_timestamp(), lease => '1 minute');
RESET ALL;

-- lengths of keys, in bytes
SET idempotency.min_key_length = 8;
SET idempotency.max_key_length = 10;
SELECT outcome FROM idempotency.claim('1234567', 'settings');
SELECT outcome FROM idempotency.claim('12345678', 'settings', lease => '1 minute');
SELECT outcome FROM idempotency.claim('1234567890', 'settings', lease => '1 minute');
SELECT outcome FROM idempotency.claim('12345678901', 'settings');
SELECT outcome FROM idempotency.claim(repeat(E'\u00e9', 4), 'settings', lease => '1 minute');
SELECT outcome FROM idempotency.claim(repeat(E'\u00e9', 6), 'settings');
RESET idempotency.min_key_length;
RESET idempotency.max_key_length;
SET idempotency.max_key_length = 8192;
SELECT outcome FROM idempotency.claim(repeat('k', 8192), 'settings', lease => '1 minute');
SELECT outcome FROM idempotency.claim(repeat('k', 8192), 'settings');
SELECT outcome FROM idempotency.claim(repeat('k', 8193), 'settings');
RESET idempotency.max_key_length;

-- they limit new keys: a key that was claimed before can still be completed
SELECT idempotency.heartbeat(repeat('k', 8192), 'settings', 1) > clock_timestamp() AS renewed;
SELECT idempotency.complete(repeat('k', 8192), 'settings', '1', attempt => 1);
SELECT status, response FROM idempotency.lookup(repeat('k', 8192), 'settings');
SELECT outcome FROM idempotency.claim(repeat('k', 8192), 'settings');

-- no key can be longer than the highest value of the setting
SELECT count(*) FROM idempotency.lookup(repeat('k', 8193), 'settings');
SELECT idempotency.complete(repeat('k', 8193), 'settings', attempt => 1);

-- size of responses
SET idempotency.max_response_size = '1kB';
SELECT outcome FROM idempotency.claim('response', 'settings', lease => '1 minute');
SELECT idempotency.complete('response', 'settings', to_jsonb(repeat('x', 1100)), attempt => 1);
SELECT idempotency.complete('response', 'settings', to_jsonb(repeat('x', 900)), attempt => 1);
RESET idempotency.max_response_size;

-- limits (the text of the error differs between versions of PostgreSQL)
\set VERBOSITY sqlstate
SET idempotency.min_key_length = 0;
SET idempotency.min_key_length = 8193;
SET idempotency.max_key_length = 0;
SET idempotency.max_key_length = 8193;
SET idempotency.max_response_size = 0;
SET idempotency.max_response_size = 'much';
\set VERBOSITY default

-- no other settings
SET idempotency.no_such_setting = 1;
