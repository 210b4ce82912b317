\echo Use "CREATE EXTENSION idempotency" to load this file. \quit

-- The schema may belong to an application already; what follows then lives
-- beside its objects.

-- ---------------------------------------------------------------------------
-- Storage.  store.c is the only C file that knows these columns, by number.
-- ---------------------------------------------------------------------------

CREATE FUNCTION idempotency.key_hash(key text, scope text DEFAULT '')
RETURNS uuid
AS 'MODULE_PATHNAME', 'idempotency_key_hash'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION idempotency.key_hash(text, text) IS
'the 128-bit hash under which a key of a scope is stored and locked';

CREATE TABLE idempotency.keys (
	scope          text        NOT NULL,
	key            text        NOT NULL,
	fingerprint    bytea,
	status         text        NOT NULL,
	status_code    integer,
	resource_id    text,
	response       jsonb,
	attempt        integer     NOT NULL,
	recovery_point text,
	state          jsonb,
	lease_until    timestamptz,
	claimed_at     timestamptz,
	completed_at   timestamptz,
	expires_at     timestamptz NOT NULL,
	ttl            interval,
	claim_xid      xid,
	slot           smallint    NOT NULL,
	hash           uuid        NOT NULL,
	CONSTRAINT keys_status CHECK (status IN ('in_progress', 'completed', 'failed', 'released', 'issued', 'erased')),
	-- The C functions write this column themselves.  The check is for rows
	-- that arrive by COPY or by hand: one whose hash is not that of its key
	-- would never be found, and its request would run again.
	CONSTRAINT keys_hash CHECK (hash = idempotency.key_hash(key, scope))
) PARTITION BY LIST (slot);

COMMENT ON TABLE idempotency.keys IS
'every stored idempotency key: who claimed it, its result, and until when it is remembered';
COMMENT ON COLUMN idempotency.keys.scope IS 'the operation and its caller, chosen by the server';
COMMENT ON COLUMN idempotency.keys.key IS 'the key, chosen by the client; unique within its scope';
COMMENT ON COLUMN idempotency.keys.fingerprint IS 'hash of the request; NULL where the claim gave none';
COMMENT ON COLUMN idempotency.keys.status IS 'in_progress, completed, failed, released, issued or erased';
COMMENT ON COLUMN idempotency.keys.status_code IS 'HTTP status stored with the result';
COMMENT ON COLUMN idempotency.keys.resource_id IS 'primary key of what the request created';
COMMENT ON COLUMN idempotency.keys.response IS 'the result, replayed to every duplicate';
COMMENT ON COLUMN idempotency.keys.attempt IS 'fencing token: rises with each takeover and each claim after a release';
COMMENT ON COLUMN idempotency.keys.recovery_point IS 'the last step that an owner passed';
COMMENT ON COLUMN idempotency.keys.state IS 'what the owner left with its recovery point';
COMMENT ON COLUMN idempotency.keys.lease_until IS 'until when an unfinished claim is protected';
COMMENT ON COLUMN idempotency.keys.claimed_at IS 'when the present attempt began';
COMMENT ON COLUMN idempotency.keys.completed_at IS 'when the result was stored';
COMMENT ON COLUMN idempotency.keys.expires_at IS 'from when on the key counts as absent';
COMMENT ON COLUMN idempotency.keys.ttl IS 'ttl that the claim asked for; NULL leaves it to policy and settings';
COMMENT ON COLUMN idempotency.keys.claim_xid IS 'transaction that made the present attempt';
COMMENT ON COLUMN idempotency.keys.slot IS 'slot of the expiry wheel; -1 is keys_long';
COMMENT ON COLUMN idempotency.keys.hash IS '128-bit hash of scope and key';

-- The wheel: eight slots that are emptied by TRUNCATE, and keys_long for what
-- expires beyond them.  Room is left on each page so that completing a key
-- stays a heap-only update.
DO $$
BEGIN
	FOR slot IN 0 .. 7 LOOP
		EXECUTE format('CREATE TABLE idempotency.keys_%s PARTITION OF idempotency.keys (CONSTRAINT keys_%1$s_hash PRIMARY KEY (hash)) FOR VALUES IN (%1$s) USING heap WITH (fillfactor = 75)', slot);
		EXECUTE format('COMMENT ON TABLE idempotency.keys_%s IS ''slot %1$s of the expiry wheel''', slot);
		PERFORM pg_catalog.pg_extension_config_dump(format('idempotency.keys_%s', slot)::regclass, '');
	END LOOP;
END
$$;

CREATE TABLE idempotency.keys_long PARTITION OF idempotency.keys (
	CONSTRAINT keys_long_hash PRIMARY KEY (hash)
) FOR VALUES IN (-1) USING heap WITH (fillfactor = 75);

COMMENT ON TABLE idempotency.keys_long IS 'keys that expire later than the wheel reaches';
SELECT pg_catalog.pg_extension_config_dump('idempotency.keys_long', '');

-- Which time each slot holds.  There is no unique constraint on slot: after a
-- restore from pg_dump a slot has the row that CREATE EXTENSION made and the
-- row of the dump.  The later until counts, and no row of the slot outlives it.
CREATE TABLE idempotency.wheel (
	slot  smallint    NOT NULL CHECK (slot BETWEEN 0 AND 7),
	until timestamptz NOT NULL
) USING heap;

COMMENT ON TABLE idempotency.wheel IS
'for each slot of the expiry wheel the time by which all its keys have expired; the latest row of a slot counts';
COMMENT ON COLUMN idempotency.wheel.slot IS 'slot, 0 to 7';
COMMENT ON COLUMN idempotency.wheel.until IS 'no key of the slot expires after this';

SELECT pg_catalog.pg_extension_config_dump('idempotency.wheel', '');

-- Backends keep what they have read of the wheel.  Rows that arrive by COPY, as
-- in a restore, must reach those that are there already.
CREATE FUNCTION idempotency.wheel_changed() RETURNS trigger
AS 'MODULE_PATHNAME', 'idempotency_wheel_changed'
LANGUAGE C;

COMMENT ON FUNCTION idempotency.wheel_changed() IS
'makes every backend read the expiry wheel again';

CREATE TRIGGER wheel_changed
AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON idempotency.wheel
FOR EACH STATEMENT EXECUTE FUNCTION idempotency.wheel_changed();

INSERT INTO idempotency.wheel (slot, until)
SELECT slot, date_trunc('day', clock_timestamp(), 'UTC') + (slot + 1) * interval '24 hours'
FROM generate_series(0, 7) AS slot;

-- ---------------------------------------------------------------------------
-- Claims.
-- ---------------------------------------------------------------------------

CREATE TYPE idempotency.claim_result AS (
	outcome        text,
	proceed        boolean,
	status_code    integer,
	resource_id    text,
	response       jsonb,
	attempt        integer,
	recovery_point text,
	state          jsonb,
	retry_after    interval,
	claimed_at     timestamptz,
	completed_at   timestamptz,
	expires_at     timestamptz
);

COMMENT ON TYPE idempotency.claim_result IS
'what a claim came to: outcome new, recovered, replay, in_progress, mismatch or expired';

CREATE FUNCTION idempotency.claim(
	key text,
	scope text DEFAULT '',
	request jsonb DEFAULT NULL,
	ttl interval DEFAULT NULL,
	lease interval DEFAULT NULL,
	wait interval DEFAULT NULL,
	first_sent timestamptz DEFAULT NULL
) RETURNS idempotency.claim_result
AS 'MODULE_PATHNAME', 'idempotency_claim'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION idempotency.claim(text, text, jsonb, interval, interval, interval, timestamptz) IS
'claim a key: proceed says whether to do the work, else the stored result is replayed';

CREATE FUNCTION idempotency.complete(
	key text,
	scope text DEFAULT '',
	response jsonb DEFAULT NULL,
	resource_id text DEFAULT NULL,
	status_code integer DEFAULT NULL,
	attempt integer DEFAULT NULL,
	ttl interval DEFAULT NULL
) RETURNS void
AS 'MODULE_PATHNAME', 'idempotency_complete'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION idempotency.complete(text, text, jsonb, text, integer, integer, interval) IS
'store the result of a claimed key, to be replayed to every duplicate';

CREATE FUNCTION idempotency.fail(
	key text,
	scope text DEFAULT '',
	response jsonb DEFAULT NULL,
	resource_id text DEFAULT NULL,
	status_code integer DEFAULT NULL,
	attempt integer DEFAULT NULL,
	ttl interval DEFAULT NULL
) RETURNS void
AS 'MODULE_PATHNAME', 'idempotency_fail'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION idempotency.fail(text, text, jsonb, text, integer, integer, interval) IS
'store a final failure of a claimed key, to be replayed to every duplicate';

CREATE FUNCTION idempotency.release(
	key text,
	scope text DEFAULT '',
	attempt integer DEFAULT NULL
) RETURNS void
AS 'MODULE_PATHNAME', 'idempotency_release'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION idempotency.release(text, text, integer) IS
'give a claimed key back: the next claim may run, also with another request';

CREATE FUNCTION idempotency.heartbeat(
	key text,
	scope text DEFAULT '',
	attempt integer DEFAULT NULL,
	lease interval DEFAULT NULL
) RETURNS timestamptz
AS 'MODULE_PATHNAME', 'idempotency_heartbeat'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION idempotency.heartbeat(text, text, integer, interval) IS
'renew the lease of a claimed key; returns its new end';

CREATE FUNCTION idempotency.checkpoint(
	key text,
	scope text DEFAULT '',
	recovery_point text DEFAULT NULL,
	state jsonb DEFAULT NULL,
	attempt integer DEFAULT NULL,
	lease interval DEFAULT NULL
) RETURNS void
AS 'MODULE_PATHNAME', 'idempotency_checkpoint'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION idempotency.checkpoint(text, text, text, jsonb, integer, interval) IS
'note a passed step and its state for whoever takes over; renews the lease';

CREATE FUNCTION idempotency.lookup(
	key text,
	scope text DEFAULT ''
) RETURNS SETOF idempotency.keys
AS 'MODULE_PATHNAME', 'idempotency_lookup'
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 1;

COMMENT ON FUNCTION idempotency.lookup(text, text) IS
'what is stored for a key: no row or one; never waits, works on a standby';

-- ---------------------------------------------------------------------------
-- Privileges: the schema's missing USAGE withholds the functions above; the
-- tables are for the owner alone.
-- ---------------------------------------------------------------------------

REVOKE ALL ON TABLE idempotency.keys, idempotency.wheel FROM PUBLIC;
