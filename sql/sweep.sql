-- Expiry: what a round of sweep() removes, and what it keeps.

-- Empty everything, and lay the wheel out again: slot n ends n + 1 hours after
-- the given time.
CREATE FUNCTION lay_wheel(start timestamptz) RETURNS void LANGUAGE sql AS
$$TRUNCATE idempotency.keys; UPDATE idempotency.wheel SET until = start + (slot + 1) * interval '1 hour'$$;

-- Wait until all rows of a slot have expired, and make this its upper bound.
CREATE FUNCTION end_slot(which smallint) RETURNS void LANGUAGE plpgsql AS
$$BEGIN
	PERFORM pg_sleep(extract(epoch FROM max(expires_at) - clock_timestamp())) FROM idempotency.keys WHERE slot = which;
	UPDATE idempotency.wheel SET until = clock_timestamp() WHERE slot = which;
	PERFORM pg_sleep(0.001);
END$$;

-- Which table holds each row, and whether W1 holds.
CREATE VIEW stored AS
SELECT k.scope, k.key, k.tableoid::regclass AS lies_in,
	k.expires_at > clock_timestamp() AS live,
	coalesce(k.expires_at <= w.until, true) AS within_until
FROM idempotency.keys k LEFT JOIN idempotency.wheel w USING (slot)
WHERE k.scope LIKE 'sweep/%' ORDER BY k.scope, k.key;

-- A round with nothing to do changes nothing and writes nothing.
SELECT * FROM idempotency.sweep();
BEGIN;
SELECT * FROM idempotency.sweep();
SELECT pg_current_xact_id_if_assigned() IS NULL AS wrote_nothing;
COMMIT;

-- A slot is emptied when its upper bound is past, not before; rows in other slots
-- stay.  The next upper bound is one tick after the last slot's.
SELECT lay_wheel(clock_timestamp());
SELECT outcome FROM idempotency.claim('a', 'sweep/slot', ttl => '0.2 s', lease => '0.1 s');
SELECT outcome FROM idempotency.claim('b', 'sweep/slot', ttl => '0.1 s', lease => '0.1 s');
SELECT outcome FROM idempotency.claim('c', 'sweep/slot', ttl => '1.5 hours', lease => '0.1 s');
SELECT outcome FROM idempotency.claim('d', 'sweep/slot', ttl => '2 days', lease => '0.1 s');
SELECT lies_in, key, within_until FROM stored;
SELECT * FROM idempotency.sweep();
SELECT pg_sleep(0.2);
SELECT * FROM idempotency.sweep();
SELECT lies_in, key, live FROM stored;
SELECT end_slot(0::smallint);
SELECT * FROM idempotency.sweep();
SELECT lies_in, key, live FROM stored;
SELECT until > clock_timestamp() AS turned FROM idempotency.wheel WHERE slot = 0;

-- A slot that is past but empty is turned as well; it is not counted as
-- cleared.
SELECT end_slot(2::smallint);
SELECT * FROM idempotency.sweep();
SELECT until > clock_timestamp() AS turned FROM idempotency.wheel WHERE slot = 2;

-- From keys_long, expired rows are deleted, at most the given number.
SELECT lay_wheel(clock_timestamp() - interval '1 day');
SELECT count(*) FROM generate_series(1, 5) AS n,
	LATERAL idempotency.claim('short' || n, 'sweep/long', ttl => '0.1 s', lease => '0.1 s');
SELECT outcome FROM idempotency.claim('live', 'sweep/long', ttl => '1 day', lease => '1 minute');
SELECT DISTINCT lies_in FROM stored;
SELECT pg_sleep(0.15);
SELECT rows_deleted FROM idempotency.sweep(0);
SELECT rows_deleted FROM idempotency.sweep(2);
SELECT count(*) FROM stored;
SELECT rows_deleted FROM idempotency.sweep();
SELECT key, live FROM stored;
SELECT rows_deleted FROM idempotency.sweep();

-- sweep_batch is the default of the limit.
SELECT lay_wheel(clock_timestamp() - interval '1 day');
SELECT count(*) FROM generate_series(1, 5) AS n,
	LATERAL idempotency.claim('short' || n, 'sweep/long', ttl => '0.1 s', lease => '0.1 s');
SELECT pg_sleep(0.15);
SET idempotency.sweep_batch = 3;
SELECT rows_deleted FROM idempotency.sweep();
RESET idempotency.sweep_batch;
SELECT rows_deleted FROM idempotency.sweep();

-- A claim that has expired while its own transaction goes on is not deleted
-- by that transaction: it may still be completed.
SELECT lay_wheel(clock_timestamp() - interval '1 day');
BEGIN;
SELECT outcome FROM idempotency.claim('own', 'sweep/long', ttl => '0.1 s', lease => '0.1 s');
SELECT pg_sleep(0.15);
SELECT rows_deleted FROM idempotency.sweep();
SELECT idempotency.complete('own', 'sweep/long', '1', ttl => '1 day');
COMMIT;
SELECT outcome, response FROM idempotency.claim('own', 'sweep/long');

-- A slot that the transaction has written to is not emptied either; the next
-- round does it.
SELECT lay_wheel(clock_timestamp());
BEGIN;
SELECT outcome FROM idempotency.claim('own', 'sweep/slot', ttl => '0.1 s', lease => '0.1 s');
SELECT end_slot(0::smallint);
SELECT slots_cleared FROM idempotency.sweep();
SELECT count(*) FROM stored;
COMMIT;
SELECT slots_cleared FROM idempotency.sweep();
SELECT count(*) FROM stored;

-- A round that is rolled back has done nothing.
SELECT lay_wheel(clock_timestamp());
SELECT outcome FROM idempotency.claim('a', 'sweep/slot', ttl => '0.1 s', lease => '0.1 s');
SELECT end_slot(0::smallint);
BEGIN;
SELECT slots_cleared FROM idempotency.sweep();
SELECT count(*) FROM stored;
ROLLBACK;
SELECT count(*) FROM stored;
SELECT slots_cleared FROM idempotency.sweep();
SELECT count(*) FROM stored;

-- W4: an expired row counts as absent, whether it is still stored or not, and
-- claiming its key again leaves one live row.
SELECT lay_wheel(clock_timestamp());
SELECT outcome FROM idempotency.claim('again', 'sweep/slot', request => '1', ttl => '0.1 s', lease => '0.1 s');
SELECT outcome FROM idempotency.claim('again', 'sweep/long', request => '1', ttl => '20 hours', lease => '0.1 s');
SELECT idempotency.complete('again', 'sweep/long', '1', attempt => 1, ttl => '0.1 s');
SELECT pg_sleep(0.15);
SELECT scope, lies_in, live FROM stored;
SELECT count(*) FROM idempotency.lookup('again', 'sweep/slot');
SELECT outcome, attempt FROM idempotency.claim('again', 'sweep/slot', request => '2', ttl => '3 hours', lease => '1 minute');
SELECT outcome, attempt FROM idempotency.claim('again', 'sweep/long', request => '2', ttl => '3 hours', lease => '1 minute');
SELECT scope, live, within_until, count(*) FROM stored GROUP BY 1, 2, 3 ORDER BY 1;
SELECT rows_deleted FROM idempotency.sweep();
SELECT outcome FROM idempotency.claim('again', 'sweep/slot', request => '2');
SELECT outcome FROM idempotency.claim('again', 'sweep/long', request => '2');

-- Invalid limits.
\set VERBOSITY sqlstate
SELECT idempotency.sweep(-1);
\set VERBOSITY default
BEGIN READ ONLY;
SELECT idempotency.sweep();
ROLLBACK;

-- Only the owner may sweep until EXECUTE is granted, which is sufficient.
CREATE ROLE regress_idempotency_sweeper;
GRANT USAGE ON SCHEMA idempotency TO regress_idempotency_sweeper;
SET ROLE regress_idempotency_sweeper;
SELECT idempotency.sweep();
RESET ROLE;
GRANT EXECUTE ON FUNCTION idempotency.sweep(bigint) TO regress_idempotency_sweeper;
SELECT lay_wheel(clock_timestamp());
SELECT outcome FROM idempotency.claim('a', 'sweep/slot', ttl => '0.1 s', lease => '0.1 s');
SELECT end_slot(0::smallint);
SET ROLE regress_idempotency_sweeper;
SELECT * FROM idempotency.sweep();
SELECT current_user = 'regress_idempotency_sweeper' AS still_the_caller;
RESET ROLE;

DROP OWNED BY regress_idempotency_sweeper;
DROP ROLE regress_idempotency_sweeper;
TRUNCATE idempotency.keys;
UPDATE idempotency.wheel SET until = date_trunc('day', clock_timestamp(), 'UTC') + (slot + 1) * interval '24 hours';
DROP VIEW stored;
DROP FUNCTION lay_wheel;
DROP FUNCTION end_slot;
