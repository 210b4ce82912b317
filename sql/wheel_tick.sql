-- The upper bounds of the wheel become the next eight ticks, whatever they
-- were before: after a pause, a change of the tick, a restore or a wrong
-- clock, every sweep lays the empty slots according to the present tick.

-- Whether the slots are at the next eight ticks of the given length, and how
-- many are not.
CREATE FUNCTION misplaced(tick interval) RETURNS bigint LANGUAGE sql AS
$$SELECT count(*) FROM (
	SELECT extract(epoch FROM until) AS until, extract(epoch FROM tick) AS tick, lag(until) OVER (ORDER BY until) = until AS twin,
		extract(epoch FROM min(until) OVER ()) AS first, extract(epoch FROM clock_timestamp()) AS now
	FROM (SELECT slot, max(until) AS until FROM idempotency.wheel GROUP BY slot) AS w) AS s
WHERE mod(until - first, tick) <> 0 OR twin OR until <= now OR until > now + 8 * tick$$;

CREATE FUNCTION lay_wheel(first_until timestamptz, step interval) RETURNS void LANGUAGE sql AS
$$TRUNCATE idempotency.keys; UPDATE idempotency.wheel SET until = first_until + slot * step$$;

-- By default the slots are a day apart.
TRUNCATE idempotency.keys;
SELECT slots_cleared FROM idempotency.sweep();
SELECT count(*), count(DISTINCT slot), misplaced('1 day') FROM idempotency.wheel;

-- Not at midnight, when all databases would turn at once: each database has a
-- time of its own.
SELECT extract(epoch FROM min(until) - '2000-01-01 00:00Z') * 1000000 % 86400000000 =
	(hashoidextended((SELECT oid FROM pg_database WHERE datname = current_database()), 0)::numeric + 18446744073709551616) % 18446744073709551616 % 86400000000
	AS of_its_own
FROM idempotency.wheel;

-- A new tick is in force after the next sweep.
SET idempotency.wheel_tick = '1 hour';
SELECT slots_cleared FROM idempotency.sweep();
SELECT misplaced('1 hour');
SET idempotency.wheel_tick = '3 days';
SELECT slots_cleared FROM idempotency.sweep();
SELECT misplaced('3 days');
SET idempotency.wheel_tick = '1 hour';

-- Three slots are past.
SELECT lay_wheel(clock_timestamp() - interval '130 minutes', '1 hour');
SELECT slots_cleared FROM idempotency.sweep();
SELECT misplaced('1 hour');

-- W5: no sweep has run for a long time, and all slots are past.  Keys are still
-- stored and found, in keys_long.
SELECT lay_wheel(clock_timestamp() - interval '1000 hours', '1 hour');
SELECT outcome FROM idempotency.claim('k', 'wheel_tick', ttl => '4 hours', lease => '1 hour');
SELECT idempotency.complete('k', 'wheel_tick', '1', attempt => 1);
SELECT outcome, response FROM idempotency.claim('k', 'wheel_tick');
SELECT tableoid::regclass AS lies_in FROM idempotency.keys WHERE scope = 'wheel_tick';

-- After one round the wheel reaches eight ticks ahead again.  Keys that were
-- stored meanwhile are found.
SELECT slots_cleared FROM idempotency.sweep();
SELECT misplaced('1 hour');
SELECT outcome, response FROM idempotency.claim('k', 'wheel_tick');
SELECT outcome FROM idempotency.claim('l', 'wheel_tick', ttl => '4 hours', lease => '1 s');
SELECT key, tableoid = 'idempotency.keys_long'::regclass AS in_keys_long FROM idempotency.keys WHERE scope = 'wheel_tick' ORDER BY key;

-- The tick is made longer, then shorter, while rows are stored. Slots with rows
-- stay as they are, the others are laid again; W1 holds, and every key is found.
SELECT lay_wheel(clock_timestamp() + interval '10 minutes', '1 hour');
SELECT count(*) FROM generate_series(1, 3) AS n,
	LATERAL idempotency.claim('n' || n, 'wheel_tick', ttl => n * interval '50 minutes', lease => '1 s');
CREATE TEMPORARY TABLE used AS SELECT slot, until FROM idempotency.wheel WHERE slot IN (SELECT slot FROM idempotency.keys);
SELECT count(*) FROM used;
SET idempotency.wheel_tick = '1 day';
SELECT slots_cleared FROM idempotency.sweep();
SELECT slot IN (SELECT slot FROM used) AS used, count(*), count(*) FILTER (WHERE until > clock_timestamp() + interval '24 hours') AS days_ahead
FROM idempotency.wheel GROUP BY 1 ORDER BY 1;
SELECT count(*) AS kept FROM used JOIN idempotency.wheel USING (slot, until);
SET idempotency.wheel_tick = '30 minutes';
SELECT slots_cleared FROM idempotency.sweep();
SELECT count(*) AS kept FROM used JOIN idempotency.wheel USING (slot, until);
SELECT count(*) FROM generate_series(4, 40) AS n,
	LATERAL idempotency.claim('n' || n, 'wheel_tick', ttl => n * interval '20 minutes', lease => '1 s');
SELECT count(*) AS outside FROM idempotency.keys JOIN idempotency.wheel USING (slot) WHERE expires_at > until;
SELECT count(*) AS found FROM generate_series(1, 40) AS n, LATERAL idempotency.lookup('n' || n, 'wheel_tick');

-- A clock that was ten years ahead for one sweep: the next sweep lays empty slots
-- again.  A slot with a live key stays until its rows have expired and been
-- deleted; then it is laid again, too.
SET idempotency.wheel_tick = '1 hour';
SELECT lay_wheel(clock_timestamp() + interval '10 years', '1 hour');
SELECT outcome FROM idempotency.claim('soon', 'wheel_tick', ttl => '1 ms', lease => '1 ms');
SELECT outcome FROM idempotency.claim('later', 'wheel_tick', ttl => '2 hours', lease => '1 s');
SELECT count(DISTINCT slot) AS slots FROM idempotency.keys;
SELECT pg_sleep(0.002);
SELECT * FROM idempotency.sweep();
SELECT misplaced('1 hour'), (SELECT count(*) FROM idempotency.keys) AS keys;
SELECT outcome FROM idempotency.claim('later', 'wheel_tick', wait => '0');
SELECT idempotency.complete('later', 'wheel_tick', attempt => 1, ttl => '1 ms');
SELECT pg_sleep(0.002);
SELECT * FROM idempotency.sweep();
SELECT * FROM idempotency.sweep();
SELECT misplaced('1 hour'), (SELECT count(*) FROM idempotency.keys) AS keys;

-- After a restore a slot has two rows, the one that CREATE EXTENSION made and
-- the one that was dumped; the later counts.  The turn leaves one.
INSERT INTO idempotency.wheel SELECT 0, clock_timestamp() - interval '3 hours';
SELECT slots_cleared FROM idempotency.sweep();
SELECT misplaced('1 hour');
UPDATE idempotency.wheel SET until = clock_timestamp() - interval '3 hours' WHERE slot = 0;
SELECT slots_cleared FROM idempotency.sweep();
SELECT misplaced('1 hour'), count(*) FROM idempotency.wheel;

-- A slot without an end, and two slots with the same upper bound.
UPDATE idempotency.wheel SET until = 'infinity' WHERE slot = 3;
UPDATE idempotency.wheel SET until = (SELECT until FROM idempotency.wheel WHERE slot = 5) WHERE slot = 6;
SELECT slots_cleared FROM idempotency.sweep();
SELECT misplaced('1 hour');

-- The tick is an interval longer than zero, and only an administrator may set it.
SET idempotency.wheel_tick = '0';
SET idempotency.wheel_tick = '-1 day';
SET idempotency.wheel_tick = '11 years';
SET idempotency.wheel_tick = 'soon';
CREATE ROLE regress_idempotency_app;
SET ROLE regress_idempotency_app;
SET idempotency.wheel_tick = '1 hour';
RESET ROLE;
DROP ROLE regress_idempotency_app;
RESET idempotency.wheel_tick;
SHOW idempotency.wheel_tick;

SELECT slots_cleared FROM idempotency.sweep();
SELECT misplaced('1 day');
DROP FUNCTION misplaced;
DROP FUNCTION lay_wheel;
