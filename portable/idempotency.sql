-- idempotency.sql: run each request once, in PL/pgSQL only.
--
-- The contract of the extension "idempotency", for servers on which no C library can be installed. A role that may
-- create a schema runs this file once:  psql -1 -v ON_ERROR_STOP=1 -f idempotency.sql
-- doc/portable.md lists the differences from the extension.
--
-- Two sessions with the same key. The unique index on (key, scope) and the row's own lock decide; no answer depends on
-- anything else. An advisory lock only puts the sessions in order: a transaction that writes a key's row takes it, and it
-- is released at the end of the transaction, or when its savepoint is rolled back, together with the row.
--
--		session A						session B
--		read: nothing
--		take the lock, insert			read: nothing, as A has not committed
--		work							the lock is taken: answer "in progress", or wait
--		complete, commit				the wait ends; read again, with a new snapshot: the result
--
-- The lock is released after A's commit has become visible, so that the statement after the wait sees it; at REPEATABLE
-- READ it does not, and inserting raises 40001. A crash or ROLLBACK removes lock and row together: B finds nothing, and
-- inserts. Sessions wait in share mode, in a subtransaction that is rolled back: all of them are answered at once when A
-- ends, and hold no lock then. If A left no result, they queue for the exclusive lock.
--
-- Functions that run as the owner set search_path. Only claim_key() and finish(), which every request calls, don't, as
-- that would be a tenth of the cost: each name in them has its schema, operators included, or is in an expression of the
-- section "Expressions", which was parsed when it was created. Functions that set search_path call the others without it.

CREATE SCHEMA idempotency;

-- ======== Storage.

-- A claim that has neither a result nor a lease can't be committed. A deferred foreign key ensures this, since it checks
-- only versions of rows that still exist at COMMIT: an unfinished claim refers to a row that does not exist, and comparing
-- its value casts it, which raises IK500. So only its own transaction sees a row with a value. The value says whether
-- settings or a policy limit the size of the result.
CREATE TYPE idempotency.unfinished AS ENUM ('by settings', 'by policy');
CREATE TABLE idempotency.committable (id integer PRIMARY KEY);
INSERT INTO idempotency.committable VALUES (1);

CREATE FUNCTION idempotency.refuse_unfinished(idempotency.unfinished) RETURNS integer LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_sort = off AS $$
BEGIN
	-- The index finds one of the newest rows, which are those of this transaction.
	PERFORM idempotency.refuse('500', format('claim of idempotency key "%s" is unfinished',
			(SELECT k.key FROM idempotency.keys AS k WHERE k.unfinished IS NOT NULL ORDER BY k.expires_at DESC LIMIT 1)),
		'It has neither a result nor a lease, so that the transaction can''t be committed and its work is undone.',
		'Claim, work and complete() belong in one transaction: look for a commit in between, by autocommit, an ORM or a framework. '
		'Only a claim with a lease can be committed before it ends.');
END $$;
CREATE CAST (idempotency.unfinished AS integer) WITH FUNCTION idempotency.refuse_unfinished(idempotency.unfinished) AS IMPLICIT;

-- "fingerprint" is the request itself, compared as jsonb, since no hash of jsonb in SQL is good enough. Scopes and keys are
-- compared byte for byte, keys first, since most rows have the same scope. The fillfactor leaves room on each page:
-- completing a claim changes no indexed column, so that the new row version can stay on its page.
CREATE TABLE idempotency.keys (
	scope text NOT NULL COLLATE "C", key text NOT NULL COLLATE "C", fingerprint jsonb, status text NOT NULL COLLATE "C",
	status_code integer, resource_id text, response jsonb, attempt integer NOT NULL, recovery_point text, state jsonb,
	lease_until timestamptz, claimed_at timestamptz, completed_at timestamptz, expires_at timestamptz NOT NULL,
	ttl interval, lease interval, claim_xid xid8,
	unfinished idempotency.unfinished REFERENCES idempotency.committable DEFERRABLE INITIALLY DEFERRED, PRIMARY KEY (key, scope)
) WITH (fillfactor = 80);
CREATE INDEX keys_expires_at ON idempotency.keys (expires_at);
COMMENT ON TABLE idempotency.keys IS 'every stored idempotency key: who claimed it, its result, and until when it is remembered';

CREATE TABLE idempotency.policy (
	scope text PRIMARY KEY COLLATE "C", ttl interval CHECK (ttl > interval '0'), lease interval CHECK (lease >= interval '0'),
	wait interval CHECK (wait >= interval '0'), require_request boolean, require_issued boolean,
	min_key_length integer CHECK (min_key_length >= 1), max_response_bytes integer CHECK (max_response_bytes >= 0), cache_errors text[]
);
COMMENT ON TABLE idempotency.policy IS 'what holds for the keys of a scope and of those below it; NULL is inherited';

CREATE TYPE idempotency.claim_result AS (
	outcome text, proceed boolean, status_code integer, resource_id text, response jsonb, attempt integer, recovery_point text,
	state jsonb, retry_after interval, claimed_at timestamptz, completed_at timestamptz, expires_at timestamptz
);

-- ======== Refusals. SQLSTATEs are the prefix, IK, and an HTTP status.

CREATE FUNCTION idempotency.setting(name text, otherwise text) RETURNS text LANGUAGE sql STABLE
RETURN coalesce(nullif(current_setting('idempotency.' || name, true), ''), otherwise);

CREATE FUNCTION idempotency.refuse(status text, message text, detail text, hint text) RETURNS boolean LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	code text := idempotency.setting('sqlstate_prefix', 'IK') || status;
BEGIN
	IF detail IS NULL THEN RAISE EXCEPTION USING ERRCODE = code, MESSAGE = message, HINT = hint; END IF;
	RAISE EXCEPTION USING ERRCODE = code, MESSAGE = message, DETAIL = detail, HINT = hint;
END $$;

CREATE FUNCTION idempotency.check_scope(scope text, what text DEFAULT 'of the idempotency key',
	hint text DEFAULT 'Pass the empty string for the empty scope.') RETURNS boolean LANGUAGE sql RETURN CASE
	WHEN scope IS NULL THEN idempotency.refuse('400', 'scope ' || what || ' must not be null', NULL, hint)
	WHEN left(scope, 1) IN ('{', '[') THEN idempotency.refuse('400', 'scope of the idempotency key begins like JSON',
		'A scope does not begin with "{" or "[".',
		'The key comes first, the scope second, and the request or response third; execute() takes key, scope, command and request.')
	WHEN octet_length(scope) > CASE WHEN starts_with(scope, 'idempotency.issue/') THEN 1018 ELSE 1000 END THEN
		idempotency.refuse('400', 'scope of the idempotency key is too long',
			format('The scope has %s bytes; the maximum is 1000.', octet_length(scope)),
			'Name the operation and the caller in the scope, and pass what the client sent as the request.') END;

CREATE FUNCTION idempotency.check_key(key text, scope text, claimed boolean DEFAULT true) RETURNS boolean LANGUAGE sql RETURN CASE
	WHEN key IS NULL THEN idempotency.refuse('400', 'idempotency key is missing', NULL,
		'Pass the key that the client sent; a request without one can''t be made safe to retry.')
	WHEN key = '' AND scope IS NOT NULL THEN idempotency.refuse('400', 'idempotency key is empty', NULL,
		'Pass the key that the client sent, such as a UUID generated for each operation.')
	WHEN idempotency.check_scope(scope) THEN NULL
	WHEN octet_length(key) > 8192 AND claimed THEN idempotency.refuse('400', 'idempotency key is too long',
		format('The key has %s bytes; the maximum of any setting is 8192.', octet_length(key)), 'Pass the key that was claimed.') END;

-- Check an interval argument; zero is allowed for waits, and for the leases of policies.
CREATE FUNCTION idempotency.check_interval(value interval, name text, zero boolean DEFAULT false) RETURNS boolean LANGUAGE sql RETURN CASE
	WHEN value < interval '0' AND zero THEN
		idempotency.refuse('400', name || ' must not be negative', format('The value given is %s.', value),
			CASE name WHEN 'wait' THEN 'Give an interval of zero to be answered at once.' ELSE 'Give an interval of zero for no lease.' END)
	WHEN value <= interval '0' AND NOT zero THEN idempotency.refuse('400', name || ' must be longer than zero',
		format('The value given is %s.', value), 'Leave the argument out for the default.')
	WHEN value > interval '5000 years' THEN
		idempotency.refuse('400', name || ' is too long', 'The maximum is 5000 years.', 'Give a shorter interval.') END;

-- Check the size of values that are to be stored: their own size, not the compressed one.
CREATE FUNCTION idempotency.check_size(name text, document jsonb, word_name text, word text, by_policy bigint,
	size bigint DEFAULT NULL, most bigint DEFAULT NULL) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	size := coalesce(pg_column_size(document #> '{}') - 4, 0) + coalesce(octet_length(word), 0);
	most := coalesce(by_policy, pg_size_bytes(idempotency.setting('max_response_size', '1MB')));
	RETURN CASE WHEN size > most THEN
		idempotency.refuse('413', CASE WHEN document IS NULL THEN word_name ELSE name END || ' is too large',
			format(CASE WHEN document IS NULL OR word IS NULL THEN 'It' ELSE 'With its ' || word_name || ' it' END
				|| ' has %s bytes; the maximum is %s.', size, most),
			'Store what is needed to build it again, or raise idempotency.max_response_size.') END;
END $$;

-- ======== Expressions, which PostgreSQL inlines with the operators that they were created with.

-- Whether there may be a policy: a table that has never been written to has no blocks.
CREATE FUNCTION idempotency.ruled() RETURNS boolean LANGUAGE sql VOLATILE RETURN pg_relation_size('idempotency.policy') > 0;

-- Whether a key and scope pass all checks, with the default settings and without policies.
CREATE FUNCTION idempotency.plain(key text, scope text) RETURNS boolean LANGUAGE sql IMMUTABLE
RETURN key <> '' AND octet_length(key) <= 255 AND octet_length(scope) <= 1000 AND ascii(scope) NOT IN (ascii('{'), ascii('['))
	AND NOT starts_with(scope, 'idempotency.issue/');
CREATE FUNCTION idempotency.plain_intervals(ttl interval, lease interval, wait interval) RETURNS boolean LANGUAGE sql IMMUTABLE
RETURN (ttl BETWEEN '1 us' AND '5000 years') IS NOT FALSE AND (lease BETWEEN '1 us' AND '5000 years') IS NOT FALSE
	AND (wait BETWEEN '0' AND '5000 years') IS NOT FALSE;
CREATE FUNCTION idempotency.plain_settings() RETURNS boolean LANGUAGE sql STABLE
RETURN current_setting('idempotency.default_ttl', true) IS NULL AND current_setting('idempotency.default_lease', true) IS NULL
	AND current_setting('idempotency.min_key_length', true) IS NULL AND current_setting('idempotency.max_key_length', true) IS NULL;

-- Whether only settings limit the result of an unfinished claim, and the result passes all checks: with the best possible
-- compression, a value of this size has less than 1 MB.
CREATE FUNCTION idempotency.plain_end(unfinished idempotency.unfinished, own_attempt integer, noted boolean, response jsonb,
	resource_id text, status_code integer, attempt integer, ttl interval) RETURNS boolean LANGUAGE sql STABLE
RETURN CASE WHEN enum_eq(unfinished, 'by settings') THEN NOT noted AND ttl IS NULL AND (attempt IS NULL OR attempt = own_attempt)
	AND (status_code IS NULL OR status_code BETWEEN 100 AND 599)
	AND coalesce(pg_column_size(response), 0) + coalesce(octet_length(resource_id), 0) <= 4000
	AND current_setting('idempotency.max_response_size', true) IS NULL END;

CREATE FUNCTION idempotency.expiry(since timestamptz, ttl interval, lease interval DEFAULT NULL) RETURNS timestamptz LANGUAGE sql STABLE
RETURN greatest(since + coalesce(ttl, idempotency.setting('default_ttl', '1 day')::interval), since + lease);
CREATE FUNCTION idempotency.lease(kind text, lease interval, by_policy interval) RETURNS interval LANGUAGE sql STABLE
RETURN CASE WHEN kind = 'claim' THEN
	nullif(coalesce(lease, by_policy, nullif(idempotency.setting('default_lease', 'off'), 'off')::interval), '0') END;
CREATE FUNCTION idempotency.too_old(first_sent timestamptz, at timestamptz, ttl interval) RETURNS boolean LANGUAGE sql STABLE
RETURN first_sent < at - coalesce(ttl, idempotency.setting('default_ttl', '1 day')::interval);
CREATE FUNCTION idempotency.deadline(wait interval) RETURNS timestamptz LANGUAGE sql VOLATILE
RETURN clock_timestamp() + coalesce(wait, idempotency.setting('default_wait', '5 s')::interval);

-- Whether this transaction made the claim. The xid alone is not enough: a restored row may have it from another cluster.
CREATE FUNCTION idempotency.own(r idempotency.keys) RETURNS boolean LANGUAGE sql STABLE
RETURN coalesce(r.claim_xid = pg_current_xact_id_if_assigned() AND r.claimed_at > now() - interval '1 day', false);

-- Whether the row is the result of the same request.
CREATE FUNCTION idempotency.completed(r idempotency.keys, request jsonb, at timestamptz) RETURNS boolean LANGUAGE sql STABLE
RETURN r.status = 'completed' AND r.expires_at > at AND r.fingerprint IS NOT DISTINCT FROM request
	AND current_setting('transaction_read_only') = 'off';

-- The outcome of a claim that finds this row, or NULL if the key is free.
CREATE FUNCTION idempotency.verdict(r idempotency.keys, request jsonb, at timestamptz) RETURNS text LANGUAGE sql STABLE
RETURN CASE
	WHEN r.status = 'in_progress' AND idempotency.own(r) THEN 'in_progress'
	WHEN r.expires_at <= at OR r.status IN ('released', 'issued') THEN NULL
	WHEN r.status = 'erased' THEN 'replay'
	WHEN r.fingerprint IS DISTINCT FROM request THEN 'mismatch'
	WHEN r.status <> 'in_progress' THEN 'replay'
	WHEN r.lease_until > at THEN 'in_progress' END;

-- The answer to a session that does not get the key.
CREATE FUNCTION idempotency.answer(outcome text, r idempotency.keys, at timestamptz) RETURNS idempotency.claim_result
LANGUAGE sql STABLE RETURN ROW (outcome, false,
	CASE outcome WHEN 'replay' THEN CASE WHEN r.status = 'erased' THEN 410 ELSE coalesce(r.status_code, 200) END
		WHEN 'in_progress' THEN 409 WHEN 'mismatch' THEN 422 ELSE 412 END,
	CASE WHEN outcome = 'replay' THEN r.resource_id END, CASE WHEN outcome = 'replay' THEN r.response END, NULL, NULL, NULL,
	CASE WHEN outcome = 'in_progress' THEN coalesce(CASE WHEN NOT idempotency.own(r) THEN r.lease_until - at END, '1 s') END,
	r.claimed_at, r.completed_at, r.expires_at)::idempotency.claim_result;

CREATE FUNCTION idempotency.lock_number(key text, scope text) RETURNS bigint LANGUAGE sql IMMUTABLE
RETURN hashtextextended(key, hashtextextended(scope, 7594793484668659577));

-- The number of locks that this transaction has counted. A transaction takes at most its share of the lock table; further
-- claims are protected by the row alone, and others wait for the transaction without a limit. A rollback to a savepoint
-- resets the number, as it releases the locks. The claim with which a transaction begins to write is not counted.
CREATE FUNCTION idempotency.locks() RETURNS integer LANGUAGE sql STABLE
RETURN coalesce(nullif(current_setting('idempotency_portable.locks', true), ''), '1')::integer;
CREATE FUNCTION idempotency.count_lock() RETURNS boolean LANGUAGE sql VOLATILE
RETURN set_config('idempotency_portable.locks', (idempotency.locks() + 1)::text, true) IS NOT NULL;
CREATE FUNCTION idempotency.may_lock() RETURNS boolean LANGUAGE sql STABLE
RETURN idempotency.locks() < current_setting('max_locks_per_transaction')::integer;
CREATE FUNCTION idempotency.take_lock(key text, scope text) RETURNS boolean LANGUAGE sql VOLATILE
RETURN CASE WHEN idempotency.may_lock() THEN pg_try_advisory_xact_lock(idempotency.lock_number(key, scope)) AND idempotency.count_lock()
	ELSE true END;

-- ======== Policies.

-- The policy of a scope: each field comes from the longest scope that has it. Fields that are NULL come from settings.
CREATE FUNCTION idempotency.terms(scope text) RETURNS idempotency.policy LANGUAGE plpgsql AS $$
DECLARE
	p idempotency.policy[]; t idempotency.policy;
BEGIN
	IF NOT idempotency.ruled() THEN RETURN NULL; END IF;
	-- There are few policies: reading all of them costs less than planning a query by scope.
	SELECT array_agg(o ORDER BY o.scope DESC) INTO p FROM idempotency.policy AS o WHERE starts_with(terms.scope, o.scope)
		AND (o.scope IN ('', terms.scope) OR right(o.scope, 1) = '/' OR substr(terms.scope, length(o.scope) + 1, 1) = '/');
	t := p[1];
	FOR i IN 2 .. coalesce(cardinality(p), 0) LOOP
		t := (t.scope, coalesce(t.ttl, p[i].ttl), coalesce(t.lease, p[i].lease), coalesce(t.wait, p[i].wait),
			coalesce(t.require_request, p[i].require_request), coalesce(t.require_issued, p[i].require_issued),
			coalesce(t.min_key_length, p[i].min_key_length), coalesce(t.max_response_bytes, p[i].max_response_bytes),
			coalesce(t.cache_errors, p[i].cache_errors));
	END LOOP;
	RETURN t;
END $$;

CREATE FUNCTION idempotency.set_policy(
	scope text, ttl interval DEFAULT NULL, lease interval DEFAULT NULL, wait interval DEFAULT NULL,
	require_request boolean DEFAULT NULL, require_issued boolean DEFAULT NULL, min_key_length integer DEFAULT NULL,
	max_response_bytes integer DEFAULT NULL, cache_errors text[] DEFAULT NULL) RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
	PERFORM idempotency.check_scope(scope, 'of a policy', 'The empty scope is the default of the database.'),
		idempotency.check_interval(ttl, 'ttl'), idempotency.check_interval(lease, 'lease', true),
		idempotency.check_interval(wait, 'wait', true), idempotency.stored_errors(scope, cache_errors),
		CASE WHEN min_key_length < 1 THEN idempotency.refuse('400', 'min_key_length must be one or more', NULL,
			'Give a number of bytes, or NULL to inherit it.')
		WHEN max_response_bytes < 0 THEN idempotency.refuse('400', 'max_response_bytes must not be negative', NULL,
			'Give a number of bytes, or NULL to inherit it.') END;
	INSERT INTO idempotency.policy
	VALUES (scope, ttl, lease, wait, require_request, require_issued, min_key_length, max_response_bytes, cache_errors)
	ON CONFLICT ON CONSTRAINT policy_pkey DO UPDATE SET ttl = excluded.ttl, lease = excluded.lease, wait = excluded.wait,
		require_request = excluded.require_request, require_issued = excluded.require_issued, min_key_length = excluded.min_key_length,
		max_response_bytes = excluded.max_response_bytes, cache_errors = excluded.cache_errors;
END $$;

CREATE FUNCTION idempotency.drop_policy(scope text) RETURNS boolean LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	DELETE FROM idempotency.policy AS p WHERE p.scope = drop_policy.scope;
	RETURN FOUND;
END $$;

-- The errors that execute() stores: those of the argument, or the policy's.
CREATE FUNCTION idempotency.stored_errors(scope text, cache_errors text[]) RETURNS text[] LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF cache_errors IS NULL THEN RETURN (idempotency.terms(scope)).cache_errors; END IF;
	PERFORM idempotency.refuse('400', 'cache_errors must contain SQLSTATEs or classes of SQLSTATEs', format('Element %s is neither.', e.n),
		'Give five digits or upper-case letters, such as 23505, or the two of a class, such as 23.')
	FROM unnest(cache_errors) WITH ORDINALITY AS e (code, n) WHERE (e.code ~ '^([0-9A-Z]{2}|[0-9A-Z]{5})$') IS NOT TRUE;
	RETURN cache_errors;
END $$;

-- ======== Claims.

-- Wait for a lock until the deadline, and keep it if "keep" is true. Returns false at the deadline; the transaction is
-- usable in any case.
CREATE FUNCTION idempotency.await(number bigint, deadline timestamptz, keep boolean) RETURNS boolean LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
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

-- The policy of a claim. Raises an error if an argument is not acceptable.
CREATE FUNCTION idempotency.check_claim(key text, scope text, request jsonb, ttl interval, lease interval, wait interval, kind text)
RETURNS idempotency.policy LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	t idempotency.policy := idempotency.terms(scope);
BEGIN
	IF NOT (coalesce(idempotency.plain(key, scope), false) AND idempotency.plain_settings() AND idempotency.plain_intervals(ttl, lease, wait)
		AND octet_length(key) >= coalesce(t.min_key_length, 1) AND (request IS NOT NULL OR t.require_request IS NOT TRUE)) THEN
		PERFORM idempotency.refuse_claim(key, scope, request, ttl, lease, wait, kind, t.require_request,
			-- If the extension's library is loaded, these settings have a unit.
			coalesce(t.min_key_length, rtrim(idempotency.setting('min_key_length', '1'), 'B')::integer),
			-- The longest key that fits into the index together with the longest scope.
			least(rtrim(idempotency.setting('max_key_length', '255'), 'B')::integer, 1600));
	END IF;
	RETURN t;
END $$;

CREATE FUNCTION idempotency.refuse_claim(key text, scope text, request jsonb, ttl interval, lease interval, wait interval, kind text,
	require_request boolean, min_length integer, max_length integer) RETURNS boolean LANGUAGE sql RETURN CASE
	WHEN idempotency.check_key(key, scope, false) OR idempotency.check_interval(ttl, 'ttl')
		OR idempotency.check_interval(lease, 'lease') OR idempotency.check_interval(wait, 'wait', true) OR kind = 'issue' THEN NULL
	WHEN starts_with(scope, 'idempotency.issue/') THEN idempotency.refuse('400', 'scope of the idempotency key is reserved',
		'Scopes that begin with "idempotency.issue/" belong to issue().', 'Use the scope that was passed to issue().')
	WHEN octet_length(key) > max_length THEN idempotency.refuse('400', 'idempotency key is too long',
		format('The key has %s bytes; the maximum is %s.', octet_length(key), max_length),
		'Shorten the key, or raise idempotency.max_key_length.')
	WHEN octet_length(key) < min_length THEN idempotency.refuse('400', 'idempotency key is too short',
		format('The key has %s bytes; the minimum is %s.', octet_length(key), min_length),
		'Use a key that can''t be guessed, and that no two clients choose by chance, for instance a UUID.')
	WHEN request IS NULL AND require_request THEN
		idempotency.refuse('400', format('request is missing for idempotency key "%s"', key),
			format('The policy of scope "%s" requires one.', scope), 'Pass the payload of the request as jsonb.') END;

-- Claim a key that has a row: issued, released, expired, or of an owner whose lease has expired. The outcome is NULL if
-- another session has changed the row since it was read.
CREATE FUNCTION idempotency.claim_again(r idempotency.keys, request jsonb, at timestamptz, ttl interval, term interval,
	lease interval, bounded boolean, done boolean) RETURNS idempotency.claim_result LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	live boolean := r.expires_at > at;
	recovered boolean := live AND r.status = 'in_progress';
	-- An issued key keeps the ttl of issue().
	given interval := coalesce(ttl, CASE WHEN live AND r.status = 'issued' THEN r.ttl END);
	c idempotency.claim_result;
BEGIN
	-- The attempt continues while an earlier owner has to be distinguished.
	UPDATE idempotency.keys AS k SET fingerprint = request, status = CASE WHEN done THEN 'completed' ELSE 'in_progress' END,
		status_code = NULL, resource_id = NULL, response = NULL,
		attempt = CASE WHEN live OR k.status = 'in_progress' THEN k.attempt ELSE 0 END + 1,
		recovery_point = CASE WHEN recovered THEN k.recovery_point END, state = CASE WHEN recovered THEN k.state END,
		lease_until = at + claim_again.lease, claimed_at = at, completed_at = CASE WHEN done THEN at END,
		expires_at = idempotency.expiry(at, coalesce(given, term), claim_again.lease), ttl = given, lease = claim_again.lease,
		claim_xid = pg_current_xact_id(), unfinished = CASE WHEN done OR claim_again.lease IS NOT NULL THEN NULL
			WHEN bounded THEN 'by policy'::idempotency.unfinished ELSE 'by settings' END
	WHERE k.scope = r.scope AND k.key = r.key
		AND (k.status, k.attempt, k.expires_at, k.lease_until) IS NOT DISTINCT FROM (r.status, r.attempt, r.expires_at, r.lease_until)
	RETURNING CASE WHEN recovered THEN 'recovered' ELSE 'new' END, true, NULL, NULL, NULL, k.attempt,
		k.recovery_point, k.state, NULL, k.claimed_at, k.completed_at, k.expires_at INTO c;
	RETURN c;
END $$;

-- A new key takes as few statements and expressions as possible, because PL/pgSQL prepares each again in every
-- transaction. "done" says whether the claim is its own result.
CREATE FUNCTION idempotency.claim_key(key text, scope text, request jsonb, ttl interval, lease interval, wait interval,
	first_sent timestamptz, kind text, done boolean) RETURNS idempotency.claim_result LANGUAGE plpgsql SECURITY DEFINER COST 10000 AS $$
#variable_conflict use_variable
DECLARE
	r idempotency.keys; c idempotency.claim_result; t idempotency.policy; outcome pg_catalog.text; term interval;
	at timestamp with time zone; until timestamp with time zone; lease_until timestamp with time zone; deadline timestamp with time zone;
	stored boolean; issued_only boolean; bounded boolean; taken boolean; queued boolean;
BEGIN
	IF (idempotency.plain(key, scope) AND NOT idempotency.ruled() AND idempotency.plain_settings()) IS NOT TRUE THEN
		t := idempotency.check_claim(key, scope, request, ttl, lease, wait, kind);
		term := coalesce(ttl, t.ttl, idempotency.setting('default_ttl', '1 day')::interval);
		lease := idempotency.lease(kind, lease, t.lease);
		wait := coalesce(wait, t.wait);
		-- The policy's requirements for keys do not apply to the records of subjects.
		issued_only := t.require_issued AND kind OPERATOR(pg_catalog.<>) 'issue';
		bounded := t.max_response_bytes IS NOT NULL;
	ELSIF ttl IS NOT NULL OR lease IS NOT NULL OR wait IS NOT NULL THEN
		IF NOT idempotency.plain_intervals(ttl, lease, wait) THEN
			t := idempotency.check_claim(key, scope, request, ttl, lease, wait, kind);
		END IF;
		term := ttl;
	END IF;
	LOOP
		-- After every wait this reads with a new snapshot.
		at := pg_catalog.clock_timestamp();
		SELECT * INTO r FROM idempotency.keys AS k
		WHERE k.scope OPERATOR(pg_catalog.=) claim_key.scope AND k.key OPERATOR(pg_catalog.=) claim_key.key;
		IF FOUND THEN
			IF idempotency.completed(r, request, at) THEN
				RETURN ROW ('replay', false, coalesce(r.status_code, 200), r.resource_id, r.response, NULL, NULL, NULL, NULL,
					r.claimed_at, r.completed_at, r.expires_at)::idempotency.claim_result;
			END IF;
			outcome := idempotency.verdict(r, request, at);
			EXIT WHEN outcome IS NOT NULL;
			stored := true;
		END IF;

		-- The key is free, or its lease has expired: the session that gets the lock may claim it.
		IF pg_catalog.pg_current_xact_id_if_assigned() IS NULL AND queued IS NOT TRUE THEN
			taken := pg_catalog.pg_try_advisory_xact_lock(idempotency.lock_number(key, scope));
		ELSIF (queued AND taken) IS NOT TRUE THEN
			taken := idempotency.take_lock(key, scope);
		END IF;
		IF NOT taken THEN
			IF deadline IS NULL THEN
				-- The holder may have ended since the row was read.
				deadline := idempotency.deadline(wait);
			ELSIF idempotency.await(idempotency.lock_number(key, scope), deadline, queued IS TRUE) THEN
				taken := queued;
				queued := true;
			ELSE
				r := NULL;
				outcome := 'in_progress';
				EXIT;
			END IF;
			CONTINUE;
		END IF;

		IF stored OR first_sent IS NOT NULL OR issued_only THEN
			IF (r.expires_at OPERATOR(pg_catalog.>) at) IS NOT TRUE THEN
				IF issued_only THEN
					PERFORM idempotency.refuse('404', pg_catalog.format('idempotency key "%s" was not issued', key),
						pg_catalog.format('The policy of scope "%s" requires keys that issue() has returned and that have not expired.', scope),
						'Call issue() and use the key that it returns.');
				ELSIF idempotency.too_old(first_sent, at, term) THEN
					r := NULL;
					outcome := 'expired';
					EXIT WHEN idempotency.count_lock();
				END IF;
			END IF;
			IF stored THEN
				c := idempotency.claim_again(r, request, at, ttl, term, lease, bounded, done);
				IF c.outcome IS NOT NULL THEN RETURN c; END IF;
				stored := false;
				CONTINUE;
			END IF;
		END IF;

		IF term IS NULL AND lease IS NULL THEN
			until := at OPERATOR(pg_catalog.+) interval '1 day';
		ELSE
			until := idempotency.expiry(at, term, lease);
			lease_until := at OPERATOR(pg_catalog.+) lease;
		END IF;
		INSERT INTO idempotency.keys (scope, key, fingerprint, status, attempt, lease_until, claimed_at, completed_at, expires_at,
			ttl, lease, claim_xid, unfinished)
		VALUES (scope, key, request, CASE WHEN done THEN 'completed' ELSE 'in_progress' END, 1, lease_until, at,
			CASE WHEN done THEN at END, until, ttl, lease, pg_catalog.pg_current_xact_id(),
			CASE WHEN done OR lease IS NOT NULL THEN NULL WHEN bounded THEN 'by policy'::idempotency.unfinished ELSE 'by settings' END)
		ON CONFLICT DO NOTHING;
		IF FOUND THEN
			RETURN ROW ('new', true, NULL, NULL, NULL, 1, NULL, NULL, NULL, at, CASE WHEN done THEN at END, until)::idempotency.claim_result;
		END IF;
		-- Another session has inserted, changed or deleted the row in between.
	END LOOP;

	IF pg_catalog.current_setting('transaction_read_only')::boolean THEN
		RAISE read_only_sql_transaction USING MESSAGE = 'cannot execute INSERT in a read-only transaction';
	END IF;
	c := idempotency.answer(outcome, r, at);
	IF kind OPERATOR(pg_catalog.=) 'once' THEN PERFORM idempotency.refuse_once(key, c); END IF;
	RETURN c;
END $$;

CREATE FUNCTION idempotency.claim(
	key text, scope text DEFAULT '', request jsonb DEFAULT NULL, ttl interval DEFAULT NULL, lease interval DEFAULT NULL,
	wait interval DEFAULT NULL, first_sent timestamptz DEFAULT NULL) RETURNS idempotency.claim_result LANGUAGE sql COST 10000
RETURN idempotency.claim_key(key, scope, request, ttl, lease, wait, first_sent, 'claim', false);

CREATE FUNCTION idempotency.once(key text, scope text DEFAULT '', ttl interval DEFAULT NULL) RETURNS boolean LANGUAGE sql COST 10000
RETURN (idempotency.claim_key(key, scope, NULL, ttl, NULL, NULL, NULL, 'once', true)).proceed;

-- once() has no result for these outcomes.
CREATE FUNCTION idempotency.refuse_once(key text, c idempotency.claim_result) RETURNS boolean LANGUAGE sql
SET search_path = pg_catalog, pg_temp RETURN CASE c.outcome
	WHEN 'mismatch' THEN idempotency.refuse('422', format('idempotency key "%s" was used with a request', key),
		'The key was claimed by claim() or execute() with a request, and once() has none.', 'Use a scope of its own for each operation.')
	WHEN 'in_progress' THEN idempotency.refuse('409', format('idempotency key "%s" is in progress', key),
		CASE WHEN c.claimed_at IS NULL THEN 'It is not known yet whether the other transaction commits.'
			WHEN c.claimed_at >= now() THEN 'The current transaction has claimed it and not completed it.'
			ELSE 'It is claimed until its lease expires.' END,
		'Try again later, or raise idempotency.default_wait.') END;

-- ======== The owner's calls.

-- A key's row, under the key's lock, and with a row lock against sweep() and purge().
CREATE FUNCTION idempotency.hold(key text, scope text) RETURNS idempotency.keys LANGUAGE plpgsql AS $$
DECLARE
	r idempotency.keys;
BEGIN
	IF idempotency.plain(key, scope) IS NOT TRUE THEN PERFORM idempotency.check_key(key, scope); END IF;
	IF idempotency.may_lock() THEN PERFORM pg_advisory_xact_lock(idempotency.lock_number(key, scope)), idempotency.count_lock(); END IF;
	SELECT * INTO r FROM idempotency.keys AS k WHERE k.scope = hold.scope AND k.key = hold.key FOR UPDATE;
	RETURN r;
END $$;

-- The same for an owner: check that the claim is the caller's, and, unless it may have ended, that it is in progress.
CREATE FUNCTION idempotency.hold_claim(key text, scope text, attempt integer, may_have_ended boolean DEFAULT false)
RETURNS idempotency.keys LANGUAGE plpgsql AS $$
DECLARE
	r idempotency.keys := idempotency.hold(key, scope);
BEGIN
	IF NOT (coalesce(attempt = r.attempt, false) AND (r.status = 'in_progress' OR may_have_ended AND r.status <> 'issued')
		AND attempt > 0 AND r.expires_at > clock_timestamp()) THEN
		PERFORM idempotency.refuse_end(key, r, idempotency.own(r), attempt, may_have_ended);
	END IF;
	RETURN r;
END $$;

CREATE FUNCTION idempotency.refuse_end(key text, r idempotency.keys, own boolean, attempt integer, may_have_ended boolean)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	fault text := CASE
		WHEN r.key IS NULL OR r.expires_at <= clock_timestamp() AND NOT own THEN 'Nothing is stored under this key and scope.'
		WHEN r.status = 'issued' THEN 'The key was issued and has not been claimed.'
		WHEN attempt IS NULL AND NOT own OR attempt <> r.attempt OR may_have_ended THEN NULL
		WHEN r.status = 'released' THEN 'The claim was released.'
		WHEN r.status = 'erased' THEN 'The key was erased.'
		WHEN r.status <> 'in_progress' THEN 'The claim has ended with a result.' END;
BEGIN
	RETURN CASE
		WHEN attempt < 1 THEN idempotency.refuse('400', 'attempt must be one or more', format('The value given is %s.', attempt),
			'Pass the attempt that claim() returned.')
		WHEN fault IS NOT NULL THEN idempotency.refuse('404', format('no claim of idempotency key "%s" is in progress', key), fault,
			'Claim the key first, with the same key and scope' || CASE WHEN fault LIKE 'Nothing%' THEN
				'. If it was claimed, its transaction has ended in between: look for autocommit, an ORM or a framework that commits.'
			ELSE ', and end the claim once.' END)
		WHEN attempt IS NULL AND NOT own THEN idempotency.refuse('428', format('attempt is required for idempotency key "%s"', key),
			'The claim was made in an earlier transaction.',
			'Something committed in between. If claim and completion belong in one transaction, look for autocommit, an ORM or a '
			'framework that commits; if not, pass the attempt that claim() returned.')
		WHEN attempt <> r.attempt THEN idempotency.refuse('423', format('idempotency key "%s" is owned by another attempt', key),
			format('Attempt %s does not own the key; the current attempt is %s.', attempt, r.attempt),
			'Stop this work; another owner does it. If this is frequent, make leases longer or call heartbeat() more often.') END;
END $$;

-- Store a result in the cases that finish() does not handle itself.
CREATE FUNCTION idempotency.finish_otherwise(key text, scope text, end_status text, response jsonb, resource_id text,
	status_code integer, attempt integer, ttl interval, at timestamptz) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	r idempotency.keys; t idempotency.policy := idempotency.terms(scope);
BEGIN
	PERFORM idempotency.check_interval(ttl, 'ttl'), idempotency.check_size('response', response, 'resource_id', resource_id, t.max_response_bytes);
	IF status_code NOT BETWEEN 100 AND 599 THEN
		PERFORM idempotency.refuse('400', 'status_code must be an HTTP status', format('The value given is %s.', status_code),
			'Give a number from 100 to 599, or leave it out.');
	END IF;
	r := idempotency.hold_claim(key, scope, attempt, true);
	-- The reply to an earlier call may have been lost.
	IF r.status <> 'in_progress' THEN
		IF (r.status, r.status_code, r.resource_id, r.response) IS NOT DISTINCT FROM (end_status, status_code, resource_id, response) THEN RETURN; END IF;
		PERFORM idempotency.refuse_end(key, r, idempotency.own(r), attempt, false);
	END IF;
	UPDATE idempotency.keys AS k SET status = end_status, status_code = finish_otherwise.status_code,
		resource_id = finish_otherwise.resource_id, response = finish_otherwise.response,
		recovery_point = NULL, state = NULL, lease_until = NULL, completed_at = at, unfinished = NULL,
		expires_at = idempotency.expiry(CASE WHEN finish_otherwise.ttl IS NULL AND idempotency.own(r) THEN r.claimed_at ELSE at END,
			coalesce(finish_otherwise.ttl, r.ttl, t.ttl))
	WHERE k.scope = finish_otherwise.scope AND k.key = finish_otherwise.key;
END $$;

-- Store a result. No other session has seen an unfinished claim of this transaction, and its ttl counts from the claim.
CREATE FUNCTION idempotency.finish(key text, scope text, end_status text, response jsonb, resource_id text, status_code integer,
	attempt integer, ttl interval, at timestamptz) RETURNS void LANGUAGE plpgsql SECURITY DEFINER COST 10000 AS $$
#variable_conflict use_variable
BEGIN
	UPDATE idempotency.keys AS k SET status = end_status, status_code = finish.status_code, resource_id = finish.resource_id,
		response = finish.response, completed_at = at, unfinished = NULL
	WHERE k.scope OPERATOR(pg_catalog.=) finish.scope AND k.key OPERATOR(pg_catalog.=) finish.key
		AND idempotency.plain_end(k.unfinished, k.attempt, k.recovery_point IS NOT NULL OR k.state IS NOT NULL, response, resource_id, status_code, attempt, ttl);
	IF NOT FOUND THEN
		PERFORM idempotency.finish_otherwise(key, scope, end_status, response, resource_id, status_code, attempt, ttl, at);
	END IF;
END $$;

CREATE FUNCTION idempotency.complete(
	key text, scope text DEFAULT '', response jsonb DEFAULT NULL, resource_id text DEFAULT NULL, status_code integer DEFAULT NULL,
	attempt integer DEFAULT NULL, ttl interval DEFAULT NULL) RETURNS void LANGUAGE sql COST 10000
RETURN idempotency.finish(key, scope, 'completed', response, resource_id, status_code, attempt, ttl, clock_timestamp());

CREATE FUNCTION idempotency.fail(
	key text, scope text DEFAULT '', response jsonb DEFAULT NULL, resource_id text DEFAULT NULL, status_code integer DEFAULT NULL,
	attempt integer DEFAULT NULL, ttl interval DEFAULT NULL) RETURNS void LANGUAGE sql COST 10000
RETURN idempotency.finish(key, scope, 'failed', response, resource_id, status_code, attempt, ttl, clock_timestamp());

-- Make a row one that can be claimed again; only the attempt is kept. If a lease is given, an owner may still call, and
-- the attempt must stay.
CREATE FUNCTION idempotency.free(key text, scope text, lease_until timestamptz DEFAULT NULL) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	UPDATE idempotency.keys AS k SET status = 'released', status_code = NULL, fingerprint = NULL, resource_id = NULL, response = NULL,
		recovery_point = NULL, state = NULL, lease_until = free.lease_until, completed_at = NULL, unfinished = NULL
	WHERE k.scope = free.scope AND k.key = free.key;
END $$;

CREATE FUNCTION idempotency.release(key text, scope text DEFAULT '', attempt integer DEFAULT NULL) RETURNS void LANGUAGE plpgsql
SECURITY DEFINER COST 10000 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM idempotency.hold_claim(key, scope, attempt);
	PERFORM idempotency.free(key, scope);
END $$;

-- Renew the lease of a claim, and note a step. Returns the new end of the lease.
CREATE FUNCTION idempotency.renew(key text, scope text, attempt integer, lease interval, step boolean, recovery_point text, state jsonb)
RETURNS timestamptz LANGUAGE plpgsql SECURITY DEFINER COST 10000 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	r idempotency.keys := idempotency.hold_claim(key, scope, attempt);
	until timestamptz;
BEGIN
	PERFORM idempotency.check_interval(lease, 'lease'),
		idempotency.check_size('state', state, 'recovery_point', recovery_point, (idempotency.terms(scope)).max_response_bytes);
	until := clock_timestamp() + coalesce(lease, r.lease);
	IF until IS NULL AND NOT step THEN
		PERFORM idempotency.refuse('400', format('claim of idempotency key "%s" has no lease', key),
			'There is nothing to renew: neither the claim nor its policy has asked for a lease.',
			'Give a lease for the claim.');
	END IF;
	-- An unfinished claim never expires before its lease.
	UPDATE idempotency.keys AS k SET lease_until = until, lease = coalesce(r.lease, renew.lease), expires_at = greatest(k.expires_at, until),
		unfinished = CASE WHEN until IS NULL THEN k.unfinished END,
		recovery_point = CASE WHEN step THEN renew.recovery_point ELSE k.recovery_point END,
		state = CASE WHEN step THEN renew.state ELSE k.state END
	WHERE k.scope = r.scope AND k.key = r.key;
	RETURN until;
END $$;

CREATE FUNCTION idempotency.heartbeat(key text, scope text DEFAULT '', attempt integer DEFAULT NULL, lease interval DEFAULT NULL)
RETURNS timestamptz LANGUAGE sql COST 10000 RETURN idempotency.renew(key, scope, attempt, lease, false, NULL, NULL);

CREATE FUNCTION idempotency.checkpoint(key text, scope text DEFAULT '', recovery_point text DEFAULT NULL, state jsonb DEFAULT NULL,
	attempt integer DEFAULT NULL, lease interval DEFAULT NULL) RETURNS void LANGUAGE plpgsql COST 10000 AS $$
BEGIN
	PERFORM idempotency.renew(key, scope, attempt, lease, true, recovery_point, state);
END $$;

CREATE FUNCTION idempotency.lookup(key text, scope text DEFAULT '') RETURNS SETOF idempotency.keys LANGUAGE plpgsql
SECURITY DEFINER PARALLEL RESTRICTED ROWS 1 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM idempotency.check_key(key, scope);
	RETURN QUERY SELECT * FROM idempotency.keys AS k WHERE k.scope = lookup.scope AND k.key = lookup.key AND k.expires_at > clock_timestamp();
END $$;

-- ======== One call, and batches.

-- Make a problem document (RFC 9457) from an error.
CREATE FUNCTION idempotency.problem(code text, message text, hint text) RETURNS jsonb LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	titles CONSTANT jsonb := '{"400": "Bad Request", "401": "Unauthorized", "402": "Payment Required", "403": "Forbidden",
		"404": "Not Found", "405": "Method Not Allowed", "406": "Not Acceptable", "409": "Conflict", "410": "Gone",
		"412": "Precondition Failed", "413": "Content Too Large", "415": "Unsupported Media Type", "422": "Unprocessable Content",
		"423": "Locked", "428": "Precondition Required", "429": "Too Many Requests", "500": "Internal Server Error",
		"501": "Not Implemented", "502": "Bad Gateway", "503": "Service Unavailable", "504": "Gateway Timeout"}';
	status text := CASE
		WHEN left(code, 2) IN ('PT', idempotency.setting('sqlstate_prefix', 'IK')) AND titles ? right(code, 3) THEN right(code, 3)
		WHEN code IN ('23505', '23503', '23P01') THEN '409'
		WHEN code = '42501' THEN '403'
		WHEN code = 'P0002' THEN '404'
		WHEN code = 'P0001' THEN '400'
		WHEN left(code, 2) IN ('22', '23') THEN '422'
		ELSE '500' END;
BEGIN
	RETURN jsonb_strip_nulls(jsonb_build_object('type', 'about:blank', 'title', titles->>status, 'status', status::integer,
		'detail', message, 'hint', nullif(hint, ''), 'sqlstate', code));
END $$;

-- The command is looked up and run with the caller's role and search_path, which this function does not change.
CREATE FUNCTION idempotency.execute(
	key text, scope text, command text, request jsonb DEFAULT NULL, ttl interval DEFAULT NULL, wait interval DEFAULT NULL,
	cache_errors text[] DEFAULT NULL) RETURNS idempotency.claim_result LANGUAGE plpgsql COST 10000 AS $$
DECLARE
	c idempotency.claim_result; errors text[]; function regprocedure; call text; status text := 'completed';
	message text; hint text;
BEGIN
	IF command IS NULL OR pg_catalog.left(command, 1) IN ('{', '[') THEN
		PERFORM CASE WHEN command IS NULL THEN
			idempotency.refuse('400', 'command must not be null', NULL, 'Name the function that does the work.')
		ELSE idempotency.refuse('400', 'command begins like JSON', 'The name of a function does not begin with "{" or "[", unless it is quoted.',
			'execute() takes key, scope, command and request.') END;
	END IF;
	IF cache_errors IS NOT NULL OR idempotency.ruled() THEN errors := idempotency.stored_errors(scope, cache_errors); END IF;
	c := idempotency.claim_key(key, scope, request, ttl, NULL, wait, NULL, 'execute', false);
	IF NOT c.proceed THEN RETURN c; END IF;

	-- A parenthesis outside quotes begins a signature.
	function := command || CASE WHEN pg_catalog.strpos(command, '(') > 0 AND command ~ '^([^"(]|"[^"]*")*\(' THEN '' ELSE '(pg_catalog.jsonb)' END;
	SELECT pg_catalog.format('SELECT %s($1)', p.oid::regproc) INTO call FROM pg_catalog.pg_proc AS p
	WHERE p.oid = function AND p.prokind = 'f' AND NOT p.proretset AND p.prorettype = 'pg_catalog.jsonb'::regtype
		AND p.pronargs = 1 AND p.proargtypes[0] = 'pg_catalog.jsonb'::regtype;
	IF call IS NULL THEN
		PERFORM idempotency.refuse('400', pg_catalog.format('command "%s" is not a function of jsonb that returns jsonb', command), NULL,
			'Name a function such as one created by CREATE FUNCTION pay(request jsonb) RETURNS jsonb.');
	ELSIF NOT pg_catalog.has_function_privilege(function, 'EXECUTE') THEN
		RAISE insufficient_privilege USING MESSAGE = pg_catalog.format('permission denied for function %s',
			(SELECT p.proname FROM pg_catalog.pg_proc AS p WHERE p.oid = function));
	END IF;

	IF errors IS NULL THEN
		EXECUTE call INTO c.response USING request;
	ELSE
		BEGIN
			EXECUTE call INTO c.response USING request;
		EXCEPTION WHEN OTHERS THEN
			IF SQLSTATE IN ('40001', '40P01') OR SQLSTATE LIKE '57%'
				OR (SQLSTATE = ANY (errors) OR pg_catalog.left(SQLSTATE, 2) = ANY (errors)) IS NOT TRUE THEN
				RAISE;
			END IF;
			GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
			c.response := idempotency.problem(SQLSTATE, message, hint);
			status := 'failed';
		END;
	END IF;
	IF status = 'failed' THEN
		c.status_code := (c.response->>'status')::integer;
	ELSIF pg_catalog.jsonb_typeof(c.response) = 'object' THEN
		c.resource_id := c.response->>'id';
	END IF;
	c.completed_at := pg_catalog.clock_timestamp();
	PERFORM idempotency.finish(key, scope, status, c.response, c.resource_id, c.status_code, NULL, NULL, c.completed_at);
	c.status_code := coalesce(c.status_code, 201);
	RETURN c;
END $$;

-- Raise IK400 if an array argument does not have one element for each key.
CREATE FUNCTION idempotency.check_arrays(keys text[], scope text, VARIADIC lengths text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM CASE WHEN keys IS NULL THEN idempotency.refuse('400', 'keys must not be null', NULL, 'Pass an array of idempotency keys.') END;
	PERFORM idempotency.check_key(k, scope) FROM unnest(keys) AS k WHERE (k <> '') IS NOT TRUE;
	PERFORM idempotency.refuse('400', lengths[i] || ' must have an element for each key',
		format('There are %s keys and %s elements.', cardinality(keys), lengths[i + 1]), 'Use NULL as the element of a key that has none.')
	FROM generate_series(1, cardinality(lengths), 2) AS i WHERE lengths[i + 1]::integer <> cardinality(keys);
END $$;

-- Every batch locks its keys in the order of their lock numbers, so that two batches never wait for each other.
CREATE FUNCTION idempotency.claim_many(
	keys text[], scope text DEFAULT '', requests jsonb[] DEFAULT NULL, ttl interval DEFAULT NULL, lease interval DEFAULT NULL,
	wait interval DEFAULT NULL) RETURNS TABLE (
	ord bigint, key text, outcome text, proceed boolean, status_code integer, resource_id text, response jsonb, attempt integer,
	recovery_point text, state jsonb, retry_after interval, claimed_at timestamptz, completed_at timestamptz, expires_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER COST 10000 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	until timestamptz;
BEGIN
	PERFORM idempotency.check_arrays(keys, scope, 'requests', cardinality(requests)::text), idempotency.check_interval(wait, 'wait', true);
	until := idempotency.deadline(coalesce(wait, (idempotency.terms(scope)).wait));
	RETURN QUERY SELECT c.n, c.name, (c.result).* FROM (
		SELECT u.n, u.name, idempotency.claim_key(u.name, scope, u.request, ttl, lease, greatest(until - clock_timestamp(), '0'), NULL, 'claim', false) AS result
		FROM (SELECT * FROM unnest(keys, requests) WITH ORDINALITY AS k (name, request, n) ORDER BY idempotency.lock_number(k.name, scope), k.n) AS u
		OFFSET 0) AS c ORDER BY c.n;
END $$;

CREATE FUNCTION idempotency.complete_many(
	keys text[], scope text DEFAULT '', responses jsonb[] DEFAULT NULL, resource_ids text[] DEFAULT NULL,
	status_codes integer[] DEFAULT NULL, attempts integer[] DEFAULT NULL) RETURNS bigint LANGUAGE plpgsql
SECURITY DEFINER COST 10000 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM idempotency.check_arrays(keys, scope, 'responses', cardinality(responses)::text, 'resource_ids', cardinality(resource_ids)::text,
		'status_codes', cardinality(status_codes)::text, 'attempts', cardinality(attempts)::text);
	PERFORM idempotency.finish(e.key, scope, 'completed', e.response, e.resource_id, e.status_code, e.attempt, NULL, clock_timestamp())
	FROM (SELECT u.* FROM unnest(keys, responses, resource_ids, status_codes, attempts)
			WITH ORDINALITY AS u (key, response, resource_id, status_code, attempt, n)
		ORDER BY idempotency.lock_number(u.key, scope), u.n) AS e;
	RETURN cardinality(keys);
END $$;

-- ======== Keys.

-- A subject's record, in a scope of its own, names the issued key; the key's own row says whether the key still exists.
-- The record is kept for three times the ttl: the key is claimed within the first, completed within the second, and
-- remembered for the third.
CREATE FUNCTION idempotency.issue(scope text, subject text, ttl interval DEFAULT NULL)
RETURNS text LANGUAGE plpgsql SECURITY DEFINER COST 10000 SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	record_scope text := 'idempotency.issue/' || scope;
	t idempotency.policy; c idempotency.claim_result; deadline timestamptz; live boolean;
	-- A UUID of version 7: 48 bits of time, the others random.
	name text := encode(set_byte(overlay(uuid_send(gen_random_uuid())
			PLACING substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3) FROM 1),
		6, (get_byte(uuid_send(gen_random_uuid()), 0) & 15) | 112), 'hex')::uuid;
BEGIN
	PERFORM CASE
		WHEN scope IS NULL THEN idempotency.check_scope(scope, hint => 'Pass the scope that the key will be claimed in.')
		WHEN subject IS NULL OR subject = '' THEN
			idempotency.refuse('400', 'subject must not be ' || CASE WHEN subject IS NULL THEN 'null' ELSE 'empty' END, NULL,
				'Pass the id of what the key is for, such as a cart or payment intent.')
		WHEN octet_length(subject) > 1000 THEN idempotency.refuse('400', 'subject is too long',
			format('It has %s bytes; the maximum is 1000.', octet_length(subject)),
			'Pass the id of what the key is for, not its content.') END;
	-- claim() has to accept the key that is issued.
	t := idempotency.check_claim(name, scope, 'null', NULL, NULL, NULL, 'claim');
	PERFORM idempotency.check_interval(ttl, 'ttl');
	t.ttl := coalesce(t.ttl, idempotency.setting('default_ttl', '1 day')::interval);
	deadline := idempotency.deadline(t.wait);
	LOOP
		c := idempotency.claim_key(subject, record_scope, NULL, 3 * greatest(ttl, t.ttl), NULL, greatest(deadline - clock_timestamp(), '0'),
			NULL, 'issue', true);
		EXIT WHEN c.outcome = 'new';
		live := EXISTS (SELECT FROM idempotency.lookup(c.resource_id, scope) WHERE c.outcome = 'replay');
		IF live THEN
			RETURN c.resource_id;
		ELSIF c.outcome = 'in_progress' OR deadline < clock_timestamp() THEN
			PERFORM idempotency.refuse('409', format('another transaction is issuing the key of "%s"', subject),
				'It has not ended within the time that the policy lets a claim wait.',
				'Call issue() again. Commit soon after a key was issued, or raise idempotency.default_wait.');
		ELSIF idempotency.await(idempotency.lock_number(subject, record_scope), deadline, true) THEN
			-- The key no longer exists: the first session makes the record one that can be claimed again.
			PERFORM idempotency.free(subject, record_scope) FROM idempotency.keys AS k
			WHERE k.scope = record_scope AND k.key = subject AND k.resource_id = c.resource_id;
		END IF;
	END LOOP;

	INSERT INTO idempotency.keys (scope, key, status, attempt, expires_at, ttl)
	VALUES (scope, name, 'issued', 0, clock_timestamp() + coalesce(ttl, t.ttl), ttl);
	UPDATE idempotency.keys AS k SET resource_id = name WHERE k.scope = record_scope AND k.key = subject;
	RETURN name;
END $$;

-- A UUID of version 8.
CREATE FUNCTION idempotency.derive(key text, purpose text) RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	hash bytea := sha256(int8send(octet_length(key)) || convert_to(key, getdatabaseencoding()) || convert_to(purpose, getdatabaseencoding()));
BEGIN
	PERFORM idempotency.refuse('400', v.name || ' must not be ' || CASE WHEN v.value IS NULL THEN 'null' ELSE 'empty' END, NULL,
		'Pass the key of the request, and a name for the call for which the key is derived.')
	FROM (VALUES ('key', key), ('purpose', purpose)) AS v (name, value) WHERE (v.value <> '') IS NOT TRUE;
	RETURN encode(set_byte(set_byte(substring(hash FROM 1 FOR 16), 6, get_byte(hash, 6) & 15 | 128), 8, get_byte(hash, 8) & 63 | 128), 'hex')::uuid;
END $$;

-- ======== Operation.

-- Delete at most max_rows expired keys. Rows that another session has locked are left for the next sweep.
CREATE FUNCTION idempotency.sweep(max_rows bigint DEFAULT NULL, OUT slots_cleared integer, OUT rows_deleted bigint) LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM idempotency.refuse('400', 'max_rows must not be negative', format('The value given is %s.', max_rows), 'Leave it out for 10000.')
	WHERE max_rows < 0;
	slots_cleared := 0;
	DELETE FROM idempotency.keys AS k WHERE k.ctid = ANY (ARRAY(
		SELECT e.ctid FROM idempotency.keys AS e WHERE e.expires_at <= clock_timestamp() AND NOT idempotency.own(e)
		ORDER BY e.expires_at LIMIT coalesce(max_rows, 10000) FOR UPDATE SKIP LOCKED));
	GET DIAGNOSTICS rows_deleted = ROW_COUNT;
END $$;

CREATE FUNCTION idempotency.forget(key text, scope text DEFAULT '') RETURNS boolean LANGUAGE plpgsql
SECURITY DEFINER COST 10000 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	r idempotency.keys;
BEGIN
	-- The lock on a key that is not stored is released at once.
	BEGIN
		r := idempotency.hold(key, scope);
		IF r.key IS NULL THEN RAISE SQLSTATE 'IK001'; END IF;
	EXCEPTION WHEN SQLSTATE 'IK001' THEN
		RETURN false;
	END;
	RETURN idempotency.remove(r);
END $$;

-- Remove a locked row, and return whether a live key was removed. The attempt of an unfinished claim stays, so that its
-- owner is recognized as superseded.
CREATE FUNCTION idempotency.remove(r idempotency.keys) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	live boolean := r.expires_at > clock_timestamp();
BEGIN
	IF live AND NOT (r.attempt = 1 AND idempotency.own(r)) AND (r.status = 'in_progress' OR r.status = 'released' AND r.lease_until IS NOT NULL) THEN
		IF r.status = 'released' THEN RETURN false; END IF;
		PERFORM idempotency.free(r.key, r.scope, greatest(r.lease_until, clock_timestamp()));
	ELSE
		DELETE FROM idempotency.keys AS k WHERE k.scope = r.scope AND k.key = r.key;
	END IF;
	RETURN live;
END $$;

CREATE FUNCTION idempotency.purge(scope text) RETURNS bigint LANGUAGE plpgsql
SECURITY DEFINER COST 10000 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	r idempotency.keys; purged bigint := 0;
BEGIN
	PERFORM idempotency.check_scope(scope, 'to purge', 'Name the scope; the empty one is a scope too.');
	FOR r IN
		SELECT * FROM idempotency.keys AS k WHERE k.scope = purge.scope OR starts_with(k.scope, purge.scope || '/')
		ORDER BY idempotency.lock_number(k.key, k.scope) FOR UPDATE
	LOOP
		purged := purged + idempotency.remove(r)::integer;
	END LOOP;
	RETURN purged;
END $$;

CREATE FUNCTION idempotency.erase(key text, scope text DEFAULT '') RETURNS boolean LANGUAGE plpgsql
SECURITY DEFINER COST 10000 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	r idempotency.keys := idempotency.hold(key, scope);
BEGIN
	PERFORM idempotency.refuse('409', format('idempotency key "%s" is in progress', key), 'There is no result yet to be erased.',
		'Try again once the claim has ended, or forget the key.')
	WHERE r.status = 'in_progress' AND r.expires_at > clock_timestamp();
	UPDATE idempotency.keys AS k SET status = 'erased', fingerprint = NULL, response = NULL, state = NULL
	WHERE k.scope = erase.scope AND k.key = erase.key AND k.status IN ('completed', 'failed', 'erased') AND k.expires_at > clock_timestamp();
	RETURN FOUND;
END $$;

CREATE FUNCTION idempotency.erase_scope(scope text) RETURNS bigint LANGUAGE plpgsql
SECURITY DEFINER COST 10000 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	erased bigint;
BEGIN
	PERFORM idempotency.check_scope(scope, 'to erase', 'Name the scope; the empty one is a scope too.');
	UPDATE idempotency.keys AS k SET status = 'erased', fingerprint = NULL, response = NULL, state = NULL
	WHERE (k.scope = erase_scope.scope OR starts_with(k.scope, erase_scope.scope || '/')) AND k.status IN ('completed', 'failed') AND k.expires_at > clock_timestamp();
	GET DIAGNOSTICS erased = ROW_COUNT;
	RETURN erased;
END $$;

-- ======== Privileges: none for PUBLIC; applications call functions, and read no table.

CREATE FUNCTION idempotency.grant_usage(role regrole, command text DEFAULT 'GRANT %s TO %s') RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	EXECUTE format(command, 'USAGE ON SCHEMA idempotency', role);
	EXECUTE format(command, (SELECT 'EXECUTE ON FUNCTION ' || string_agg(p.oid::regprocedure::text, ', ')
		FROM pg_proc AS p
		WHERE p.pronamespace = 'idempotency'::regnamespace AND p.proname = ANY ('{claim, complete, fail, release, heartbeat, checkpoint,
			lookup, execute, once, claim_many, complete_many, issue, derive, claim_key, finish, stored_errors, problem, refuse, ruled, renew}')), role);
END $$;

CREATE FUNCTION idempotency.revoke_usage(role regrole) RETURNS void LANGUAGE sql SET search_path = pg_catalog, pg_temp
RETURN idempotency.grant_usage(role, 'REVOKE %s FROM %s');

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA idempotency FROM PUBLIC;
