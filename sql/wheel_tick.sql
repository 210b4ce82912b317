-- The turning of the wheel as time goes on: untils stay one tick apart, also
-- over a pause and a change of the tick.

-- The times of the slots, in hours after the given time, in order.
CREATE FUNCTION untils(since timestamptz) RETURNS text LANGUAGE sql AS
$$SELECT string_agg(trunc(extract(epoch FROM until - since) / 3600, 3)::text, ' ' ORDER BY until)
FROM idempotency.wheel$$;

CREATE FUNCTION lay_wheel(first_until timestamptz, step interval) RETURNS void LANGUAGE sql AS
$$TRUNCATE idempotency.keys; UPDATE idempotency.wheel SET until = first_until + slot * step$$;

-- CREATE EXTENSION lays the slots a day apart, each at the end of a day (UTC).
SELECT count(*), count(DISTINCT slot),
	bool_and(until = date_trunc('day', until, 'UTC')) AS at_midnight,
	max(until) - min(until) = interval '7 days' AS a_day_apart
FROM idempotency.wheel;

-- Three slots are past: they follow the last one, in their order.
SET idempotency.wheel_tick = '1 hour';
SELECT clock_timestamp() - interval '10 minutes' AS since \gset
SELECT lay_wheel(:'since'::timestamptz - interval '2 hours', '1 hour');
SELECT untils(:'since');
SELECT slots_cleared FROM idempotency.sweep();
SELECT untils(:'since');
SELECT string_agg(slot::text, ' ' ORDER BY until) AS slots FROM idempotency.wheel;

-- W5: nobody has swept for a long time and the wheel has run out.  Keys are
-- stored and found all the same, in keys_long.
SELECT lay_wheel(:'since'::timestamptz - interval '1000 hours', '1 hour');
SELECT outcome FROM idempotency.claim('k', 'wheel_tick', ttl => '4 hours');
SELECT idempotency.complete('k', 'wheel_tick', '1', attempt => 1);
SELECT outcome, response FROM idempotency.claim('k', 'wheel_tick');
SELECT tableoid::regclass AS lies_in FROM idempotency.keys WHERE scope = 'wheel_tick';

-- One round, and the wheel reaches as far ahead as ever, in step with what it
-- was before the pause.  What was stored meanwhile is still found.
SELECT slots_cleared FROM idempotency.sweep();
SELECT untils(:'since');
SELECT outcome, response FROM idempotency.claim('k', 'wheel_tick');
SELECT outcome FROM idempotency.claim('l', 'wheel_tick', ttl => '4 hours');
SELECT key, tableoid = 'idempotency.keys_long'::regclass AS in_keys_long FROM idempotency.keys WHERE scope = 'wheel_tick' ORDER BY key;

-- The tick is made longer, then shorter, while rows are stored.  Ranges handed
-- out before stay as they are, new ones have the new length; W1 holds, and
-- every key is found.
SELECT lay_wheel(:'since'::timestamptz, '1 hour');
SELECT count(*) FROM generate_series(1, 8) AS n,
	LATERAL idempotency.claim('n' || n, 'wheel_tick', ttl => n * interval '40 minutes', lease => '1 s');
SET idempotency.wheel_tick = '1 day';
SELECT slots_cleared FROM idempotency.sweep();
SELECT untils(:'since');
SET idempotency.wheel_tick = '30 minutes';
UPDATE idempotency.wheel SET until = :'since'::timestamptz - interval '1 minute' WHERE until = :'since'::timestamptz + interval '7 hours';
SELECT slots_cleared FROM idempotency.sweep();
SELECT untils(:'since');
SELECT count(*) FROM generate_series(9, 40) AS n,
	LATERAL idempotency.claim('n' || n, 'wheel_tick', ttl => n * interval '1 hour', lease => '1 s');
SELECT count(*) AS outside FROM idempotency.keys JOIN idempotency.wheel USING (slot) WHERE expires_at > until;
SELECT count(*) AS found FROM generate_series(1, 40) AS n, LATERAL idempotency.lookup('n' || n, 'wheel_tick');

-- After a restore a slot has two rows, the one that CREATE EXTENSION made and
-- the one that was dumped; the later counts.  The turn leaves one.
SELECT lay_wheel(:'since'::timestamptz + interval '1 hour', '1 hour');
SET idempotency.wheel_tick = '1 hour';
INSERT INTO idempotency.wheel SELECT 0, :'since'::timestamptz - interval '3 hours';
SELECT slots_cleared FROM idempotency.sweep();
SELECT untils(:'since');
UPDATE idempotency.wheel SET until = :'since'::timestamptz - interval '3 hours' WHERE slot = 0;
SELECT slots_cleared FROM idempotency.sweep();
SELECT untils(:'since');

-- A slot that never ends is left alone, and nothing is counted from it.
UPDATE idempotency.wheel SET until = 'infinity' WHERE slot = 3;
UPDATE idempotency.wheel SET until = :'since'::timestamptz - interval '3 hours' WHERE slot = 4;
SELECT slots_cleared FROM idempotency.sweep();
SELECT slot, trunc(extract(epoch FROM until - :'since') / 3600, 3) AS hours FROM idempotency.wheel WHERE slot = 4;
UPDATE idempotency.wheel SET until = :'since'::timestamptz - interval '3 hours' WHERE slot = 3;
SELECT slots_cleared FROM idempotency.sweep();

-- A wheel without any time begins at a full tick.
TRUNCATE idempotency.wheel;
SELECT slots_cleared FROM idempotency.sweep();
SELECT count(*), count(DISTINCT slot),
	bool_and(until = date_trunc('hour', until, 'UTC')) AS at_full_hours,
	max(until) - min(until) = interval '7 hours' AS an_hour_apart,
	min(until) - clock_timestamp() BETWEEN interval '-1 minute' AND interval '1 hour' AS ahead
FROM idempotency.wheel;

-- The tick is an interval longer than zero, and an administrator's.
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

SELECT lay_wheel(date_trunc('day', clock_timestamp(), 'UTC') + interval '24 hours', interval '24 hours');
DROP FUNCTION untils;
DROP FUNCTION lay_wheel;
