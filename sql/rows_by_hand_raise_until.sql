-- Rows that arrive by COPY or INSERT may expire after the upper bound of their
-- slot, as those of a restore do before the wheel is restored; no sweep loses
-- them.

CREATE PROCEDURE pg_temp.let_slots_end()
LANGUAGE plpgsql AS $$
BEGIN
	UPDATE idempotency.wheel SET until = clock_timestamp() - interval '1 second' + slot * interval '1 hour';
END $$;

CREATE TEMP TABLE dump AS
SELECT 'rows_by_hand' AS scope, 'k' || slot AS key, 'completed' AS status, 1 AS attempt,
	clock_timestamp() + (slot + 1) * interval '1 day' AS expires_at, slot,
	idempotency.key_hash('k' || slot, 'rows_by_hand') AS hash
FROM generate_series(0, 7) AS slot;

TRUNCATE idempotency.keys;
CALL pg_temp.let_slots_end();
INSERT INTO idempotency.keys (scope, key, status, attempt, expires_at, slot, hash) SELECT * FROM dump;
SELECT slots_cleared FROM idempotency.sweep();
SELECT count(*), count(*) FILTER (WHERE expires_at > until) AS after_until
FROM idempotency.keys JOIN (SELECT slot, max(until) AS until FROM idempotency.wheel GROUP BY slot) AS w USING (slot);
SELECT outcome FROM idempotency.claim('k0', 'rows_by_hand');

-- into the table of a slot, as a restore does it
TRUNCATE idempotency.keys;
CALL pg_temp.let_slots_end();
INSERT INTO idempotency.keys_0 (scope, key, status, attempt, expires_at, slot, hash) SELECT * FROM dump WHERE slot = 0;
SELECT slots_cleared FROM idempotency.sweep();
SELECT outcome FROM idempotency.claim('k0', 'rows_by_hand');

-- rows that expire earlier do not change the wheel
SELECT count(*) AS rows_before FROM idempotency.wheel \gset
INSERT INTO idempotency.keys_1 (scope, key, status, attempt, expires_at, slot, hash)
SELECT scope, 'early', status, attempt, clock_timestamp(), 1, idempotency.key_hash('early', scope) FROM dump WHERE slot = 1;
SELECT count(*) = :rows_before AS unchanged FROM idempotency.wheel;

TRUNCATE idempotency.keys;
SET session_replication_role = replica;
DELETE FROM idempotency.wheel;
RESET session_replication_role;
INSERT INTO idempotency.wheel
SELECT slot, date_trunc('day', clock_timestamp(), 'UTC') + (slot + 1) * interval '24 hours' FROM generate_series(0, 7) AS slot;
