-- idempotency.sqlstate_prefix is the first two characters of every SQLSTATE
-- that the extension raises.
\set VERBOSITY sqlstate
SELECT outcome FROM idempotency.claim('key', 'sqlstate_prefix', lease => '1 minute');
SELECT outcome FROM idempotency.claim('taken over', 'sqlstate_prefix', lease => '1 minute');
SELECT idempotency.release('taken over', 'sqlstate_prefix', 1);
SELECT outcome, attempt FROM idempotency.claim('taken over', 'sqlstate_prefix', lease => '1 minute');

SELECT idempotency.claim('');
SELECT idempotency.complete('absent', 'sqlstate_prefix', attempt => 1);
SELECT idempotency.complete('key', 'sqlstate_prefix', to_jsonb(repeat('x', 1048576)), attempt => 1);
SELECT idempotency.complete('taken over', 'sqlstate_prefix', attempt => 1);
SELECT idempotency.complete('key', 'sqlstate_prefix');

SET idempotency.sqlstate_prefix = 'PT';
SELECT idempotency.claim('');
SELECT idempotency.complete('absent', 'sqlstate_prefix', attempt => 1);
SELECT idempotency.complete('key', 'sqlstate_prefix', to_jsonb(repeat('x', 1048576)), attempt => 1);
SELECT idempotency.complete('taken over', 'sqlstate_prefix', attempt => 1);
SELECT idempotency.complete('key', 'sqlstate_prefix');

-- PostgreSQL's own errors keep their codes
BEGIN READ ONLY;
SELECT idempotency.claim('key', 'sqlstate_prefix');
ROLLBACK;
SELECT idempotency.claim('key', 'sqlstate_prefix', '{');

-- caught by its name
\set VERBOSITY default
DO $$
BEGIN
	PERFORM idempotency.claim('');
EXCEPTION WHEN SQLSTATE 'PT400' THEN
	RAISE INFO 'caught';
END $$;
\set VERBOSITY sqlstate

-- any two digits and upper-case letters that begin an error class
SET idempotency.sqlstate_prefix = 'A9';
SELECT idempotency.claim('');
SET idempotency.sqlstate_prefix = '9Z';
SELECT idempotency.claim('');
SET idempotency.sqlstate_prefix = '03';
SELECT idempotency.claim('');
\set VERBOSITY default

-- nothing else; the setting keeps its value
SET idempotency.sqlstate_prefix = 'ik';
SET idempotency.sqlstate_prefix = 'I';
SET idempotency.sqlstate_prefix = 'IKX';
SET idempotency.sqlstate_prefix = '';
SET idempotency.sqlstate_prefix = 'I-';
SET idempotency.sqlstate_prefix = ' I';
SET idempotency.sqlstate_prefix = '00';
SET idempotency.sqlstate_prefix = '01';
SET idempotency.sqlstate_prefix = '02';
SET idempotency.sqlstate_prefix = 'É';
SHOW idempotency.sqlstate_prefix;
RESET idempotency.sqlstate_prefix;
SHOW idempotency.sqlstate_prefix;
