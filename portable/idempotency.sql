-- idempotency.sql: run each request once, in PL/pgSQL only.
--
-- The contract of the extension "idempotency", for servers on which no C library can be installed.  A role that may
-- create a schema runs this file once:  psql -1 -v ON_ERROR_STOP=1 -f idempotency.sql
-- doc/portable.md lists the differences from the extension.
--
-- Two sessions with the same key.  The unique index on (scope, key) and the row's own lock decide; no answer depends on
-- anything else.  An advisory lock only puts the sessions in order: a transaction that writes a key's row takes it, and it is
-- released at the end of the transaction, or when its savepoint is rolled back, together with the row.
--
--		session A						session B
--		read: nothing
--		take the lock, insert			read: nothing, as A has not committed
--		work							the lock is taken: answer "in progress", or wait
--		complete, commit				the wait ends; read again, with a new snapshot: the result
--
-- The lock is released after A's commit has become visible, so that the statement after the wait sees it; at REPEATABLE READ
-- it does not, and inserting raises 40001.  A crash or ROLLBACK removes lock and row together: B finds nothing, and inserts.
-- Sessions wait in share mode, in a subtransaction that is rolled back: all of them are answered at once when A ends, and
-- hold no lock then.  If A left no result, they queue for the exclusive lock.

CREATE SCHEMA idempotency;

-- ======== Storage.

-- "fingerprint" is the request itself, compared as jsonb, since no hash of jsonb in SQL is good enough.
-- Scopes and keys are compared byte for byte.  The fillfactor leaves room on each page: completing a claim changes no indexed
-- column, so that the new row version can stay on its page.
CREATE TABLE idempotency.keys (
	scope text NOT NULL COLLATE "C", key text NOT NULL COLLATE "C", fingerprint jsonb, status text NOT NULL COLLATE "C",
	status_code integer, resource_id text, response jsonb, attempt integer NOT NULL, recovery_point text, state jsonb,
	lease_until timestamptz, claimed_at timestamptz, completed_at timestamptz, expires_at timestamptz NOT NULL,
	ttl interval, lease interval, claim_xid xid8, PRIMARY KEY (scope, key)
) WITH (fillfactor = 80);
CREATE INDEX keys_expires_at ON idempotency.keys (expires_at);
COMMENT ON TABLE idempotency.keys IS 'every stored idempotency key: who claimed it, its result, and until when it is remembered';

CREATE TABLE idempotency.policy (
	scope text PRIMARY KEY COLLATE "C", ttl interval CHECK (ttl > interval '0'),
	lease interval CHECK (lease >= interval '0'), wait interval CHECK (wait >= interval '0'), require_request boolean,
	require_issued boolean, min_key_length integer CHECK (min_key_length >= 1),
	max_response_bytes integer CHECK (max_response_bytes >= 0), cache_errors text[]
);
COMMENT ON TABLE idempotency.policy IS 'what holds for the keys of a scope and of those below it; NULL is inherited';

CREATE TYPE idempotency.claim_result AS (
	outcome text, proceed boolean, status_code integer, resource_id text, response jsonb, attempt integer, recovery_point text,
	state jsonb, retry_after interval, claimed_at timestamptz, completed_at timestamptz, expires_at timestamptz
);

-- ======== Refusals.  SQLSTATEs are the prefix, IK, and an HTTP status.

CREATE FUNCTION idempotency.refuse(status text, message text, detail text, hint text) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	code text := coalesce(nullif(current_setting('idempotency.sqlstate_prefix', true), ''), 'IK') || status;
BEGIN
	IF detail IS NULL THEN RAISE EXCEPTION USING ERRCODE = code, MESSAGE = message, HINT = hint; END IF;
	RAISE EXCEPTION USING ERRCODE = code, MESSAGE = message, DETAIL = detail, HINT = hint;
END $$;

CREATE FUNCTION idempotency.check_writable(function text) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF current_setting('transaction_read_only')::boolean THEN
		RAISE read_only_sql_transaction USING MESSAGE = format('cannot execute idempotency.%s() in a read-only transaction', function);
	END IF;
END $$;

CREATE FUNCTION idempotency.check_scope(scope text) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF scope IS NULL THEN
		PERFORM idempotency.refuse('400', 'scope of the idempotency key must not be null', NULL, 'Pass the empty string for the empty scope.');
	ELSIF left(scope, 1) IN ('{', '[') THEN
		PERFORM idempotency.refuse('400', 'scope of the idempotency key begins like JSON', 'A scope does not begin with "{" or "[".',
			'The key comes first, the scope second, and the request or response third; execute() takes key, scope, command and request.');
	ELSIF octet_length(scope) > (CASE WHEN starts_with(scope, 'idempotency.issue/') THEN 1018 ELSE 1000 END) THEN
		PERFORM idempotency.refuse('400', 'scope of the idempotency key is too long', format('The scope has %s bytes; the maximum is 1000.', octet_length(scope)),
			'Name the operation and the caller in the scope, and pass what the client sent as the request.');
	END IF;
END $$;

CREATE FUNCTION idempotency.check_key(key text, scope text, function text) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM idempotency.check_writable(function) WHERE function <> 'lookup';
	IF key IS NULL THEN
		PERFORM idempotency.refuse('400', 'idempotency key is missing', NULL, 'Pass the key that the client sent; a request without one can''t be made safe to retry.');
	ELSIF key = '' AND scope IS NOT NULL THEN
		PERFORM idempotency.refuse('400', 'idempotency key is empty', NULL, 'Pass the key that the client sent; a UUID made for each operation serves well.');
	END IF;
	PERFORM idempotency.check_scope(scope);
	IF octet_length(key) > 8192 AND function <> 'claim' THEN
		PERFORM idempotency.refuse('400', 'idempotency key is too long', format('The key has %s bytes; the maximum of any setting is 8192.', octet_length(key)), 'Pass the key that was claimed.');
	END IF;
END $$;

-- Check an interval argument; zero is allowed for waits, and for the leases of policies.
CREATE FUNCTION idempotency.check_interval(value interval, name text, zero_allowed boolean DEFAULT false)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF value < interval '0' AND (zero_allowed OR name = 'wait') THEN
		PERFORM idempotency.refuse('400', name || ' must not be negative', format('The value given is %s.', value),
			CASE name WHEN 'wait' THEN 'Give an interval of zero to be answered at once.' ELSE 'Give an interval of zero for no lease.' END);
	ELSIF value <= interval '0' AND NOT (zero_allowed OR name = 'wait') THEN
		PERFORM idempotency.refuse('400', name || ' must be longer than zero', format('The value given is %s.', value), 'Leave the argument out for the default.');
	ELSIF value > interval '5000 years' THEN
		PERFORM idempotency.refuse('400', name || ' is too long', 'The maximum is 5000 years.', 'Give a shorter interval.');
	END IF;
END $$;

-- ======== Expressions, which PostgreSQL inlines.

CREATE FUNCTION idempotency.setting(name text, otherwise text) RETURNS text LANGUAGE sql STABLE
RETURN coalesce(nullif(current_setting('idempotency.' || name, true), ''), otherwise);

CREATE FUNCTION idempotency.lock_number(key text, scope text) RETURNS bigint LANGUAGE sql IMMUTABLE
RETURN hashtextextended(key, hashtextextended(scope, 7594793484668659577));

CREATE FUNCTION idempotency.max_response_bytes() RETURNS bigint LANGUAGE sql STABLE
RETURN pg_size_bytes(idempotency.setting('max_response_size', '1MB'));

-- Whether key and scope of a claim pass all checks, apart from those of policies.
CREATE FUNCTION idempotency.plain(key text, scope text) RETURNS boolean LANGUAGE sql STABLE
RETURN octet_length(key) BETWEEN 1 AND 255 AND octet_length(scope) <= 1000 AND left(scope, 1) NOT IN ('{', '[', 'i') AND current_setting('transaction_read_only') = 'off'
	AND coalesce(current_setting('idempotency.min_key_length', true), '1B') = '1B' AND coalesce(current_setting('idempotency.max_key_length', true), '255B') = '255B';

-- Whether this transaction made the claim.  The xid alone is not enough: after a restore into another cluster it may be that of an old claim.
CREATE FUNCTION idempotency.own(claim_xid xid8, claimed_at timestamptz) RETURNS boolean LANGUAGE sql STABLE
RETURN coalesce(claim_xid = pg_current_xact_id_if_assigned() AND claimed_at > now() - interval '1 day', false);

-- ======== Policies.

-- The policy of a scope: each field comes from the longest scope that has it.  Fields that are NULL come from settings.
CREATE FUNCTION idempotency.terms(scope text) RETURNS idempotency.policy LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	t idempotency.policy; p idempotency.policy;
BEGIN
	IF NOT EXISTS (SELECT FROM idempotency.policy) THEN RETURN t; END IF;
	-- There are few policies: reading all of them costs less than planning a query by scope.
	FOR p IN
		SELECT * FROM idempotency.policy AS o
		WHERE starts_with(terms.scope, o.scope) AND (o.scope IN ('', terms.scope) OR right(o.scope, 1) = '/' OR substr(terms.scope, length(o.scope) + 1, 1) = '/')
		ORDER BY octet_length(o.scope) DESC
	LOOP
		t := (NULL, coalesce(t.ttl, p.ttl), coalesce(t.lease, p.lease), coalesce(t.wait, p.wait), coalesce(t.require_request, p.require_request),
			  coalesce(t.require_issued, p.require_issued), coalesce(t.min_key_length, p.min_key_length),
			  coalesce(t.max_response_bytes, p.max_response_bytes), coalesce(t.cache_errors, p.cache_errors));
	END LOOP;
	RETURN t;
END $$;

CREATE FUNCTION idempotency.set_policy(
	scope text, ttl interval DEFAULT NULL, lease interval DEFAULT NULL, wait interval DEFAULT NULL,
	require_request boolean DEFAULT NULL, require_issued boolean DEFAULT NULL, min_key_length integer DEFAULT NULL,
	max_response_bytes integer DEFAULT NULL, cache_errors text[] DEFAULT NULL) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
	IF scope IS NULL THEN
		PERFORM idempotency.refuse('400', 'scope of a policy must not be null', NULL, 'The empty scope is the default of the database.');
	END IF;
	PERFORM idempotency.check_interval(ttl, 'ttl'), idempotency.check_interval(lease, 'lease', true), idempotency.check_interval(wait, 'wait');
	IF min_key_length < 1 THEN
		PERFORM idempotency.refuse('400', 'min_key_length must be one or more', NULL, 'Give a number of bytes, or NULL to inherit it.');
	ELSIF max_response_bytes < 0 THEN
		PERFORM idempotency.refuse('400', 'max_response_bytes must not be negative', NULL, 'Give a number of bytes, or NULL to inherit it.');
	END IF;
	PERFORM idempotency.check_scope(scope), idempotency.stored_errors(scope, cache_errors);
	INSERT INTO idempotency.policy AS p VALUES (scope, ttl, lease, wait, require_request, require_issued, min_key_length, max_response_bytes, cache_errors)
	ON CONFLICT ON CONSTRAINT policy_pkey DO UPDATE SET (ttl, lease, wait, require_request, require_issued, min_key_length, max_response_bytes, cache_errors) =
		(excluded.ttl, excluded.lease, excluded.wait, excluded.require_request, excluded.require_issued, excluded.min_key_length, excluded.max_response_bytes, excluded.cache_errors);
END $$;

CREATE FUNCTION idempotency.drop_policy(scope text) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	DELETE FROM idempotency.policy AS p WHERE p.scope = drop_policy.scope;
	RETURN FOUND;
END $$;

-- The errors that execute() stores: those of the argument, or the policy's.
CREATE FUNCTION idempotency.stored_errors(scope text, cache_errors text[]) RETURNS text[] LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	bad bigint;
BEGIN
	IF cache_errors IS NULL THEN RETURN (idempotency.terms(scope)).cache_errors; END IF;
	SELECT min(e.n) INTO bad FROM unnest(cache_errors) WITH ORDINALITY AS e (code, n) WHERE (e.code ~ '^([0-9A-Z]{2}|[0-9A-Z]{5})$') IS NOT TRUE;
	IF bad IS NOT NULL THEN
		PERFORM idempotency.refuse('400', 'cache_errors must contain SQLSTATEs or classes of SQLSTATEs', format('Element %s is neither.', bad),
			'Give five digits or upper-case letters, such as 23505, or the two of a class, such as 23.');
	END IF;
	RETURN cache_errors;
END $$;

-- ======== Locks.

-- The number of locks that this transaction has taken, whether it may take one more, and count one more.  A transaction takes at
-- most its share of the lock table; further claims are protected by the row alone, and others wait for the transaction without
-- a limit.  A rollback to a savepoint resets the number, as it releases the locks.
CREATE FUNCTION idempotency.locks() RETURNS integer LANGUAGE sql STABLE
RETURN coalesce(nullif(current_setting('idempotency_portable.locks', true), ''), '0')::integer;

CREATE FUNCTION idempotency.may_lock() RETURNS boolean LANGUAGE sql STABLE
RETURN idempotency.locks() < current_setting('max_locks_per_transaction')::integer;

CREATE FUNCTION idempotency.count_lock() RETURNS boolean LANGUAGE sql VOLATILE
RETURN set_config('idempotency_portable.locks', (idempotency.locks() + 1)::text, true) IS NOT NULL;

-- Wait for a lock until the deadline, and keep it if "keep" is true.  Returns false at the deadline; the transaction is usable in any case.
CREATE FUNCTION idempotency.await(number bigint, deadline timestamptz, keep boolean) RETURNS boolean LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	allowed integer := least(ceil(extract(epoch FROM deadline - clock_timestamp()) * 1000), 2147483647);
	before text := current_setting('lock_timeout');
BEGIN
	IF allowed <= 0 THEN RETURN false; END IF;
	-- If the session's own lock_timeout is shorter, its error is raised.
	IF extract(epoch FROM before::interval) * 1000 BETWEEN 1 AND allowed THEN allowed := NULL; END IF;
	BEGIN
		PERFORM set_config('lock_timeout', allowed::text, true) WHERE allowed IS NOT NULL;
		IF NOT keep THEN
			PERFORM pg_advisory_xact_lock_shared(number);
			RAISE SQLSTATE 'IK001';
		END IF;
		PERFORM pg_advisory_xact_lock(number), idempotency.count_lock();
		PERFORM set_config('lock_timeout', before, true);
	EXCEPTION
		WHEN SQLSTATE 'IK001' THEN
		WHEN lock_not_available THEN
			IF allowed IS NULL THEN RAISE; END IF;
			RETURN false;
	END;
	RETURN true;
END $$;

-- ======== Claims.

-- Raise an error if an argument of a claim is not acceptable.
CREATE FUNCTION idempotency.check_claim(key text, scope text, request jsonb, ttl interval, lease interval, wait interval, kind text, t idempotency.policy)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	-- If the extension's library is loaded, these settings have a unit.
	min_length integer := coalesce(t.min_key_length, rtrim(idempotency.setting('min_key_length', '1'), 'B')::integer);
	-- The longest key that fits into the index together with the longest scope.
	max_length integer := least(rtrim(idempotency.setting('max_key_length', '255'), 'B')::integer, 1600);
BEGIN
	PERFORM idempotency.check_key(key, scope, kind), idempotency.check_interval(ttl, 'ttl'), idempotency.check_interval(lease, 'lease'), idempotency.check_interval(wait, 'wait');
	-- The policy's requirements for keys do not apply to the records of subjects.
	IF kind = 'issue' THEN
		RETURN;
	ELSIF starts_with(scope, 'idempotency.issue/') THEN
		PERFORM idempotency.refuse('400', 'scope of the idempotency key is reserved', 'Scopes that begin with "idempotency.issue/" belong to issue().', 'Use the scope that was passed to issue().');
	ELSIF octet_length(key) > max_length THEN
		PERFORM idempotency.refuse('400', 'idempotency key is too long', format('The key has %s bytes; the maximum is %s.', octet_length(key), max_length),
			'Shorten the key, or raise idempotency.max_key_length.');
	ELSIF octet_length(key) < min_length THEN
		PERFORM idempotency.refuse('400', 'idempotency key is too short', format('The key has %s bytes; the minimum is %s.', octet_length(key), min_length),
			'Use a key that can''t be guessed, and that no two clients choose by chance, for instance a UUID.');
	ELSIF request IS NULL AND t.require_request THEN
		PERFORM idempotency.refuse('400', format('request is missing for idempotency key "%s"', key), format('The policy of scope "%s" requires one.', scope),
			'Pass the payload of the request as jsonb.');
	END IF;
END $$;

-- PL/pgSQL prepares each expression again in every transaction, so a new key evaluates few of them.
CREATE FUNCTION idempotency.claim_key(key text, scope text, request jsonb, ttl interval, lease interval, wait interval, first_sent timestamptz, kind text)
RETURNS idempotency.claim_result LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	r idempotency.keys; c idempotency.claim_result; t idempotency.policy; at timestamptz; until timestamptz;
	live boolean; locked boolean := false; deadline timestamptz; queued boolean := false;
BEGIN
	FOR round IN 1 .. 10000 LOOP
		-- Read first, and after every wait again with a new snapshot.
		at := clock_timestamp();
		SELECT * INTO r FROM idempotency.keys AS k WHERE k.scope = claim_key.scope AND k.key = claim_key.key;
		IF round = 1 AND (EXISTS (SELECT FROM idempotency.policy) OR idempotency.plain(key, scope) IS NOT TRUE OR ttl IS NOT NULL OR lease IS NOT NULL OR wait IS NOT NULL) THEN
			t := idempotency.terms(scope);
			PERFORM idempotency.check_claim(key, scope, request, ttl, lease, wait, kind, t);
		END IF;

		live := r.expires_at > at;
		IF r.key IS NOT NULL THEN
			c.outcome := CASE
				WHEN r.status = 'in_progress' AND idempotency.own(r.claim_xid, r.claimed_at) THEN 'in_progress'
				WHEN NOT live OR r.status IN ('released', 'issued') THEN NULL
				WHEN r.status = 'erased' THEN 'replay'
				WHEN r.fingerprint IS DISTINCT FROM request THEN 'mismatch'
				WHEN r.status <> 'in_progress' THEN 'replay'
				WHEN r.lease_until > at THEN 'in_progress'
			END;
			IF c.outcome IS NOT NULL THEN
				RETURN CASE c.outcome
					WHEN 'replay' THEN ROW ('replay', false, CASE WHEN r.status = 'erased' THEN 410 ELSE coalesce(r.status_code, 200) END, r.resource_id, r.response,
						NULL, NULL, NULL, NULL, r.claimed_at, r.completed_at, r.expires_at)::idempotency.claim_result
					WHEN 'mismatch' THEN ROW ('mismatch', false, 422, NULL, NULL, NULL, NULL, NULL, NULL, r.claimed_at, r.completed_at, r.expires_at)::idempotency.claim_result
					ELSE ROW ('in_progress', false, 409, NULL, NULL, NULL, NULL, NULL, CASE WHEN idempotency.own(r.claim_xid, r.claimed_at) THEN interval '1 s' ELSE r.lease_until - at END,
						r.claimed_at, r.completed_at, r.expires_at)::idempotency.claim_result
				END;
			END IF;
		END IF;

		-- The key is free, or its lease has expired: the session that gets the lock may claim it.
		IF NOT locked AND idempotency.may_lock() AND NOT (pg_try_advisory_xact_lock(idempotency.lock_number(key, scope)) AND idempotency.count_lock()) THEN
			IF deadline IS NULL THEN
				-- The holder may have ended since the row was read.
				deadline := at + coalesce(wait, t.wait, idempotency.setting('default_wait', '5 s')::interval);
				CONTINUE;
			END IF;
			IF NOT idempotency.await(idempotency.lock_number(key, scope), deadline, queued) THEN
				RETURN ROW ('in_progress', false, 409, NULL, NULL, NULL, NULL, NULL, interval '1 s', NULL, NULL, NULL)::idempotency.claim_result;
			END IF;
			locked := queued;
			queued := true;
			CONTINUE;
		END IF;

		IF (first_sent IS NOT NULL OR t.require_issued) AND live IS NOT TRUE AND kind <> 'issue' THEN
			IF t.require_issued THEN
				PERFORM idempotency.refuse('404', format('idempotency key "%s" was not issued', key),
					format('The policy of scope "%s" requires keys that issue() handed out and that have not expired.', scope), 'Call issue() and use the key that it returns.');
			ELSIF first_sent < at - coalesce(ttl, t.ttl, idempotency.setting('default_ttl', '1 day')::interval) THEN
				RETURN ROW ('expired', false, 412, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)::idempotency.claim_result;
			END IF;
		END IF;
		-- An unfinished claim never expires before its lease.
		IF lease IS NOT NULL OR t.lease IS NOT NULL OR current_setting('idempotency.default_lease', true) NOT IN ('', 'off') THEN
			lease := CASE WHEN kind = 'claim' THEN nullif(coalesce(lease, t.lease, nullif(idempotency.setting('default_lease', 'off'), 'off')::interval), '0') END;
			until := at + lease;
		END IF;
		IF r.key IS NULL THEN
			INSERT INTO idempotency.keys AS k (scope, key, fingerprint, status, attempt, lease_until, claimed_at, completed_at, expires_at, ttl, lease, claim_xid)
			VALUES (scope, key, request, CASE WHEN kind IN ('once', 'issue') THEN 'completed' ELSE 'in_progress' END, 1, until, at,
				CASE WHEN kind IN ('once', 'issue') THEN at END,
				greatest(at + coalesce(ttl, t.ttl, idempotency.setting('default_ttl', '1 day')::interval), until),
				ttl, lease, pg_current_xact_id())
			ON CONFLICT DO NOTHING
			RETURNING 'new', true, NULL, NULL, NULL, k.attempt, NULL, NULL, NULL, k.claimed_at, k.completed_at, k.expires_at INTO c;
		ELSE
			-- An issued key keeps the ttl of issue().  The attempt continues while an earlier owner has to be distinguished.
			ttl := coalesce(ttl, CASE WHEN live AND r.status = 'issued' THEN r.ttl END);
			UPDATE idempotency.keys AS k SET fingerprint = request, status = CASE WHEN kind IN ('once', 'issue') THEN 'completed' ELSE 'in_progress' END,
				status_code = NULL, resource_id = NULL, response = NULL, attempt = CASE WHEN live OR k.status = 'in_progress' THEN k.attempt ELSE 0 END + 1,
				recovery_point = CASE WHEN live AND k.status = 'in_progress' THEN k.recovery_point END, state = CASE WHEN live AND k.status = 'in_progress' THEN k.state END,
				lease_until = until, claimed_at = at, completed_at = CASE WHEN kind IN ('once', 'issue') THEN at END,
				expires_at = greatest(at + coalesce(ttl, t.ttl, idempotency.setting('default_ttl', '1 day')::interval), until),
				ttl = claim_key.ttl, lease = claim_key.lease, claim_xid = pg_current_xact_id()
			WHERE k.scope = claim_key.scope AND k.key = claim_key.key
				AND (k.status, k.attempt, k.expires_at, k.lease_until) IS NOT DISTINCT FROM (r.status, r.attempt, r.expires_at, r.lease_until)
			RETURNING CASE WHEN live AND r.status = 'in_progress' THEN 'recovered' ELSE 'new' END, true, NULL, NULL, NULL, k.attempt,
				k.recovery_point, k.state, NULL, k.claimed_at, k.completed_at, k.expires_at INTO c;
		END IF;
		IF FOUND THEN RETURN c; END IF;
		-- Another session has inserted, changed or deleted the row in between.
	END LOOP;
	RAISE 'claim of idempotency key "%" does not come to an end', key;
END $$;

CREATE FUNCTION idempotency.claim(
	key text, scope text DEFAULT '', request jsonb DEFAULT NULL, ttl interval DEFAULT NULL, lease interval DEFAULT NULL,
	wait interval DEFAULT NULL, first_sent timestamptz DEFAULT NULL) RETURNS idempotency.claim_result LANGUAGE plpgsql COST 10000 AS $$
BEGIN
	RETURN idempotency.claim_key(key, scope, request, ttl, lease, wait, first_sent, 'claim');
END $$;

-- ======== The owner's calls.

-- A key's row, under the key's lock, and with a row lock against sweep() and purge().
CREATE FUNCTION idempotency.hold(key text, scope text, function text) RETURNS idempotency.keys LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	r idempotency.keys;
BEGIN
	PERFORM idempotency.check_key(key, scope, function);
	IF idempotency.may_lock() THEN PERFORM pg_advisory_xact_lock(idempotency.lock_number(key, scope)), idempotency.count_lock(); END IF;
	SELECT * INTO r FROM idempotency.keys AS k WHERE k.scope = hold.scope AND k.key = hold.key FOR UPDATE;
	RETURN r;
END $$;

-- The same for an owner: check that the claim is the caller's, and, unless it may have ended, that it is in progress.
CREATE FUNCTION idempotency.hold_claim(key text, scope text, attempt integer, function text, may_have_ended boolean DEFAULT false)
RETURNS idempotency.keys LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	r idempotency.keys := idempotency.hold(key, scope, function);
	own boolean := idempotency.own(r.claim_xid, r.claimed_at);
	fault text := CASE
		WHEN r.key IS NULL OR r.expires_at <= clock_timestamp() AND NOT own THEN 'Nothing is stored under this key and scope.'
		WHEN r.status = 'issued' THEN 'The key was issued and has not been claimed.' END;
BEGIN
	IF attempt < 1 THEN
		PERFORM idempotency.refuse('400', 'attempt must be one or more', format('The value given is %s.', attempt), 'Pass the attempt that claim() returned.');
	ELSIF fault IS NULL AND attempt IS NULL AND NOT own THEN
		PERFORM idempotency.refuse('428', format('attempt is required for idempotency key "%s"', key), 'The claim was made in an earlier transaction.',
			'Something committed in between. If claim and completion belong in one transaction, look for autocommit, an ORM or a framework that commits; if not, pass the attempt that claim() returned.');
	ELSIF fault IS NULL AND attempt <> r.attempt THEN
		PERFORM idempotency.refuse('423', format('idempotency key "%s" is owned by another attempt', key),
			format('Attempt %s does not own the key, the present attempt is %s.', attempt, r.attempt),
			'Stop this work; another owner does it. If this is frequent, make leases longer or call heartbeat() more often.');
	ELSIF fault IS NULL AND r.status <> 'in_progress' AND NOT may_have_ended THEN
		fault := CASE r.status WHEN 'released' THEN 'The claim was released.' WHEN 'erased' THEN 'The key was erased.' ELSE 'The claim has ended with a result.' END;
	END IF;
	IF fault IS NOT NULL THEN
		PERFORM idempotency.refuse('404', format('no claim of idempotency key "%s" is in progress', key), fault, CASE WHEN fault LIKE 'Nothing%' THEN
				'Claim the key first, with the same key and scope. If it was claimed, its transaction has ended in between: look for autocommit, an ORM or a framework that commits.'
			ELSE 'Claim the key first, with the same key and scope, and end the claim once.' END);
	END IF;
	RETURN r;
END $$;

-- Check the size of values that are to be stored: their own size, not the compressed one.
CREATE FUNCTION idempotency.check_size(name text, document jsonb, word_name text, word text, most bigint)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	size integer := coalesce(pg_column_size(document #> '{}') - 4, 0) + coalesce(octet_length(word), 0);
BEGIN
	IF size > most THEN
		PERFORM idempotency.refuse('413', CASE WHEN document IS NULL THEN word_name ELSE name END || ' is too large',
			format(CASE WHEN document IS NULL OR word IS NULL THEN 'It' ELSE 'With its ' || word_name || ' it' END || ' has %s bytes; the maximum is %s.', size, most),
			'Store what is needed to build it again, or raise idempotency.max_response_size.');
	END IF;
END $$;

-- Store a result.  Returns its completed_at and expires_at.
CREATE FUNCTION idempotency.finish(key text, scope text, end_status text, response jsonb, resource_id text, status_code integer, attempt integer, ttl interval)
RETURNS timestamptz[] LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	r idempotency.keys; t idempotency.policy; at timestamptz; until timestamptz; times timestamptz[];
	function text;
BEGIN
	IF current_setting('transaction_read_only') = 'on' THEN
		PERFORM idempotency.check_writable(CASE end_status WHEN 'failed' THEN 'fail' ELSE 'complete' END);
	END IF;
	-- The claim of this transaction: no other session has seen it, and its ttl counts from the claim.
	UPDATE idempotency.keys AS k SET status = end_status, status_code = finish.status_code, resource_id = finish.resource_id, response = finish.response,
		recovery_point = NULL, state = NULL, completed_at = clock_timestamp()
	WHERE k.scope = finish.scope AND k.key = finish.key AND k.status = 'in_progress' AND k.lease_until IS NULL AND finish.ttl IS NULL
		AND k.claim_xid = pg_current_xact_id_if_assigned() AND k.claimed_at > now() - interval '1 day' AND (finish.attempt IS NULL OR k.attempt = finish.attempt)
		AND (finish.status_code IS NULL OR finish.status_code BETWEEN 100 AND 599)
		AND coalesce(pg_column_size(finish.response #> '{}') - 4, 0) + coalesce(octet_length(finish.resource_id), 0)
			<= coalesce(CASE WHEN EXISTS (SELECT FROM idempotency.policy) THEN (idempotency.terms(finish.scope)).max_response_bytes END, idempotency.max_response_bytes())
	RETURNING ARRAY[k.completed_at, k.expires_at] INTO times;
	IF FOUND THEN RETURN times; END IF;

	function := CASE end_status WHEN 'failed' THEN 'fail' ELSE 'complete' END;
	t := idempotency.terms(scope);
	PERFORM idempotency.check_interval(ttl, 'ttl'), idempotency.check_size('response', response, 'resource_id', resource_id, coalesce(t.max_response_bytes, idempotency.max_response_bytes()));
	IF status_code NOT BETWEEN 100 AND 599 THEN
		PERFORM idempotency.refuse('400', 'status_code must be an HTTP status', format('The value given is %s.', status_code),
			'Give a number from 100 to 599, or leave it out.');
	END IF;
	r := idempotency.hold_claim(key, scope, attempt, function, true);
	-- The reply to an earlier call may have been lost.
	IF (r.status, r.status_code, r.resource_id, r.response) IS NOT DISTINCT FROM (end_status, status_code, resource_id, response) THEN
		RETURN ARRAY[r.completed_at, r.expires_at];
	ELSIF r.status <> 'in_progress' THEN
		PERFORM idempotency.hold_claim(key, scope, attempt, function);
	END IF;
	at := clock_timestamp();
	until := (CASE WHEN ttl IS NULL AND idempotency.own(r.claim_xid, r.claimed_at) THEN r.claimed_at ELSE at END) + coalesce(ttl, r.ttl, t.ttl, idempotency.setting('default_ttl', '1 day')::interval);
	UPDATE idempotency.keys AS k SET status = end_status, status_code = finish.status_code, resource_id = finish.resource_id, response = finish.response,
		recovery_point = NULL, state = NULL, lease_until = NULL, completed_at = at, expires_at = until
	WHERE k.scope = finish.scope AND k.key = finish.key;
	RETURN ARRAY[at, until];
END $$;

CREATE FUNCTION idempotency.complete(
	key text, scope text DEFAULT '', response jsonb DEFAULT NULL, resource_id text DEFAULT NULL, status_code integer DEFAULT NULL,
	attempt integer DEFAULT NULL, ttl interval DEFAULT NULL) RETURNS void LANGUAGE plpgsql COST 10000 AS $$
BEGIN
	IF idempotency.finish(key, scope, 'completed', response, resource_id, status_code, attempt, ttl) IS NULL THEN END IF;
END $$;

CREATE FUNCTION idempotency.fail(
	key text, scope text DEFAULT '', response jsonb DEFAULT NULL, resource_id text DEFAULT NULL, status_code integer DEFAULT NULL,
	attempt integer DEFAULT NULL, ttl interval DEFAULT NULL) RETURNS void LANGUAGE plpgsql COST 10000 AS $$
BEGIN
	IF idempotency.finish(key, scope, 'failed', response, resource_id, status_code, attempt, ttl) IS NULL THEN END IF;
END $$;

-- Make a row one that can be claimed again; only the attempt is kept.  If a lease is given, an owner may still call, and the attempt must stay.
CREATE FUNCTION idempotency.free(key text, scope text, lease_until timestamptz DEFAULT NULL) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	UPDATE idempotency.keys AS k SET status = 'released', status_code = NULL, fingerprint = NULL, resource_id = NULL, response = NULL,
		recovery_point = NULL, state = NULL, lease_until = free.lease_until, completed_at = NULL
	WHERE k.scope = free.scope AND k.key = free.key;
END $$;

CREATE FUNCTION idempotency.release(key text, scope text DEFAULT '', attempt integer DEFAULT NULL)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER COST 10000 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM idempotency.hold_claim(key, scope, attempt, 'release');
	PERFORM idempotency.free(key, scope);
END $$;

-- Renew the lease of a claim whose row is locked.  Returns its new end.
CREATE FUNCTION idempotency.renew(r idempotency.keys, lease interval) RETURNS timestamptz LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	until timestamptz := clock_timestamp() + coalesce(lease, r.lease);
BEGIN
	-- An unfinished claim never expires before its lease.
	UPDATE idempotency.keys AS k SET lease_until = until, lease = coalesce(k.lease, renew.lease), expires_at = greatest(k.expires_at, until)
	WHERE k.scope = r.scope AND k.key = r.key;
	RETURN until;
END $$;

CREATE FUNCTION idempotency.heartbeat(key text, scope text DEFAULT '', attempt integer DEFAULT NULL, lease interval DEFAULT NULL)
RETURNS timestamptz LANGUAGE plpgsql SECURITY DEFINER COST 10000 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	r idempotency.keys := idempotency.hold_claim(key, scope, attempt, 'heartbeat');
BEGIN
	PERFORM idempotency.check_interval(lease, 'lease');
	IF lease IS NULL AND r.lease IS NULL THEN
		PERFORM idempotency.refuse('400', format('claim of idempotency key "%s" has no lease', key), 'There is nothing to renew: neither the claim nor its policy has asked for a lease.',
			'Give the lease that the claim is to have from now on.');
	END IF;
	RETURN idempotency.renew(r, lease);
END $$;

CREATE FUNCTION idempotency.checkpoint(
	key text, scope text DEFAULT '', recovery_point text DEFAULT NULL, state jsonb DEFAULT NULL, attempt integer DEFAULT NULL,
	lease interval DEFAULT NULL) RETURNS void LANGUAGE plpgsql SECURITY DEFINER COST 10000 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	r idempotency.keys := idempotency.hold_claim(key, scope, attempt, 'checkpoint');
BEGIN
	PERFORM idempotency.check_interval(lease, 'lease'), idempotency.check_size('state', state, 'recovery_point', recovery_point,
		coalesce((idempotency.terms(scope)).max_response_bytes, idempotency.max_response_bytes()));
	UPDATE idempotency.keys AS k SET recovery_point = checkpoint.recovery_point, state = checkpoint.state WHERE k.scope = checkpoint.scope AND k.key = checkpoint.key;
	IF lease IS NOT NULL OR r.lease IS NOT NULL THEN PERFORM idempotency.renew(r, lease); END IF;
END $$;

CREATE FUNCTION idempotency.lookup(key text, scope text DEFAULT '')
RETURNS SETOF idempotency.keys LANGUAGE plpgsql SECURITY DEFINER PARALLEL RESTRICTED ROWS 1 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM idempotency.check_key(key, scope, 'lookup');
	RETURN QUERY SELECT * FROM idempotency.keys AS k WHERE k.scope = lookup.scope AND k.key = lookup.key AND k.expires_at > clock_timestamp();
END $$;

-- An unfinished claim without a lease can't be committed.  The trigger reads the row's state at COMMIT.
CREATE FUNCTION idempotency.refuse_unfinished() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
	IF NEW.completed_at IS NOT NULL OR NEW.lease_until IS NOT NULL OR NEW.claim_xid IS NULL THEN RETURN NULL; END IF;
	-- This works with any search_path at COMMIT.
	PERFORM FROM idempotency.keys AS k
	WHERE k.scope OPERATOR(pg_catalog.=) NEW.scope AND k.key OPERATOR(pg_catalog.=) NEW.key AND k.status OPERATOR(pg_catalog.=) 'in_progress' AND k.lease_until IS NULL;
	IF FOUND THEN
		PERFORM idempotency.refuse('500', pg_catalog.format('claim of idempotency key "%s" is unfinished', NEW.key),
			'It has neither a result nor a lease, so that the transaction can''t be committed and its work is undone.',
			'Claim, work and complete() belong in one transaction: look for a commit in between, by autocommit, an ORM or a framework. Only a claim with a lease can be committed before it ends.');
	END IF;
	RETURN NULL;
END $$;

CREATE CONSTRAINT TRIGGER refuse_unfinished AFTER INSERT OR UPDATE OF claim_xid ON idempotency.keys
	DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION idempotency.refuse_unfinished();

-- ======== One call, and batches.

-- Make a problem document (RFC 9457) from an error.
CREATE FUNCTION idempotency.problem(code text, message text, hint text) RETURNS jsonb LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	titles CONSTANT jsonb := '{"400": "Bad Request", "401": "Unauthorized", "402": "Payment Required", "403": "Forbidden", "404": "Not Found", "405": "Method Not Allowed",
		"406": "Not Acceptable", "409": "Conflict", "410": "Gone", "412": "Precondition Failed", "413": "Content Too Large", "415": "Unsupported Media Type",
		"422": "Unprocessable Content", "423": "Locked", "428": "Precondition Required", "429": "Too Many Requests", "500": "Internal Server Error",
		"501": "Not Implemented", "502": "Bad Gateway", "503": "Service Unavailable", "504": "Gateway Timeout"}';
	status text := CASE
		WHEN left(code, 2) IN ('PT', coalesce(nullif(current_setting('idempotency.sqlstate_prefix', true), ''), 'IK')) AND titles ? right(code, 3) THEN right(code, 3)
		WHEN code IN ('23505', '23503', '23P01') THEN '409'
		WHEN code = '42501' THEN '403'
		WHEN code = 'P0002' THEN '404'
		WHEN code = 'P0001' THEN '400'
		WHEN left(code, 2) IN ('22', '23') THEN '422'
		ELSE '500' END;
BEGIN
	RETURN jsonb_strip_nulls(jsonb_build_object('type', 'about:blank', 'title', titles->>status, 'status', status::integer, 'detail', message, 'hint', nullif(hint, ''), 'sqlstate', code));
END $$;

-- The command is looked up and run with the caller's role and search_path, which this function does not change.
CREATE FUNCTION idempotency.execute(
	key text, scope text, command text, request jsonb DEFAULT NULL, ttl interval DEFAULT NULL, wait interval DEFAULT NULL,
	cache_errors text[] DEFAULT NULL) RETURNS idempotency.claim_result LANGUAGE plpgsql COST 10000 AS $$
DECLARE
	c idempotency.claim_result; errors text[]; function regprocedure; call text; status text := 'completed';
	message text; hint text; times timestamptz[];
BEGIN
	IF command IS NULL THEN PERFORM idempotency.refuse('400', 'command must not be null', NULL, 'Name the function that does the work.'); END IF;
	errors := idempotency.stored_errors(scope, cache_errors);
	c := idempotency.claim_key(key, scope, request, ttl, NULL, wait, NULL, 'execute');
	IF NOT c.proceed THEN RETURN c; END IF;

	IF pg_catalog.left(command, 1) IN ('{', '[') THEN
		PERFORM idempotency.refuse('400', 'command begins like JSON', 'The name of a function does not begin with "{" or "[", unless it is quoted.',
			'execute() takes key, scope, command and request.');
	END IF;
	-- A parenthesis outside quotes begins a signature.
	function := command || CASE WHEN pg_catalog.strpos(pg_catalog.regexp_replace(command, '"[^"]*"', '', 'g'), '(') > 0 THEN '' ELSE '(pg_catalog.jsonb)' END;
	SELECT pg_catalog.format('SELECT %I.%I($1)', n.nspname, p.proname) INTO call
	FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
	WHERE p.oid = function AND p.prokind = 'f' AND NOT p.proretset AND p.prorettype = 'pg_catalog.jsonb'::regtype
		AND p.pronargs = 1 AND p.proargtypes[0] = 'pg_catalog.jsonb'::regtype;
	IF call IS NULL THEN
		PERFORM idempotency.refuse('400', pg_catalog.format('command "%s" is not a function of jsonb that returns jsonb', command), NULL,
			'Name a function such as one created by CREATE FUNCTION pay(request jsonb) RETURNS jsonb.');
	ELSIF NOT pg_catalog.has_function_privilege(function, 'EXECUTE') THEN
		RAISE insufficient_privilege USING MESSAGE = pg_catalog.format('permission denied for function %s', (SELECT p.proname FROM pg_catalog.pg_proc AS p WHERE p.oid = function));
	END IF;

	IF pg_catalog.cardinality(errors) > 0 THEN
		BEGIN
			EXECUTE call INTO c.response USING request;
		EXCEPTION WHEN OTHERS THEN
			IF SQLSTATE IN ('40001', '40P01') OR SQLSTATE LIKE '57%' OR (SQLSTATE = ANY (errors) OR pg_catalog.left(SQLSTATE, 2) = ANY (errors)) IS NOT TRUE THEN
				RAISE;
			END IF;
			GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
			c.response := idempotency.problem(SQLSTATE, message, hint);
			status := 'failed';
		END;
	ELSE
		EXECUTE call INTO c.response USING request;
	END IF;
	IF status = 'failed' THEN
		c.status_code := (c.response->>'status')::integer;
	ELSIF pg_catalog.jsonb_typeof(c.response) = 'object' THEN
		c.resource_id := c.response->>'id';
	END IF;
	times := idempotency.finish(key, scope, status, c.response, c.resource_id, c.status_code, NULL, NULL);
	c.completed_at := times[1];
	c.expires_at := times[2];
	c.status_code := coalesce(c.status_code, 201);
	RETURN c;
END $$;

CREATE FUNCTION idempotency.once(key text, scope text DEFAULT '', ttl interval DEFAULT NULL) RETURNS boolean LANGUAGE plpgsql COST 10000 AS $$
DECLARE
	c idempotency.claim_result := idempotency.claim_key(key, scope, NULL, ttl, NULL, NULL, NULL, 'once');
BEGIN
	IF c.outcome = 'in_progress' THEN
		PERFORM idempotency.refuse('409', pg_catalog.format('idempotency key "%s" is in progress', key),
			CASE WHEN c.claimed_at IS NULL THEN 'It is not known yet whether the other transaction commits.'
				 WHEN c.claimed_at >= pg_catalog.now() THEN 'The current transaction has claimed it and not completed it.'
				 ELSE 'It is claimed until its lease ends.' END,
			'Try again later, or raise idempotency.default_wait.');
	ELSIF c.outcome = 'mismatch' THEN
		PERFORM idempotency.refuse('422', pg_catalog.format('idempotency key "%s" was used with a request', key),
			'The key was claimed by claim() or execute(), whose request once() does not have.', 'Use a scope of its own for each operation.');
	END IF;
	RETURN c.proceed;
END $$;

-- Raise IK400 if an array argument does not have one element for each key.
CREATE FUNCTION idempotency.check_arrays(keys text[], scope text, function text, VARIADIC lengths text[])
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF keys IS NULL THEN PERFORM idempotency.refuse('400', 'keys must not be null', NULL, 'Pass an array of idempotency keys.'); END IF;
	PERFORM idempotency.check_key(k, scope, function) FROM unnest(keys) AS k WHERE (k <> '') IS NOT TRUE;
	FOR i IN 1 .. cardinality(lengths) BY 2 LOOP
		IF lengths[i + 1]::integer <> cardinality(keys) THEN
			PERFORM idempotency.refuse('400', lengths[i] || ' must have an element for each key', format('There are %s keys and %s elements.', cardinality(keys), lengths[i + 1]),
				'Use NULL as the element of a key that has none.');
		END IF;
	END LOOP;
END $$;

-- Every batch locks its keys in the order of their lock numbers, so that two batches never wait for each other.
CREATE FUNCTION idempotency.claim_many(
	keys text[], scope text DEFAULT '', requests jsonb[] DEFAULT NULL, ttl interval DEFAULT NULL, lease interval DEFAULT NULL,
	wait interval DEFAULT NULL) RETURNS TABLE (
	ord bigint, key text, outcome text, proceed boolean, status_code integer, resource_id text, response jsonb, attempt integer,
	recovery_point text, state jsonb, retry_after interval, claimed_at timestamptz, completed_at timestamptz, expires_at timestamptz) LANGUAGE plpgsql SECURITY DEFINER COST 10000 SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	results idempotency.claim_result[]; deadline timestamptz; e record;
BEGIN
	PERFORM idempotency.check_arrays(keys, claim_many.scope, 'claim_many', 'requests', cardinality(requests)::text), idempotency.check_interval(claim_many.wait, 'wait');
	deadline := clock_timestamp() + coalesce(claim_many.wait, (idempotency.terms(claim_many.scope)).wait, idempotency.setting('default_wait', '5 s')::interval);
	FOR e IN
		SELECT u.key, u.request, u.n FROM unnest(keys, requests) WITH ORDINALITY AS u (key, request, n) ORDER BY idempotency.lock_number(u.key, claim_many.scope), u.n
	LOOP
		results[e.n] := idempotency.claim_key(e.key, claim_many.scope, e.request, claim_many.ttl, claim_many.lease, greatest(deadline - clock_timestamp(), '0'), NULL, 'claim');
	END LOOP;
	RETURN QUERY SELECT u.n, u.name, (u.result).* FROM (SELECT k.n, k.name, results[k.n] AS result FROM unnest(keys) WITH ORDINALITY AS k (name, n) OFFSET 0) AS u ORDER BY u.n;
END $$;

CREATE FUNCTION idempotency.complete_many(
	keys text[], scope text DEFAULT '', responses jsonb[] DEFAULT NULL, resource_ids text[] DEFAULT NULL,
	status_codes integer[] DEFAULT NULL, attempts integer[] DEFAULT NULL) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER COST 10000 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	e record;
BEGIN
	PERFORM idempotency.check_arrays(keys, scope, 'complete_many', 'responses', cardinality(responses)::text, 'resource_ids', cardinality(resource_ids)::text,
		'status_codes', cardinality(status_codes)::text, 'attempts', cardinality(attempts)::text);
	FOR e IN
		SELECT u.* FROM unnest(keys, responses, resource_ids, status_codes, attempts) WITH ORDINALITY AS u (key, response, resource_id, status_code, attempt, n)
		ORDER BY idempotency.lock_number(u.key, scope), u.n
	LOOP
		PERFORM idempotency.finish(e.key, scope, 'completed', e.response, e.resource_id, e.status_code, e.attempt, NULL);
	END LOOP;
	RETURN cardinality(keys);
END $$;

-- ======== Keys.

-- A subject's record, in a scope of its own, names the issued key; the key's own row says whether the key still exists.
-- The record is kept for three times the ttl: the key is claimed within the first, completed within the second, and remembered for the third.
CREATE FUNCTION idempotency.issue(scope text, subject text, ttl interval DEFAULT NULL)
RETURNS text LANGUAGE plpgsql SECURITY DEFINER COST 10000 SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	record_scope text := 'idempotency.issue/' || scope;
	t idempotency.policy := idempotency.terms(scope);
	c idempotency.claim_result;
	deadline timestamptz := clock_timestamp() + coalesce(t.wait, idempotency.setting('default_wait', '5 s')::interval);
	-- A UUID of version 7: 48 bits of time, the others random.
	name text := encode(set_byte(overlay(uuid_send(gen_random_uuid()) PLACING substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3) FROM 1),
		6, (get_byte(uuid_send(gen_random_uuid()), 0) & 15) | 112), 'hex')::uuid;
BEGIN
	IF scope IS NULL THEN
		PERFORM idempotency.refuse('400', 'scope of the idempotency key must not be null', NULL, 'Pass the scope that the key will be claimed in.');
	ELSIF subject IS NULL OR subject = '' THEN
		PERFORM idempotency.refuse('400', CASE WHEN subject IS NULL THEN 'subject must not be null' ELSE 'subject must not be empty' END, NULL,
			'Pass what the key is for, the id of a cart or payment intent for instance.');
	ELSIF octet_length(subject) > 1000 THEN
		PERFORM idempotency.refuse('400', 'subject is too long', format('It has %s bytes; the maximum is 1000.', octet_length(subject)),
			'Pass the id of what the key is for, not its content.');
	END IF;
	-- claim() has to accept the key that is issued.
	PERFORM idempotency.check_writable('issue'), idempotency.check_claim(name, scope, 'null', ttl, NULL, NULL, 'claim', t);
	t.ttl := coalesce(t.ttl, idempotency.setting('default_ttl', '1 day')::interval);
	LOOP
		c := idempotency.claim_key(subject, record_scope, NULL, 3 * greatest(ttl, t.ttl), NULL, greatest(deadline - clock_timestamp(), '0'), NULL, 'issue');
		EXIT WHEN c.outcome = 'new';
		IF c.outcome = 'in_progress' OR deadline < clock_timestamp() AND NOT EXISTS (SELECT FROM idempotency.lookup(c.resource_id, scope)) THEN
			PERFORM idempotency.refuse('409', format('another transaction is issuing the key of "%s"', subject), 'It has not ended within the time that the policy lets a claim wait.',
				'Call issue() again. Commit soon after a key was issued, or raise idempotency.default_wait.');
		ELSIF EXISTS (SELECT FROM idempotency.lookup(c.resource_id, scope)) THEN
			RETURN c.resource_id;
		ELSIF idempotency.await(idempotency.lock_number(subject, record_scope), deadline, true) THEN
			-- The key no longer exists: the first session makes the record one that can be claimed again.
			PERFORM idempotency.free(subject, record_scope) FROM idempotency.keys AS k
			WHERE k.scope = record_scope AND k.key = subject AND k.resource_id = c.resource_id;
		END IF;
	END LOOP;

	INSERT INTO idempotency.keys (scope, key, status, attempt, expires_at, ttl) VALUES (scope, name, 'issued', 0, clock_timestamp() + coalesce(ttl, t.ttl), ttl);
	UPDATE idempotency.keys AS k SET resource_id = name WHERE k.scope = record_scope AND k.key = subject;
	RETURN name;
END $$;

CREATE FUNCTION idempotency.derive(key text, purpose text) RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	hash bytea;
BEGIN
	IF key IS NULL OR key = '' OR purpose IS NULL OR purpose = '' THEN
		PERFORM idempotency.refuse('400', CASE WHEN key IS NULL THEN 'key must not be null' WHEN key = '' THEN 'key must not be empty'
			WHEN purpose IS NULL THEN 'purpose must not be null' ELSE 'purpose must not be empty' END, NULL,
			'Pass the key of the request, and a name for the call for which the key is derived.');
	END IF;
	hash := substring(sha256(int8send(octet_length(key)) || convert_to(key, getdatabaseencoding()) || convert_to(purpose, getdatabaseencoding())) FROM 1 FOR 16);
	-- A UUID of version 8.
	RETURN encode(set_byte(set_byte(hash, 6, get_byte(hash, 6) & 15 | 128), 8, get_byte(hash, 8) & 63 | 128), 'hex')::uuid;
END $$;

-- ======== Operation.

-- Delete at most max_rows expired keys.  Rows that another session has locked are left for the next sweep.
CREATE FUNCTION idempotency.sweep(max_rows bigint DEFAULT NULL, OUT slots_cleared integer, OUT rows_deleted bigint) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	at timestamptz := clock_timestamp();
BEGIN
	IF max_rows < 0 THEN
		PERFORM idempotency.refuse('400', 'max_rows must not be negative', format('The value given is %s.', max_rows), 'Leave it out for 10000.');
	END IF;
	slots_cleared := 0;
	DELETE FROM idempotency.keys AS k WHERE k.ctid = ANY (ARRAY(
		SELECT e.ctid FROM idempotency.keys AS e
		WHERE e.expires_at <= at AND NOT idempotency.own(e.claim_xid, e.claimed_at)
		ORDER BY e.expires_at LIMIT coalesce(max_rows, 10000) FOR UPDATE SKIP LOCKED));
	GET DIAGNOSTICS rows_deleted = ROW_COUNT;
END $$;

CREATE FUNCTION idempotency.forget(key text, scope text DEFAULT '')
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER COST 10000 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	r idempotency.keys;
BEGIN
	-- The lock on a key that is not stored is released at once.
	BEGIN
		r := idempotency.hold(key, scope, 'forget');
		IF r.key IS NULL THEN RAISE SQLSTATE 'IK001'; END IF;
	EXCEPTION WHEN SQLSTATE 'IK001' THEN
		RETURN false;
	END;
	RETURN idempotency.remove(r);
END $$;

-- Remove a locked row, and return whether a live key was removed.  The attempt of an unfinished claim stays, so that its owner is recognized as superseded.
CREATE FUNCTION idempotency.remove(r idempotency.keys) RETURNS boolean LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	live boolean := r.expires_at > clock_timestamp();
BEGIN
	IF live AND NOT (r.attempt = 1 AND idempotency.own(r.claim_xid, r.claimed_at)) AND (r.status = 'in_progress' OR r.status = 'released' AND r.lease_until IS NOT NULL) THEN
		IF r.status = 'released' THEN RETURN false; END IF;
		PERFORM idempotency.free(r.key, r.scope, greatest(r.lease_until, clock_timestamp()));
	ELSE
		DELETE FROM idempotency.keys AS k WHERE k.scope = r.scope AND k.key = r.key;
	END IF;
	RETURN live;
END $$;

CREATE FUNCTION idempotency.purge(scope text) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER COST 10000 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	r idempotency.keys; purged bigint := 0;
BEGIN
	PERFORM idempotency.check_writable('purge');
	IF scope IS NULL THEN
		PERFORM idempotency.refuse('400', 'scope to purge must not be null', NULL, 'Name the scope; the empty one is a scope too.');
	END IF;
	PERFORM idempotency.check_scope(scope);
	FOR r IN
		SELECT * FROM idempotency.keys AS k WHERE k.scope = purge.scope OR k.scope >= purge.scope || '/' AND k.scope < purge.scope || '0' ORDER BY k.scope, k.key FOR UPDATE
	LOOP
		purged := purged + idempotency.remove(r)::integer;
	END LOOP;
	RETURN purged;
END $$;

CREATE FUNCTION idempotency.erase(key text, scope text DEFAULT '')
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER COST 10000 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	r idempotency.keys := idempotency.hold(key, scope, 'erase');
BEGIN
	IF (r.expires_at > clock_timestamp()) IS NOT TRUE THEN
		RETURN false;
	ELSIF r.status = 'in_progress' THEN
		PERFORM idempotency.refuse('409', format('idempotency key "%s" is in progress', key), 'There is no result yet to be erased.',
			'Try again once the claim has ended, or forget the key.');
	END IF;
	UPDATE idempotency.keys AS k SET status = 'erased', fingerprint = NULL, response = NULL, state = NULL
	WHERE k.scope = erase.scope AND k.key = erase.key AND k.status IN ('completed', 'failed', 'erased');
	RETURN FOUND;
END $$;

CREATE FUNCTION idempotency.erase_scope(scope text) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER COST 10000 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	erased bigint;
BEGIN
	PERFORM idempotency.check_writable('erase_scope');
	IF scope IS NULL THEN
		PERFORM idempotency.refuse('400', 'scope to erase must not be null', NULL, 'Name the scope; the empty one is a scope too.');
	END IF;
	PERFORM idempotency.check_scope(scope);
	UPDATE idempotency.keys AS k SET status = 'erased', fingerprint = NULL, response = NULL, state = NULL
	WHERE (k.scope = erase_scope.scope OR k.scope >= erase_scope.scope || '/' AND k.scope < erase_scope.scope || '0') AND k.status IN ('completed', 'failed')
		AND k.expires_at > clock_timestamp();
	GET DIAGNOSTICS erased = ROW_COUNT;
	RETURN erased;
END $$;

-- ======== Privileges: none for PUBLIC; applications call functions, and read no table.

CREATE FUNCTION idempotency.for_applications() RETURNS text LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RETURN (SELECT string_agg(p.oid::regprocedure::text, ', ') FROM pg_proc AS p
			WHERE p.pronamespace = 'idempotency'::regnamespace AND p.proname = ANY ('{claim, complete, fail, release, heartbeat, checkpoint, lookup, execute, once, claim_many,
				complete_many, issue, derive, claim_key, finish, stored_errors, problem, refuse}'));
END $$;

CREATE FUNCTION idempotency.grant_usage(role regrole) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	EXECUTE format('GRANT USAGE ON SCHEMA idempotency TO %s', role);
	EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', idempotency.for_applications(), role);
END $$;

CREATE FUNCTION idempotency.revoke_usage(role regrole) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM %s', idempotency.for_applications(), role);
	EXECUTE format('REVOKE USAGE ON SCHEMA idempotency FROM %s', role);
END $$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA idempotency FROM PUBLIC;
