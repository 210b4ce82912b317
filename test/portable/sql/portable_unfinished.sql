-- A claim that asked for no lease can't be committed unfinished.
\set VERBOSITY terse
SELECT outcome FROM idempotency.claim('autocommit', 'portable_unfinished');
\echo :LAST_ERROR_SQLSTATE
SELECT outcome FROM idempotency.claim_many('{a,b}', 'portable_unfinished');
BEGIN;
SELECT outcome FROM idempotency.claim('block', 'portable_unfinished');
COMMIT;
BEGIN;
SELECT outcome FROM idempotency.claim('prepared', 'portable_unfinished');
PREPARE TRANSACTION 'portable_unfinished';
-- a checkpoint does not end the claim
BEGIN;
SELECT outcome FROM idempotency.claim('noted', 'portable_unfinished');
SELECT idempotency.checkpoint('noted', 'portable_unfinished', 'step');
COMMIT;
SELECT count(*) FROM idempotency.keys WHERE scope = 'portable_unfinished';

-- a claim ends by a result, release or forget, by a lease, or by a rollback
BEGIN;
SELECT outcome FROM unnest('{completed, failed, released, leased, forgotten, undone}'::text[]) AS k, idempotency.claim(k, 'portable_unfinished');
SELECT idempotency.complete('completed', 'portable_unfinished'), idempotency.fail('failed', 'portable_unfinished'), idempotency.release('released', 'portable_unfinished');
SELECT idempotency.heartbeat('leased', 'portable_unfinished', lease => '1 minute') IS NOT NULL AS leased, idempotency.forget('forgotten', 'portable_unfinished');
SELECT idempotency.forget('undone', 'portable_unfinished');
SAVEPOINT s;
SELECT outcome FROM idempotency.claim('undone', 'portable_unfinished');
ROLLBACK TO s;
COMMIT;
SELECT key, status, lease_until IS NOT NULL AS lease FROM idempotency.keys WHERE scope = 'portable_unfinished' ORDER BY key;

-- a completion that is rolled back does not end the claim
BEGIN;
SELECT outcome FROM idempotency.claim('rolled back', 'portable_unfinished');
SAVEPOINT s;
SELECT idempotency.complete('rolled back', 'portable_unfinished');
ROLLBACK TO s;
COMMIT;

-- a procedure that commits in between
CREATE PROCEDURE commits() LANGUAGE plpgsql AS $$
BEGIN
	PERFORM idempotency.claim('procedure', 'portable_unfinished');
	COMMIT;
	PERFORM idempotency.complete('procedure', 'portable_unfinished');
END $$;
CALL commits();
DROP PROCEDURE commits;

-- a new claim after a release, and a takeover
BEGIN;
SELECT outcome, attempt FROM idempotency.claim('released', 'portable_unfinished');
COMMIT;
SELECT outcome FROM idempotency.claim('run out', 'portable_unfinished', lease => '1 us');
SELECT outcome, attempt FROM idempotency.claim('run out', 'portable_unfinished');

-- at once, if constraints are made immediate
BEGIN;
SET CONSTRAINTS ALL IMMEDIATE;
SELECT outcome FROM idempotency.claim('immediate', 'portable_unfinished');
ROLLBACK;

-- whatever search_path is at COMMIT, and as a role that may read no table
CREATE SCHEMA hostile;
CREATE FUNCTION hostile.no(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT false';
CREATE OPERATOR hostile.= (LEFTARG = text, RIGHTARG = text, FUNCTION = hostile.no);
CREATE ROLE regress_portable_app;
SELECT idempotency.grant_usage('regress_portable_app');
GRANT USAGE ON SCHEMA hostile TO regress_portable_app;
BEGIN;
SET LOCAL ROLE regress_portable_app;
SET LOCAL search_path = hostile, pg_catalog;
SELECT outcome FROM idempotency.claim('hostile', 'portable_unfinished');
COMMIT;
BEGIN;
SET LOCAL ROLE regress_portable_app;
SET LOCAL search_path = hostile, pg_catalog;
SELECT outcome FROM idempotency.claim('hostile', 'portable_unfinished', '1');
SELECT idempotency.complete('hostile', 'portable_unfinished', '2');
SELECT outcome, response FROM idempotency.claim('hostile', 'portable_unfinished', '1');
COMMIT;
SELECT idempotency.revoke_usage('regress_portable_app');
SET ROLE regress_portable_app;
SELECT outcome FROM idempotency.claim('hostile', 'portable_unfinished', '1');
RESET ROLE;
REVOKE USAGE ON SCHEMA hostile FROM regress_portable_app;
DROP ROLE regress_portable_app;
DROP SCHEMA hostile CASCADE;
DELETE FROM idempotency.keys WHERE scope = 'portable_unfinished';
