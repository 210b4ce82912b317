\echo Use "CREATE EXTENSION idempotency" to load this file. \quit

-- The schema may already contain objects of an application. This script runs with
-- the privileges of a superuser, so it must not use one of them in place of an
-- object of PostgreSQL. Therefore the schema is not in search_path, and the script
-- qualifies every name in it.
SET LOCAL search_path = pg_catalog, pg_temp;

-- The owner of the schema can create objects in it, and can drop all of them.
DO $$
DECLARE
	owner text;
BEGIN
	SELECT r.rolname INTO owner
	FROM pg_namespace AS n JOIN pg_roles AS r ON r.oid = n.nspowner
	WHERE n.nspname = 'idempotency' AND NOT r.rolsuper AND r.rolname <> current_user;
	IF FOUND THEN
		RAISE EXCEPTION 'schema "idempotency" belongs to another role'
			USING ERRCODE = 'object_not_in_prerequisite_state',
				DETAIL = format('Its owner, "%s", could drop the extension with it.', owner),
				HINT = format('Run ALTER SCHEMA idempotency OWNER TO %I.', current_user);
	END IF;
END
$$;

-- ---------------------------------------------------------------------------
-- Storage.  keyrow.c is the only C file that knows these columns, by number.
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
	lease          interval,
	claim_xid      xid,
	slot           smallint    NOT NULL,
	hash           uuid        NOT NULL,
	CONSTRAINT keys_status CHECK (status IN ('in_progress', 'completed', 'failed', 'released', 'issued', 'erased')),
	-- The C functions set this column; for rows that arrive by COPY, by hand or
	-- by logical replication a trigger does. The check is for rows that arrive
	-- with triggers disabled: a row with a wrong hash would never be found, and
	-- its request would run again.
	CONSTRAINT keys_hash CHECK (hash = idempotency.key_hash(key, scope))
) PARTITION BY LIST (slot);

COMMENT ON TABLE idempotency.keys IS
'every stored idempotency key: its claim, its result, and when it expires';
COMMENT ON COLUMN idempotency.keys.scope IS 'the operation and its caller, chosen by the server';
COMMENT ON COLUMN idempotency.keys.key IS 'the key, chosen by the client; unique within its scope';
COMMENT ON COLUMN idempotency.keys.fingerprint IS 'hash of the request; NULL if the claim gave none';
COMMENT ON COLUMN idempotency.keys.status IS 'in_progress, completed, failed, released, issued or erased';
COMMENT ON COLUMN idempotency.keys.status_code IS 'HTTP status stored with the result';
COMMENT ON COLUMN idempotency.keys.resource_id IS 'primary key of what the request created';
COMMENT ON COLUMN idempotency.keys.response IS 'the result, replayed to every duplicate';
COMMENT ON COLUMN idempotency.keys.attempt IS 'fencing token: rises with each takeover and each claim after a release';
COMMENT ON COLUMN idempotency.keys.recovery_point IS 'the last step that an owner passed';
COMMENT ON COLUMN idempotency.keys.state IS 'state that the owner stored with the recovery point';
COMMENT ON COLUMN idempotency.keys.lease_until IS 'end of the lease of an unfinished, committed claim; NULL if there is no lease';
COMMENT ON COLUMN idempotency.keys.claimed_at IS 'when the current attempt began';
COMMENT ON COLUMN idempotency.keys.completed_at IS 'when the result was stored';
COMMENT ON COLUMN idempotency.keys.expires_at IS 'when the key expires and is free again';
COMMENT ON COLUMN idempotency.keys.ttl IS 'ttl that the claim asked for; NULL if that of the policy applies';
COMMENT ON COLUMN idempotency.keys.lease IS 'lease of the claim, used by heartbeat() and checkpoint() to renew it; NULL if there is none';
COMMENT ON COLUMN idempotency.keys.claim_xid IS 'transaction that began the current attempt';
COMMENT ON COLUMN idempotency.keys.slot IS 'slot of the expiry wheel; -1 is keys_long';
COMMENT ON COLUMN idempotency.keys.hash IS '128-bit hash of scope and key';

COMMENT ON CONSTRAINT keys_status ON idempotency.keys IS 'the valid statuses';
COMMENT ON CONSTRAINT keys_hash ON idempotency.keys IS 'a row with another hash would never be found';

-- Responses over two kilobytes are compressed; with lz4, if the server has it,
-- that takes a third of the time. The partitions inherit the method.
DO $$
BEGIN
	IF (SELECT 'lz4' = ANY (enumvals) FROM pg_settings WHERE name = 'default_toast_compression') THEN
		ALTER TABLE idempotency.keys ALTER COLUMN response SET COMPRESSION lz4;
	END IF;
END
$$;

-- The wheel: eight slots, which sweeps empty by truncation, and keys_long for
-- keys that expire later than the wheel reaches. The fillfactor leaves room on
-- each page so that completing a key is a heap-only update.
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

-- The upper bound of each slot. There is no unique constraint on slot: after a
-- restore from pg_dump a slot has the row of CREATE EXTENSION and the row of the
-- dump. The later bound counts, and no row of the slot expires after
-- it.
CREATE TABLE idempotency.wheel (
	slot  smallint    NOT NULL CHECK (slot BETWEEN 0 AND 7),
	until timestamptz NOT NULL
) USING heap;

COMMENT ON TABLE idempotency.wheel IS
'for each slot of the expiry wheel, the time by which all its keys have expired; the latest row of a slot counts';
COMMENT ON COLUMN idempotency.wheel.slot IS 'slot, 0 to 7';
COMMENT ON COLUMN idempotency.wheel.until IS 'no key of the slot expires after this';

SELECT pg_catalog.pg_extension_config_dump('idempotency.wheel', '');

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
'result of a claim';
COMMENT ON COLUMN idempotency.claim_result.outcome IS 'new, recovered, replay, in_progress, mismatch or expired';
COMMENT ON COLUMN idempotency.claim_result.proceed IS 'whether the caller owns the key and must do the work: true for new and recovered';
COMMENT ON COLUMN idempotency.claim_result.status_code IS 'HTTP status to answer with; NULL if proceed is true';
COMMENT ON COLUMN idempotency.claim_result.resource_id IS 'replay: primary key of what the request created';
COMMENT ON COLUMN idempotency.claim_result.response IS 'replay: the stored result';
COMMENT ON COLUMN idempotency.claim_result.attempt IS 'fencing token of the owner, for calls in later transactions; NULL for others';
COMMENT ON COLUMN idempotency.claim_result.recovery_point IS 'recovered: the last step that the previous owner passed';
COMMENT ON COLUMN idempotency.claim_result.state IS 'recovered: the state that the previous owner stored with it';
COMMENT ON COLUMN idempotency.claim_result.retry_after IS 'in_progress: the remaining time of the owner''s lease, or one second if the claim is not committed';
COMMENT ON COLUMN idempotency.claim_result.claimed_at IS 'when the current attempt began';
COMMENT ON COLUMN idempotency.claim_result.completed_at IS 'when the result was stored';
COMMENT ON COLUMN idempotency.claim_result.expires_at IS 'when the key expires and is free again';

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
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 10000;

COMMENT ON FUNCTION idempotency.claim(text, text, jsonb, interval, interval, interval, timestamptz) IS
'claim a key: the caller does the work if proceed is true, and otherwise answers with the stored result';

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
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 10000;

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
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 10000;

COMMENT ON FUNCTION idempotency.fail(text, text, jsonb, text, integer, integer, interval) IS
'store a final failure of a claimed key, to be replayed to every duplicate';

CREATE FUNCTION idempotency.release(
	key text,
	scope text DEFAULT '',
	attempt integer DEFAULT NULL
) RETURNS void
AS 'MODULE_PATHNAME', 'idempotency_release'
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 10000;

COMMENT ON FUNCTION idempotency.release(text, text, integer) IS
'release a claimed key: the next claim may proceed, also with another request';

CREATE FUNCTION idempotency.heartbeat(
	key text,
	scope text DEFAULT '',
	attempt integer DEFAULT NULL,
	lease interval DEFAULT NULL
) RETURNS timestamptz
AS 'MODULE_PATHNAME', 'idempotency_heartbeat'
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 10000;

COMMENT ON FUNCTION idempotency.heartbeat(text, text, integer, interval) IS
'renew the lease of a claimed key, or give it one; returns its new end';

CREATE FUNCTION idempotency.checkpoint(
	key text,
	scope text DEFAULT '',
	recovery_point text DEFAULT NULL,
	state jsonb DEFAULT NULL,
	attempt integer DEFAULT NULL,
	lease interval DEFAULT NULL
) RETURNS void
AS 'MODULE_PATHNAME', 'idempotency_checkpoint'
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 10000;

COMMENT ON FUNCTION idempotency.checkpoint(text, text, text, jsonb, integer, interval) IS
'store a passed step and its state for the next owner; renews the lease, if there is one';

CREATE FUNCTION idempotency.lookup(
	key text,
	scope text DEFAULT ''
) RETURNS SETOF idempotency.keys
AS 'MODULE_PATHNAME', 'idempotency_lookup'
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 1;

COMMENT ON FUNCTION idempotency.lookup(text, text) IS
'the stored row of a key, if there is one; never waits, works on a standby';

-- ---------------------------------------------------------------------------
-- One call, and batches.
-- ---------------------------------------------------------------------------

CREATE FUNCTION idempotency.execute(
	key text,
	scope text,
	command text,
	request jsonb DEFAULT NULL,
	ttl interval DEFAULT NULL,
	wait interval DEFAULT NULL,
	cache_errors text[] DEFAULT NULL
) RETURNS idempotency.claim_result
AS 'MODULE_PATHNAME', 'idempotency_execute'
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 10000;

COMMENT ON FUNCTION idempotency.execute(text, text, text, jsonb, interval, interval, text[]) IS
'claim a key, call a function jsonb -> jsonb, and store its result, in one call';

CREATE FUNCTION idempotency.once_support(internal)
RETURNS internal
AS 'MODULE_PATHNAME', 'idempotency_once_support'
LANGUAGE C STRICT;

COMMENT ON FUNCTION idempotency.once_support(internal) IS
'planner support: refuses a call of once() that may be evaluated more than once for a row';

CREATE FUNCTION idempotency.once(
	key text,
	scope text DEFAULT '',
	ttl interval DEFAULT NULL
) RETURNS boolean
AS 'MODULE_PATHNAME', 'idempotency_once'
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 10000 SUPPORT idempotency.once_support;

COMMENT ON FUNCTION idempotency.once(text, text, interval) IS
'true the first time that a key is seen, then false until the key expires';

CREATE FUNCTION idempotency.claim_many(
	keys text[],
	scope text DEFAULT '',
	requests jsonb[] DEFAULT NULL,
	ttl interval DEFAULT NULL,
	lease interval DEFAULT NULL,
	wait interval DEFAULT NULL
) RETURNS TABLE (
	ord            bigint,
	key            text,
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
)
AS 'MODULE_PATHNAME', 'idempotency_claim_many'
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 10000;

COMMENT ON FUNCTION idempotency.claim_many(text[], text, jsonb[], interval, interval, interval) IS
'claim many keys: one row for each, in order; batches don''t deadlock with each other';

CREATE FUNCTION idempotency.complete_many(
	keys text[],
	scope text DEFAULT '',
	responses jsonb[] DEFAULT NULL,
	resource_ids text[] DEFAULT NULL,
	status_codes integer[] DEFAULT NULL,
	attempts integer[] DEFAULT NULL
) RETURNS bigint
AS 'MODULE_PATHNAME', 'idempotency_complete_many'
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 10000;

COMMENT ON FUNCTION idempotency.complete_many(text[], text, jsonb[], text[], integer[], integer[]) IS
'store the results of many claimed keys; returns their number';

-- ---------------------------------------------------------------------------
-- Policies.
-- ---------------------------------------------------------------------------

CREATE FUNCTION idempotency.announce_change()
RETURNS trigger
AS 'MODULE_PATHNAME', 'idempotency_announce_change'
LANGUAGE C;

COMMENT ON FUNCTION idempotency.announce_change() IS
'trigger: makes every backend read the table again';

CREATE TABLE idempotency.policy (
	scope              text PRIMARY KEY,
	ttl                interval CHECK (ttl > interval '0'),
	lease              interval CHECK (lease >= interval '0'),
	wait               interval CHECK (wait >= interval '0'),
	require_request    boolean,
	require_issued     boolean,
	min_key_length     integer CHECK (min_key_length >= 1),
	max_response_bytes integer CHECK (max_response_bytes >= 0),
	cache_errors       text[]
) USING heap;

COMMENT ON TABLE idempotency.policy IS
'policy for the keys of a scope and of the scopes below it; NULL is inherited';
COMMENT ON COLUMN idempotency.policy.scope IS 'the scope, or a prefix of scopes that ends at a slash; empty for the database';
COMMENT ON COLUMN idempotency.policy.ttl IS 'how long a key is remembered';
COMMENT ON COLUMN idempotency.policy.lease IS 'how long an unfinished, committed claim stays protected; zero: no lease, so that an unfinished claim can''t be committed';
COMMENT ON COLUMN idempotency.policy.wait IS 'how long a claim waits for a concurrent owner';
COMMENT ON COLUMN idempotency.policy.require_request IS 'refuse a claim that gives no request';
COMMENT ON COLUMN idempotency.policy.require_issued IS 'refuse a key that issue() has not returned';
COMMENT ON COLUMN idempotency.policy.min_key_length IS 'minimum length of a key, in bytes';
COMMENT ON COLUMN idempotency.policy.max_response_bytes IS 'maximum size of a response';
COMMENT ON COLUMN idempotency.policy.cache_errors IS 'SQLSTATEs, or classes of SQLSTATEs, that execute() stores as results';

SELECT pg_catalog.pg_extension_config_dump('idempotency.policy', '');

CREATE TRIGGER announce_change
	AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON idempotency.policy
	FOR EACH STATEMENT EXECUTE FUNCTION idempotency.announce_change();

CREATE TRIGGER announce_change
	AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON idempotency.wheel
	FOR EACH STATEMENT EXECUTE FUNCTION idempotency.announce_change();

-- Changes that arrive by logical replication must be announced as well: the
-- initial copy and TRUNCATE fire statement triggers, every other change only
-- row triggers. The wheel has no key: it needs the whole row as its replica
-- identity, so that a publication can include it.
ALTER TABLE idempotency.wheel REPLICA IDENTITY FULL;
DO $$
DECLARE
	kept text;
BEGIN
	FOREACH kept IN ARRAY ARRAY['wheel', 'policy'] LOOP
		EXECUTE format('CREATE TRIGGER announce_replicated_change AFTER INSERT OR UPDATE OR DELETE ON idempotency.%I FOR EACH ROW EXECUTE FUNCTION idempotency.announce_change()', kept);
		EXECUTE format('ALTER TABLE idempotency.%I ENABLE ALWAYS TRIGGER announce_change, ENABLE REPLICA TRIGGER announce_replicated_change', kept);
	END LOOP;
END
$$;

-- Rows that arrive by COPY or by hand may expire after the upper bound of
-- their slot: pg_dump restores the keys before the wheel. The slot's bound is
-- then raised, since a sweep would otherwise empty the slot too early.
CREATE FUNCTION idempotency.raise_until()
RETURNS trigger
AS 'MODULE_PATHNAME', 'idempotency_raise_until'
LANGUAGE C;

COMMENT ON FUNCTION idempotency.raise_until() IS
'trigger: raises the upper bound of a slot if rows that arrive by COPY or by hand expire later';

DO $$
DECLARE
	holder text;
BEGIN
	FOREACH holder IN ARRAY ARRAY['keys', 'keys_0', 'keys_1', 'keys_2', 'keys_3', 'keys_4', 'keys_5', 'keys_6', 'keys_7'] LOOP
		EXECUTE format('CREATE TRIGGER raise_until AFTER INSERT ON idempotency.%I REFERENCING NEW TABLE AS arrived FOR EACH STATEMENT EXECUTE FUNCTION idempotency.raise_until()', holder);
	END LOOP;
END
$$;

-- Backends skip leaves that have never been used. A trigger announces the first
-- row that arrives in one by COPY, by hand or by logical replication. The same
-- trigger computes the hash of each row.
CREATE FUNCTION idempotency.use_leaf()
RETURNS trigger
AS 'MODULE_PATHNAME', 'idempotency_use_leaf'
LANGUAGE C;

COMMENT ON FUNCTION idempotency.use_leaf() IS
'trigger: computes the hash of a row that arrives by COPY or by hand, and announces the first row of a slot to all backends';

CREATE TRIGGER use_leaf BEFORE INSERT ON idempotency.keys
	FOR EACH ROW EXECUTE FUNCTION idempotency.use_leaf();
ALTER TABLE idempotency.keys ENABLE ALWAYS TRIGGER use_leaf;

-- Changes by hand that would lose keys are refused. The triggers do not fire
-- for changes that a publisher sends.
CREATE FUNCTION idempotency.refuse_change()
RETURNS trigger
AS 'MODULE_PATHNAME', 'idempotency_refuse_change'
LANGUAGE C;

COMMENT ON FUNCTION idempotency.refuse_change() IS
'trigger: refuses a change by hand that would lose keys';

DO $$
DECLARE
	holder text;
BEGIN
	FOREACH holder IN ARRAY ARRAY['keys', 'keys_0', 'keys_1', 'keys_2', 'keys_3', 'keys_4', 'keys_5', 'keys_6', 'keys_7', 'keys_long'] LOOP
		EXECUTE format('CREATE TRIGGER refuse_change BEFORE UPDATE OF scope, key, expires_at, slot, hash ON idempotency.%I FOR EACH STATEMENT EXECUTE FUNCTION idempotency.refuse_change()', holder);
	END LOOP;
END
$$;

CREATE TRIGGER refuse_change BEFORE DELETE OR TRUNCATE ON idempotency.wheel
	FOR EACH STATEMENT EXECUTE FUNCTION idempotency.refuse_change();

-- The statements of set_policy() and drop_policy(), which check the arguments
-- and the table. The functions are stored in parsed form, so that no name in
-- them is looked up again.
CREATE FUNCTION idempotency.store_policy(
	scope text,
	ttl interval,
	lease interval,
	wait interval,
	require_request boolean,
	require_issued boolean,
	min_key_length integer,
	max_response_bytes integer,
	cache_errors text[]
) RETURNS void
LANGUAGE sql VOLATILE PARALLEL UNSAFE COST 10000
BEGIN ATOMIC
	INSERT INTO idempotency.policy AS p (scope, ttl, lease, wait, require_request, require_issued, min_key_length, max_response_bytes, cache_errors)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
	ON CONFLICT (scope) DO UPDATE SET
		(ttl, lease, wait, require_request, require_issued, min_key_length, max_response_bytes, cache_errors) =
		(excluded.ttl, excluded.lease, excluded.wait, excluded.require_request, excluded.require_issued,
		 excluded.min_key_length, excluded.max_response_bytes, excluded.cache_errors);
END;

COMMENT ON FUNCTION idempotency.store_policy(text, interval, interval, interval, boolean, boolean, integer, integer, text[]) IS
'the statement of set_policy()';

CREATE FUNCTION idempotency.remove_policy(scope text)
RETURNS boolean
LANGUAGE sql VOLATILE PARALLEL UNSAFE COST 10000
BEGIN ATOMIC
	WITH dropped AS (
		DELETE FROM idempotency.policy AS p WHERE p.scope = $1 RETURNING 1
	)
	SELECT EXISTS (SELECT FROM dropped);
END;

COMMENT ON FUNCTION idempotency.remove_policy(text) IS
'the statement of drop_policy()';

CREATE FUNCTION idempotency.set_policy(
	scope text,
	ttl interval DEFAULT NULL,
	lease interval DEFAULT NULL,
	wait interval DEFAULT NULL,
	require_request boolean DEFAULT NULL,
	require_issued boolean DEFAULT NULL,
	min_key_length integer DEFAULT NULL,
	max_response_bytes integer DEFAULT NULL,
	cache_errors text[] DEFAULT NULL
) RETURNS void
AS 'MODULE_PATHNAME', 'idempotency_set_policy'
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 10000
SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION idempotency.set_policy(text, interval, interval, interval, boolean, boolean, integer, integer, text[]) IS
'create or replace the policy of a scope; a field that is NULL is inherited';

CREATE FUNCTION idempotency.drop_policy(scope text)
RETURNS boolean
AS 'MODULE_PATHNAME', 'idempotency_drop_policy'
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 10000
SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION idempotency.drop_policy(text) IS
'drop the policy of a scope; returns whether there was one';

-- ---------------------------------------------------------------------------
-- Operation.
-- ---------------------------------------------------------------------------

CREATE FUNCTION idempotency.sweep(
	max_rows bigint DEFAULT NULL,
	OUT slots_cleared integer,
	OUT rows_deleted bigint
)
AS 'MODULE_PATHNAME', 'idempotency_sweep'
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 10000;

COMMENT ON FUNCTION idempotency.sweep(bigint) IS
'one round of expiry: empties the slots of the wheel whose keys have all expired, and deletes up to max_rows expired keys from the table keys_long';

CREATE FUNCTION idempotency.empty_wheel()
RETURNS void
AS 'MODULE_PATHNAME', 'idempotency_empty_wheel'
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 10000;

COMMENT ON FUNCTION idempotency.empty_wheel() IS
'for a server that will subscribe to another one: removes the wheel that CREATE EXTENSION created; only while no keys are stored';

CREATE FUNCTION idempotency.forget(key text, scope text DEFAULT '')
RETURNS boolean
AS 'MODULE_PATHNAME', 'idempotency_forget'
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 10000;

COMMENT ON FUNCTION idempotency.forget(text, text) IS
'remove a key in any state; returns whether it was there';

CREATE FUNCTION idempotency.purge(scope text)
RETURNS bigint
AS 'MODULE_PATHNAME', 'idempotency_purge'
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 10000;

COMMENT ON FUNCTION idempotency.purge(text) IS
'remove every key of a scope and of the scopes below it; returns the number of keys';

CREATE FUNCTION idempotency.erase(key text, scope text DEFAULT '')
RETURNS boolean
AS 'MODULE_PATHNAME', 'idempotency_erase'
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 10000;

COMMENT ON FUNCTION idempotency.erase(text, text) IS
'remove response, state and fingerprint of a key but keep the key; a retry replays status 410';

CREATE FUNCTION idempotency.erase_scope(scope text)
RETURNS bigint
AS 'MODULE_PATHNAME', 'idempotency_erase_scope'
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 10000;

COMMENT ON FUNCTION idempotency.erase_scope(text) IS
'erase every key with a result in a scope and in the scopes below it; returns the number of keys';

CREATE FUNCTION idempotency.retain(key text, scope text, ttl interval)
RETURNS timestamptz
AS 'MODULE_PATHNAME', 'idempotency_retain'
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 10000;

COMMENT ON FUNCTION idempotency.retain(text, text, interval) IS
'remember a stored result for the given ttl from now on; returns when it expires, NULL if there is no result';

CREATE FUNCTION idempotency.unfinished_claims(
	of_key text,
	of_scope text,
	OUT scope text,
	OUT key text,
	OUT attempt integer,
	OUT claimed_at timestamptz,
	OUT lease_until timestamptz,
	OUT holder xid,
	OUT replaced boolean,
	OUT lock_high oid,
	OUT lock_low oid
) RETURNS SETOF record
AS 'MODULE_PATHNAME', 'idempotency_unfinished_claims'
LANGUAGE C VOLATILE PARALLEL RESTRICTED;

COMMENT ON FUNCTION idempotency.unfinished_claims(text, text) IS
'unfinished claims of one key or of all, committed or not, with the transaction in progress that holds them; for claims_in_flight()';

-- A session that waits for a key holds a lock of class 18757 that is named by
-- the same bits as the key's lock.
CREATE FUNCTION idempotency.claims_in_flight(
	of_key text,
	of_scope text,
	OUT scope text,
	OUT key text,
	OUT attempt integer,
	OUT pid integer,
	OUT application_name text,
	OUT gid text,
	OUT since timestamptz,
	OUT waiters bigint,
	OUT lease_until timestamptz,
	OUT waiting_pids integer[]
) RETURNS SETOF record
LANGUAGE sql VOLATILE PARALLEL RESTRICTED SECURITY DEFINER
-- The planner's estimate for pg_locks is so high that it would choose JIT
-- compilation, which takes much longer than the query.
SET jit = off
BEGIN ATOMIC
	SELECT DISTINCT ON (claim.scope, claim.key)
		claim.scope,
		claim.key,
		claim.attempt,
		held.pid,
		activity.application_name,
		prepared.gid,
		claim.claimed_at,
		pg_catalog.cardinality(waiting.pids)::bigint,
		claim.lease_until,
		waiting.pids
	FROM idempotency.unfinished_claims(of_key, of_scope) AS claim
	LEFT JOIN pg_catalog.pg_locks AS held
		ON held.locktype = 'transactionid'
		AND held.transactionid = claim.holder
		AND held.mode = 'ExclusiveLock'
		AND held.granted
	LEFT JOIN pg_catalog.pg_stat_activity AS activity ON activity.pid = held.pid
	LEFT JOIN pg_catalog.pg_prepared_xacts AS prepared ON prepared.transaction = claim.holder
	CROSS JOIN LATERAL (
		SELECT coalesce(pg_catalog.array_agg(l.pid ORDER BY l.pid), '{}') AS pids
		FROM pg_catalog.pg_locks AS l
		WHERE l.locktype = 'advisory' AND l.objsubid = 18757 AND l.granted
			AND l.classid = claim.lock_high AND l.objid = claim.lock_low
			AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())
	) AS waiting
	ORDER BY claim.scope, claim.key, claim.holder IS NULL, claim.replaced, claim.attempt DESC;
END;

COMMENT ON FUNCTION idempotency.claims_in_flight(text, text) IS
'current owners of one key or of all; for holder() and the view in_flight, whose users need EXECUTE on it';

CREATE VIEW idempotency.in_flight AS
SELECT scope, key, attempt, pid, application_name, gid, since, waiters, lease_until
FROM idempotency.claims_in_flight(NULL, NULL);

COMMENT ON VIEW idempotency.in_flight IS
'current owners of keys: open transactions of sessions (pid), prepared transactions (gid), and committed leases; reads all keys';
COMMENT ON COLUMN idempotency.in_flight.scope IS 'scope of the key';
COMMENT ON COLUMN idempotency.in_flight.key IS 'the key';
COMMENT ON COLUMN idempotency.in_flight.attempt IS 'attempt of the owner';
COMMENT ON COLUMN idempotency.in_flight.pid IS 'process ID of the session whose open transaction has claimed the key';
COMMENT ON COLUMN idempotency.in_flight.application_name IS 'application_name of that session';
COMMENT ON COLUMN idempotency.in_flight.gid IS 'prepared transaction that has claimed the key';
COMMENT ON COLUMN idempotency.in_flight.since IS 'when the attempt began';
COMMENT ON COLUMN idempotency.in_flight.waiters IS 'number of sessions that wait for the key in a claim';
COMMENT ON COLUMN idempotency.in_flight.lease_until IS 'end of the lease; NULL if the claim has no lease, or has a result that is not committed yet';

CREATE FUNCTION idempotency.holder(
	key text,
	scope text DEFAULT '',
	OUT scope text,
	OUT key text,
	OUT attempt integer,
	OUT pid integer,
	OUT application_name text,
	OUT gid text,
	OUT since timestamptz,
	OUT waiters bigint,
	OUT lease_until timestamptz,
	OUT waiting_pids integer[]
) RETURNS SETOF record
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
BEGIN ATOMIC
	SELECT * FROM idempotency.claims_in_flight(coalesce($1, ''), $2);
END;

COMMENT ON FUNCTION idempotency.holder(text, text) IS
'the current owner of one key, if there is one, and the sessions that wait for it; found by the index';

CREATE FUNCTION idempotency.stats_counters(
	OUT scope text,
	OUT new bigint,
	OUT recovered bigint,
	OUT replay bigint,
	OUT in_progress bigint,
	OUT mismatch bigint,
	OUT expired bigint,
	OUT completions bigint,
	OUT failures bigint,
	OUT releases bigint,
	OUT unfinished bigint,
	OUT waits bigint,
	OUT time_waited interval,
	OUT sweeps bigint,
	OUT slots_cleared bigint,
	OUT rows_deleted bigint,
	OUT last_sweep timestamptz,
	OUT last_sweep_error text,
	OUT stats_reset timestamptz
) RETURNS SETOF record
AS 'MODULE_PATHNAME', 'idempotency_stats_counters'
LANGUAGE C VOLATILE PARALLEL SAFE;

COMMENT ON FUNCTION idempotency.stats_counters() IS
'the counters of the view stats, whose readers need EXECUTE on this function';

CREATE FUNCTION idempotency.stats_reset()
RETURNS void
AS 'MODULE_PATHNAME', 'idempotency_stats_reset'
LANGUAGE C VOLATILE PARALLEL SAFE COST 10000;

COMMENT ON FUNCTION idempotency.stats_reset() IS
'set the counters of the view stats to zero';

CREATE VIEW idempotency.stats AS
SELECT
	scope,
	new + recovered + replay + in_progress + mismatch + expired AS claims,
	new,
	recovered,
	replay,
	in_progress,
	mismatch,
	expired,
	completions,
	failures,
	releases,
	recovered AS takeovers,
	unfinished,
	waits,
	time_waited,
	sweeps,
	slots_cleared,
	rows_deleted,
	last_sweep,
	last_sweep_error,
	stats_reset
FROM idempotency.stats_counters();

COMMENT ON VIEW idempotency.stats IS
'counters of this database since the server started, for each scope that has a policy; no rows unless idempotency is in shared_preload_libraries. Calls are counted when they are made, even if the transaction is rolled back later; a crash of the server sets all counters to zero';
COMMENT ON COLUMN idempotency.stats.scope IS 'longest scope whose policy applied; empty if none did; NULL for the sum of the scopes, of all databases, for which there was no room';
COMMENT ON COLUMN idempotency.stats.claims IS 'claims with any outcome; without those that raised an error because of their arguments or of a key that was not issued';
COMMENT ON COLUMN idempotency.stats.new IS 'claims that made the caller the owner of a free key';
COMMENT ON COLUMN idempotency.stats.recovered IS 'claims that made the caller the owner of a key whose lease had expired';
COMMENT ON COLUMN idempotency.stats.replay IS 'claims answered with a stored result';
COMMENT ON COLUMN idempotency.stats.in_progress IS 'claims of a key that had another owner';
COMMENT ON COLUMN idempotency.stats.mismatch IS 'claims of a key that was used with a different request';
COMMENT ON COLUMN idempotency.stats.expired IS 'claims refused because the request was first sent longer ago than keys are remembered';
COMMENT ON COLUMN idempotency.stats.completions IS 'results stored; storing the same result again is not counted';
COMMENT ON COLUMN idempotency.stats.failures IS 'final failures stored; storing the same failure again is not counted';
COMMENT ON COLUMN idempotency.stats.releases IS 'claims released';
COMMENT ON COLUMN idempotency.stats.takeovers IS 'expired leases that were taken over: the same number as recovered';
COMMENT ON COLUMN idempotency.stats.unfinished IS 'commits refused because a claim without a lease had not ended';
COMMENT ON COLUMN idempotency.stats.waits IS 'waits of all functions for another session, however they ended';
COMMENT ON COLUMN idempotency.stats.time_waited IS 'total duration of these waits';
COMMENT ON COLUMN idempotency.stats.sweeps IS 'sweeps of the database; this and the following columns are NULL unless the scope is empty';
COMMENT ON COLUMN idempotency.stats.slots_cleared IS 'slots of the expiry wheel that sweeps emptied';
COMMENT ON COLUMN idempotency.stats.rows_deleted IS 'expired rows that sweeps deleted one by one';
COMMENT ON COLUMN idempotency.stats.last_sweep IS 'when the last sweep ended';
COMMENT ON COLUMN idempotency.stats.last_sweep_error IS 'the error that ended the last sweep; NULL if it succeeded';
COMMENT ON COLUMN idempotency.stats.stats_reset IS 'when the counting of this row began; never NULL';

CREATE FUNCTION idempotency.version()
RETURNS text
AS 'MODULE_PATHNAME', 'idempotency_version'
LANGUAGE C STABLE PARALLEL SAFE;

COMMENT ON FUNCTION idempotency.version() IS
'version of the loaded library';

-- ---------------------------------------------------------------------------
-- The distributed store.  distribute() creates its table, which does not belong to
-- the extension.
-- ---------------------------------------------------------------------------

CREATE FUNCTION idempotency.distribute(
	business regclass,
	tenant_from text DEFAULT 'last'
) RETURNS void
AS 'MODULE_PATHNAME', 'idempotency_distribute'
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 10000
SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION idempotency.distribute(regclass, text) IS
'store keys in one table, on Citus distributed like the given table; those that are remembered are moved there';

CREATE FUNCTION idempotency.undistribute()
RETURNS void
AS 'MODULE_PATHNAME', 'idempotency_undistribute'
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 10000
SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION idempotency.undistribute() IS
'store keys in the tables of the extension again; those that are remembered are moved there';

CREATE FUNCTION idempotency.upgrade_store()
RETURNS text[]
AS 'MODULE_PATHNAME', 'idempotency_upgrade_store'
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 10000
SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

COMMENT ON FUNCTION idempotency.upgrade_store() IS
'add the columns that a new version of the extension needs to the table of the distributed store; returns the names of the added columns';

-- ---------------------------------------------------------------------------
-- Keys.
-- ---------------------------------------------------------------------------

CREATE FUNCTION idempotency.parse_header(
	header text,
	strict boolean DEFAULT false
) RETURNS text
AS 'MODULE_PATHNAME', 'idempotency_parse_header'
LANGUAGE C STABLE PARALLEL SAFE;

COMMENT ON FUNCTION idempotency.parse_header(text, boolean) IS
'the key in an Idempotency-Key header: an RFC 9651 string or, unless strict, a key without quotes';

CREATE FUNCTION idempotency.request_key()
RETURNS text
AS 'MODULE_PATHNAME', 'idempotency_request_key'
LANGUAGE C STABLE PARALLEL SAFE;

COMMENT ON FUNCTION idempotency.request_key() IS
'the key in the Idempotency-Key header of the current PostgREST request';

CREATE FUNCTION idempotency.derive(
	key text,
	purpose text
) RETURNS text
AS 'MODULE_PATHNAME', 'idempotency_derive'
LANGUAGE C IMMUTABLE PARALLEL SAFE;

COMMENT ON FUNCTION idempotency.derive(text, text) IS
'the key for a call to another service, always the same for the same key and purpose';

CREATE FUNCTION idempotency.issue(
	scope text,
	subject text,
	ttl interval DEFAULT NULL
) RETURNS text
AS 'MODULE_PATHNAME', 'idempotency_issue'
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 10000;

COMMENT ON FUNCTION idempotency.issue(text, text, interval) IS
'a key made by the server: the same one for a subject of a scope until it expires';

-- Lay the wheel by the present tick, as any sweep does.
DO $$ BEGIN PERFORM idempotency.sweep(0); END $$;

-- ---------------------------------------------------------------------------
-- Migration from the portable edition, which stores requests in the column
-- fingerprint.
-- ---------------------------------------------------------------------------

CREATE FUNCTION idempotency.fingerprint(request jsonb)
RETURNS bytea
AS 'MODULE_PATHNAME', 'idempotency_fingerprint'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION idempotency.fingerprint(jsonb) IS
'the stored hash of a request, which is compared with that of a retry';

-- When this transaction has ended, the old functions raise an error, and so does
-- the trigger on the old table: it stops sessions that wait for the lock of the
-- table inside the old version of a function. The old schema may belong to a role
-- that is not a superuser. Therefore nothing in it is called, and its tables must
-- have the columns and types that the portable edition gave them.
CREATE FUNCTION idempotency.adopt(old_schema name)
RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	at      timestamptz := clock_timestamp();
	command text;
	adopted bigint;
BEGIN
	IF current_setting('transaction_isolation') <> 'read committed' THEN
		RAISE feature_not_supported USING MESSAGE = 'adopt() must run at READ COMMITTED',
			HINT = 'An older snapshot does not show what was committed before the old table was locked.';
	END IF;
	IF (SELECT count(*) FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
		WHERE n.nspname = old_schema AND c.relkind = 'r' AND a.attnum > 0
			AND NOT EXISTS (SELECT FROM pg_index AS i WHERE i.indrelid = c.oid AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL))
			AND (c.relname, a.attname, a.atttypid::regtype::text) IN (
				('keys', 'scope', 'text'), ('keys', 'key', 'text'), ('keys', 'fingerprint', 'jsonb'), ('keys', 'status', 'text'), ('keys', 'status_code', 'integer'),
				('keys', 'resource_id', 'text'), ('keys', 'response', 'jsonb'), ('keys', 'attempt', 'integer'), ('keys', 'recovery_point', 'text'),
				('keys', 'state', 'jsonb'), ('keys', 'lease_until', 'timestamp with time zone'), ('keys', 'claimed_at', 'timestamp with time zone'),
				('keys', 'completed_at', 'timestamp with time zone'), ('keys', 'expires_at', 'timestamp with time zone'), ('keys', 'ttl', 'interval'),
				('keys', 'lease', 'interval'),
				('policy', 'scope', 'text'), ('policy', 'ttl', 'interval'), ('policy', 'lease', 'interval'), ('policy', 'wait', 'interval'),
				('policy', 'require_request', 'boolean'), ('policy', 'require_issued', 'boolean'), ('policy', 'min_key_length', 'integer'),
				('policy', 'max_response_bytes', 'integer'), ('policy', 'cache_errors', 'text[]'))) <> 25
	THEN
		RAISE undefined_table USING MESSAGE = format('schema "%s" does not contain the portable edition', old_schema),
			HINT = 'Rename the schema in which its file was run, and name it here.';
	END IF;
	EXECUTE format('LOCK TABLE %1$I.keys, %1$I.policy IN ACCESS EXCLUSIVE MODE', old_schema);
	-- Open claims of the extension have locked a table, too.
	LOCK TABLE idempotency.keys IN EXCLUSIVE MODE;
	IF EXISTS (SELECT FROM idempotency.keys) OR to_regclass('idempotency.distributed_keys') IS NOT NULL THEN
		RAISE object_in_use USING MESSAGE = 'the extension has stored keys',
			DETAIL = 'A key that both have stored would have two results.',
			HINT = 'Create the extension and call adopt() in one transaction.';
	END IF;

	EXECUTE format('INSERT INTO idempotency.policy SELECT scope, ttl, lease, wait, require_request, require_issued, min_key_length, max_response_bytes, cache_errors FROM ONLY %I.policy', old_schema);
	-- keys_long takes rows of any expiry; a trigger computes the hashes.
	EXECUTE format('INSERT INTO idempotency.keys (scope, key, fingerprint, status, status_code, resource_id, response, attempt, recovery_point, state,
			lease_until, claimed_at, completed_at, expires_at, ttl, lease, slot)
		SELECT scope, key, idempotency.fingerprint(fingerprint), status, status_code, resource_id, response, attempt, recovery_point, state,
			lease_until, claimed_at, completed_at, expires_at, ttl, lease, -1
		FROM ONLY %I.keys WHERE expires_at > $1', old_schema) USING at;
	GET DIAGNOSTICS adopted = ROW_COUNT;

	FOR command IN
		SELECT format('CREATE OR REPLACE FUNCTION %I.%I(%s) RETURNS %s LANGUAGE plpgsql AS %L', old_schema, f.name, f.arguments, f.result,
			'BEGIN RAISE object_not_in_prerequisite_state USING MESSAGE = ''the keys have moved to extension "idempotency"'', HINT = ''Call the function of schema idempotency.''; END')
		FROM (SELECT p.proname, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid)
			FROM pg_proc AS p WHERE p.pronamespace = to_regnamespace(quote_ident(old_schema)) AND p.prokind = 'f'
			UNION ALL VALUES ('moved', '', 'trigger')) AS f (name, arguments, result)
		UNION ALL
		SELECT format('CREATE TRIGGER moved BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON %1$I.keys FOR EACH STATEMENT EXECUTE FUNCTION %1$I.moved()', old_schema)
	LOOP
		EXECUTE command;
	END LOOP;
	RETURN adopted;
END
$$;

COMMENT ON FUNCTION idempotency.adopt(name) IS
'copy the keys and policies of the portable edition from its renamed schema, and disable its functions';

-- ---------------------------------------------------------------------------
-- Privileges. Only the owner has any, whatever the default privileges are;
-- grant_usage() gives an application what it needs.
-- ---------------------------------------------------------------------------

CREATE FUNCTION idempotency.grant_usage(role regrole)
RETURNS void
AS 'MODULE_PATHNAME', 'idempotency_grant_usage'
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 10000;

COMMENT ON FUNCTION idempotency.grant_usage(regrole) IS
'let a role claim and complete keys: grants USAGE on the schema and EXECUTE on the functions for applications';

CREATE FUNCTION idempotency.revoke_usage(role regrole)
RETURNS void
AS 'MODULE_PATHNAME', 'idempotency_revoke_usage'
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 10000;

COMMENT ON FUNCTION idempotency.revoke_usage(regrole) IS
'revoke from a role what grant_usage() granted';

-- The objects of the extension are found by membership: the schema may contain
-- objects of an application. Types keep the default USAGE of PUBLIC.
DO $$
DECLARE
	command text;
BEGIN
	FOR command IN
		WITH member AS (
			SELECT depend.classid, depend.objid
			FROM pg_depend AS depend
			JOIN pg_extension AS extension ON extension.oid = depend.refobjid
			WHERE depend.refclassid = 'pg_extension'::regclass
				AND depend.deptype = 'e'
				AND extension.extname = 'idempotency'
		)
		SELECT format('REVOKE ALL ON TABLE %s FROM %s', c.oid::regclass, grantee.name)
		FROM member
		JOIN pg_class AS c ON member.classid = 'pg_class'::regclass AND c.oid = member.objid
		CROSS JOIN aclexplode(c.relacl) AS a
		CROSS JOIN LATERAL (SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END) AS grantee (name)
		WHERE a.grantee <> c.relowner
		UNION
		SELECT format('REVOKE ALL ON FUNCTION %s FROM %s', p.oid::regprocedure, grantee.name)
		FROM member
		JOIN pg_proc AS p ON member.classid = 'pg_proc'::regclass AND p.oid = member.objid
		CROSS JOIN aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a
		CROSS JOIN LATERAL (SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END) AS grantee (name)
		WHERE a.grantee <> p.proowner
		UNION
		-- A role that may create objects in the schema could create functions
		-- that are called in place of the extension's.
		SELECT format('REVOKE CREATE ON SCHEMA %I FROM %s', n.nspname, grantee.name)
		FROM pg_namespace AS n
		CROSS JOIN aclexplode(n.nspacl) AS a
		CROSS JOIN LATERAL (SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END) AS grantee (name)
		WHERE n.nspname = 'idempotency' AND a.privilege_type = 'CREATE' AND a.grantee <> n.nspowner
	LOOP
		EXECUTE command;
	END LOOP;
END
$$;

-- A NOTICE of this script would be suppressed.
CREATE FUNCTION idempotency.say_what_is_missing()
RETURNS void
AS 'MODULE_PATHNAME', 'idempotency_say_what_is_missing'
LANGUAGE C;
SELECT idempotency.say_what_is_missing();
DROP FUNCTION idempotency.say_what_is_missing();
