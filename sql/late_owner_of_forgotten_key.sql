-- forget() and purge() of a claim that is committed and unfinished keep its
-- attempt: its owner may still return, and can't end the next owner's claim.
CREATE FUNCTION pg_temp.try(command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE command;
	RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
	RETURN sqlstate || ' ' || sqlerrm;
END $$;

SELECT key, outcome, attempt FROM (VALUES ('forgotten', '1 hour'::interval), ('run out', '1 us'), ('purged', '1 hour'), ('twice', '1 hour')) AS v (key, lease),
	idempotency.claim(key, 'late', to_jsonb(1), lease => lease);
SELECT pg_sleep(0.001);
SELECT idempotency.forget('forgotten', 'late'), idempotency.forget('run out', 'late'), idempotency.forget('twice', 'late');
-- there is nothing more to forget, but the attempt that fences the owner stays
SELECT idempotency.forget('twice', 'late'), idempotency.purge('late'), idempotency.purge('late');
SELECT key, status, attempt, fingerprint, response FROM idempotency.keys WHERE scope = 'late' ORDER BY key;
-- the owner returns before the next claim
SELECT key, pg_temp.try(format('SELECT idempotency.complete(%L, ''late'', ''"old"'', attempt => 1)', key)) FROM unnest('{forgotten, run out, purged, twice}'::text[]) AS key;
SELECT key, pg_temp.try(format('SELECT idempotency.heartbeat(%L, ''late'', 1, ''1 hour'')', key)) FROM unnest('{forgotten}'::text[]) AS key;
-- the next claim may carry another request
SELECT key, outcome, attempt, recovery_point FROM unnest('{forgotten, run out, purged, twice}'::text[]) AS key, idempotency.claim(key, 'late', to_jsonb(2), lease => '1 hour');
-- the owner returns after the next claim
SELECT key, pg_temp.try(format('SELECT idempotency.complete(%L, ''late'', ''"old"'', attempt => 1)', key)) FROM unnest('{forgotten, run out, purged, twice}'::text[]) AS key;
SELECT key, pg_temp.try(format('SELECT idempotency.complete(%L, ''late'', ''"new"'', attempt => 2)', key)) FROM unnest('{forgotten, run out, purged, twice}'::text[]) AS key;

-- once a result is forgotten, attempts begin at 1 again
SELECT idempotency.forget('forgotten', 'late'), idempotency.purge('late');
SELECT outcome, attempt FROM idempotency.claim('forgotten', 'late', lease => '1 us');
SELECT pg_sleep(0.001);
-- after a transaction that takes over and forgets, the earlier owner stays fenced
BEGIN;
SELECT outcome, attempt FROM idempotency.claim('forgotten', 'late', lease => '1 hour');
SELECT idempotency.forget('forgotten', 'late');
COMMIT;
SELECT outcome, attempt FROM idempotency.claim('forgotten', 'late', lease => '1 hour');
-- a forget() that is rolled back has no effect
BEGIN;
SELECT idempotency.forget('forgotten', 'late');
ROLLBACK;
SELECT idempotency.complete('forgotten', 'late', attempt => 3);
SELECT idempotency.purge('late');
-- the same for a transaction that takes over without a lease and purges
SELECT outcome, attempt FROM idempotency.claim('taken over', 'late', lease => '1 us');
SELECT pg_sleep(0.001);
BEGIN;
SELECT outcome, attempt FROM idempotency.claim('taken over', 'late');
SELECT idempotency.purge('late');
COMMIT;
SELECT outcome, attempt FROM idempotency.claim('taken over', 'late', lease => '1 hour');
SELECT idempotency.purge('late');
