-- derive() gives the key for a downstream call, which is always the same one.

-- These values never change: another service must recognize a key that it has
-- received before.
SELECT idempotency.derive('8e03978e', 'charge');
SELECT idempotency.derive('8e03978e', 'ship');
SELECT idempotency.derive('8e03978f', 'charge');
SELECT idempotency.derive(repeat('k', 255), repeat('p', 10000));

-- It is the head of SHA-256 over length, key and purpose, marked as a UUID of
-- version 8.
WITH hash AS (
	SELECT sha256(int8send(octet_length(key)) || convert_to(key || purpose, getdatabaseencoding())) AS h, key, purpose
	FROM (VALUES ('8e03978e', 'charge'), ('schlüssel', 'größe')) AS pair (key, purpose)
)
SELECT
	encode(set_byte(set_byte(substr(h, 1, 16),
		6, get_byte(h, 6) & 15 | 128), 8, get_byte(h, 8) & 63 | 128), 'hex')::uuid::text
	= idempotency.derive(key, purpose) AS as_documented
FROM hash;

-- However the same characters are divided between key and purpose, the derived
-- keys differ.
SELECT count(DISTINCT idempotency.derive(left('charge-customer', n), substr('charge-customer', n + 1))) AS keys
FROM generate_series(1, 14) AS n;

-- No two of many are the same, and all are UUIDs of version 8.
SELECT count(DISTINCT key) AS keys,
	bool_and(key ~ '^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$') AS version_8
FROM (SELECT idempotency.derive('key-' || n, 'purpose-' || m) AS key
	  FROM generate_series(1, 100) AS n, generate_series(1, 100) AS m) AS derived;

-- A derived key can be claimed, and derived from again.
SELECT outcome FROM idempotency.claim(idempotency.derive('derive-1', 'charge'), 'derive', lease => '1 minute');
SELECT idempotency.derive(idempotency.derive('derive-1', 'charge'), 'refund')
	<> idempotency.derive('derive-1', 'refund') AS differs;

-- It is immutable, so that an index can use it.
CREATE TABLE derive_calls (key text);
CREATE INDEX ON derive_calls (idempotency.derive(key, 'charge'));
DROP TABLE derive_calls;

-- Invalid arguments.
SELECT idempotency.derive(NULL, 'charge');
SELECT idempotency.derive('', 'charge');
SELECT idempotency.derive('8e03978e', NULL);
SELECT idempotency.derive('8e03978e', '');
DO $$
BEGIN
	PERFORM idempotency.derive('8e03978e', '');
EXCEPTION WHEN SQLSTATE 'IK400' THEN
	RAISE NOTICE 'IK400';
END
$$;
