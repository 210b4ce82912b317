-- idempotency.sql: run each request once, in PL/pgSQL only.
-- The contract of the extension "idempotency", for servers on which no C library can be installed. doc/portable.md lists the
-- differences. A role that may create a schema runs this file once:  psql -1 -v ON_ERROR_STOP=1 -f idempotency.sql
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
-- PL/pgSQL prepares each expression and each statement again in every transaction, which is most of what a call costs. So
-- a new key is one read, one insertion and few conditions, and its completion one update; and SQL functions of one
-- expression are inlined, with the operators that they were created with.
--
-- The last block of the file makes PL/pgSQL functions run as the owner with a search_path of their own. It leaves out those
-- that every request runs, since that would be a tenth of the cost: each name in them has its schema, operators included.

-- Until that block no object of another schema is found.
DO $$ BEGIN
	PERFORM pg_catalog.set_config('idempotency_portable.search_path', pg_catalog.current_setting('search_path'), false),
		pg_catalog.set_config('search_path', 'idempotency, pg_catalog, pg_temp', false);
END $$;
CREATE SCHEMA idempotency;

-- ======== Storage.
-- A claim that has neither a result nor a lease can't be committed. A deferred foreign key ensures this, since it checks
-- only versions of rows that still exist at COMMIT: an unfinished claim refers to a row that does not exist, and comparing
-- its value casts it, which raises IK500. So only its own transaction sees a row with a value. The value says whether
-- finish() can complete the claim by one update: it is 'limited' if a policy limits its size, a step was noted, or it is
-- not the first claim of the key.
CREATE TYPE unfinished AS ENUM ('simple', 'limited');
CREATE TABLE committable (id integer PRIMARY KEY);
INSERT INTO committable VALUES (1);
CREATE FUNCTION refuse_unfinished(unfinished) RETURNS integer LANGUAGE plpgsql SET enable_seqscan = off SET enable_sort = off AS $$ BEGIN
	-- The index finds one of the newest rows, this transaction's.
	PERFORM refuse('500', format('claim of idempotency key "%s" is unfinished',
			(SELECT k.key FROM keys AS k WHERE k.unfinished IS NOT NULL ORDER BY k.expires_at DESC LIMIT 1)),
		'It has neither a result nor a lease, so that the transaction can''t be committed and its work is undone.',
		'Claim, work and complete() belong in one transaction: look for a commit in between, by autocommit, an ORM or a framework. '
		'Only a claim with a lease can be committed before it ends.');
END $$;
CREATE CAST (unfinished AS integer) WITH FUNCTION refuse_unfinished(unfinished) AS IMPLICIT;

-- "fingerprint" is the request itself, compared as jsonb, since no hash of jsonb in SQL is good enough. Scopes and keys are
-- compared byte for byte, keys first, since most rows have the same scope. The fillfactor leaves room on each page:
-- completing a claim changes no indexed column, so that the new row version can stay on its page.
CREATE TABLE keys (scope text NOT NULL COLLATE "C", key text NOT NULL COLLATE "C", fingerprint jsonb, status text NOT NULL COLLATE "C",
	status_code integer, resource_id text, response jsonb, attempt integer NOT NULL, recovery_point text, state jsonb,
	lease_until timestamptz, claimed_at timestamptz, completed_at timestamptz, expires_at timestamptz NOT NULL,
	ttl interval, lease interval, claim_xid xid8, unfinished unfinished REFERENCES committable DEFERRABLE INITIALLY DEFERRED,
	PRIMARY KEY (key, scope)) WITH (fillfactor = 80);
CREATE INDEX keys_expires_at ON keys (expires_at);
-- What holds for the keys of a scope and of those below it; NULL is inherited.
CREATE TABLE policy (scope text PRIMARY KEY COLLATE "C", ttl interval CHECK (ttl > interval '0'), lease interval CHECK (lease >= interval '0'),
	wait interval CHECK (wait >= interval '0'), require_request boolean, require_issued boolean,
	min_key_length integer CHECK (min_key_length >= 1), max_response_bytes integer CHECK (max_response_bytes >= 0), cache_errors text[]);
CREATE TYPE claim_result AS (outcome text, proceed boolean, status_code integer, resource_id text, response jsonb, attempt integer, recovery_point text,
	state jsonb, retry_after interval, claimed_at timestamptz, completed_at timestamptz, expires_at timestamptz);

-- ======== Refusals. SQLSTATEs are the prefix, IK, and an HTTP status.
CREATE FUNCTION setting(name text) RETURNS text LANGUAGE sql STABLE RETURN nullif(current_setting('idempotency.' || name, true), '');
CREATE FUNCTION refuse(status text, message text, detail text, hint text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE code text := coalesce(setting('sqlstate_prefix'), 'IK') || status; BEGIN
	IF detail IS NULL THEN RAISE EXCEPTION USING ERRCODE = code, MESSAGE = message, HINT = hint; END IF;
	RAISE EXCEPTION USING ERRCODE = code, MESSAGE = message, DETAIL = detail, HINT = hint;
END $$;
CREATE FUNCTION check_scope(scope text, what text DEFAULT 'of the idempotency key',
	hint text DEFAULT 'Pass the empty string for the empty scope.') RETURNS boolean LANGUAGE sql RETURN CASE
	WHEN scope IS NULL THEN refuse('400', 'scope ' || what || ' must not be null', NULL, hint)
	WHEN left(scope, 1) IN ('{', '[') THEN refuse('400', 'scope of the idempotency key begins like JSON', 'A scope does not begin with "{" or "[".',
		'The key comes first, the scope second, and the request or response third; execute() takes key, scope, command and request.')
	WHEN octet_length(scope) > CASE WHEN starts_with(scope, 'idempotency.issue/') THEN 1018 ELSE 1000 END THEN
		refuse('400', 'scope of the idempotency key is too long', format('The scope has %s bytes; the maximum is 1000.', octet_length(scope)),
			'Name the operation and the caller in the scope, and pass what the client sent as the request.') END;
CREATE FUNCTION check_key(key text, scope text) RETURNS boolean LANGUAGE sql RETURN CASE
	WHEN key IS NULL THEN refuse('400', 'idempotency key is missing', NULL,
		'Pass the key that the client sent; a request without one can''t be made safe to retry.')
	WHEN key = '' AND scope IS NOT NULL THEN refuse('400', 'idempotency key is empty', NULL,
		'Pass the key that the client sent, such as a UUID generated for each operation.')
	WHEN check_scope(scope) THEN NULL
	WHEN octet_length(key) > 8192 THEN refuse('400', 'idempotency key is too long',
		format('The key has %s bytes; the maximum of any setting is 8192.', octet_length(key)), 'Pass the key that was claimed.') END;
CREATE FUNCTION check_attempt(attempt integer) RETURNS boolean LANGUAGE sql RETURN CASE WHEN attempt < 1 THEN
	refuse('400', 'attempt must be one or more', format('The value given is %s.', attempt), 'Pass the attempt that claim() returned.') END;
-- The shortest time that an interval can be, since a month may have 28 days.
CREATE FUNCTION shortest(value interval) RETURNS interval LANGUAGE sql IMMUTABLE RETURN CASE
	WHEN value BETWEEN '0' AND '5000 years' THEN timestamp '2001-02-01' + value - timestamp '2001-02-01' ELSE value END;
CREATE FUNCTION check_interval(value interval, name text, zero text DEFAULT NULL) RETURNS boolean LANGUAGE sql RETURN CASE
	WHEN shortest(value) < '0' AND zero IS NOT NULL THEN
		refuse('400', name || ' must not be negative', format('The value given is %s.', value), 'Give an interval of zero ' || zero)
	WHEN shortest(value) <= '0' AND zero IS NULL THEN refuse('400', name || ' must be longer than zero',
		format('The value given is %s.', value), 'Leave the argument out for the default.')
	WHEN value > '5000 years' THEN refuse('400', name || ' is too long', 'The maximum is 5000 years.', 'Give a shorter interval.') END;
-- Check the size of values that are to be stored: their own size, not the compressed one.
CREATE FUNCTION check_size(name text, document jsonb, word_name text, word text, most integer) RETURNS boolean LANGUAGE sql RETURN (
	SELECT refuse('413', CASE WHEN document IS NULL THEN word_name ELSE name END || ' is too large',
		CASE WHEN document IS NULL OR word IS NULL THEN 'It' ELSE 'With its ' || word_name || ' it' END
			|| format(' has %s bytes; the maximum is %s.', s.size, s.most),
		'Store what is needed to build it again, or raise idempotency.max_response_size.')
	FROM (VALUES (coalesce(pg_column_size(document #> '{}') - 4, 0) + coalesce(octet_length(word), 0),
		coalesce(most, pg_size_bytes(setting('max_response_size')), 1048576))) AS s (size, most)
	WHERE s.size > s.most);

-- ======== Expressions, inlined.
-- Whether there may be a policy: a table that has never been written to has no blocks.
CREATE FUNCTION ruled() RETURNS boolean LANGUAGE sql VOLATILE RETURN pg_relation_size('idempotency.policy') > 0;
CREATE FUNCTION set_by_settings() RETURNS boolean LANGUAGE sql STABLE
RETURN coalesce(current_setting('idempotency.default_ttl', true), current_setting('idempotency.default_lease', true),
		current_setting('idempotency.min_key_length', true), current_setting('idempotency.max_key_length', true)) IS NOT NULL;
CREATE FUNCTION plain(key text, scope text) RETURNS boolean LANGUAGE sql IMMUTABLE
RETURN octet_length(key) <@ int4range '[1, 255]' AND octet_length(scope) <= 1000 AND ascii(scope) <> ALL (ARRAY[ascii('{'), ascii('[')])
	AND NOT starts_with(scope, 'idempotency.issue/');
CREATE FUNCTION plain_times(ttl interval, lease interval, wait interval) RETURNS boolean LANGUAGE sql IMMUTABLE
RETURN (shortest(ttl) > '0' AND ttl <= '5000 years') IS NOT FALSE AND (shortest(lease) > '0' AND lease <= '5000 years') IS NOT FALSE
	AND (shortest(wait) >= '0' AND wait <= '5000 years') IS NOT FALSE;
-- Compressed as well as possible, values of this size have less than 1 MB.
CREATE FUNCTION plain_result(response jsonb, resource_id text, status_code integer) RETURNS boolean LANGUAGE sql STABLE
RETURN (status_code <@ int4range '[100, 599]') IS NOT FALSE AND (greatest(pg_column_size(response), octet_length(resource_id)) <= 2000) IS NOT FALSE;
-- A CASE makes all of it a condition of the row: the executor would test the rest in a step of its own.
CREATE FUNCTION ends_simply(unfinished unfinished, response jsonb, resource_id text, status_code integer, attempt integer,
	ttl interval) RETURNS boolean LANGUAGE sql STABLE RETURN CASE WHEN enum_eq(unfinished, 'simple') THEN
		ttl IS NULL AND coalesce(attempt, 1) = 1 AND plain_result(response, resource_id, status_code)
		AND current_setting('idempotency.max_response_size', true) IS NULL END;
CREATE FUNCTION expiry(since timestamptz, ttl interval, lease interval DEFAULT NULL) RETURNS timestamptz LANGUAGE sql STABLE
RETURN greatest(since + coalesce(ttl, '1 day'), since + lease);
CREATE FUNCTION deadline(wait interval) RETURNS timestamptz LANGUAGE sql VOLATILE RETURN clock_timestamp() + coalesce(wait, setting('default_wait')::interval, '5 s');
-- Whether this transaction made the claim. The xid alone is not enough: a restored row may have it from another cluster.
CREATE FUNCTION own(r keys) RETURNS boolean LANGUAGE sql STABLE
RETURN coalesce(r.claim_xid = pg_current_xact_id_if_assigned() AND r.claimed_at > now() - interval '1 day', false);
CREATE FUNCTION owns(attempt integer, r keys, at timestamptz) RETURNS boolean LANGUAGE sql STABLE
RETURN r.status = 'in_progress' AND coalesce(attempt = r.attempt, own(r)) AND (r.expires_at > at OR own(r));

CREATE FUNCTION completed(r keys, request jsonb, at timestamptz) RETURNS boolean LANGUAGE sql STABLE
RETURN r.status = 'completed' AND r.expires_at > at AND r.fingerprint IS NOT DISTINCT FROM request
	AND current_setting('transaction_read_only') = 'off';
-- The outcome of a claim that finds this row, or NULL if the key is free.
CREATE FUNCTION verdict(r keys, request jsonb, at timestamptz) RETURNS text LANGUAGE sql STABLE RETURN CASE
	WHEN r.key IS NULL THEN NULL
	WHEN r.status = 'in_progress' AND own(r) THEN 'in_progress'
	WHEN r.expires_at <= at OR r.status IN ('released', 'issued') THEN NULL
	WHEN r.status = 'erased' THEN 'replay'
	WHEN r.fingerprint IS DISTINCT FROM request THEN 'mismatch'
	WHEN r.status <> 'in_progress' THEN 'replay'
	WHEN r.lease_until > at THEN 'in_progress' END;

-- ======== Locks.
CREATE FUNCTION lock_number(key text, scope text) RETURNS bigint LANGUAGE sql IMMUTABLE
RETURN hashtextextended(key, hashtextextended(scope, 7594793484668659577));
-- The number of locks that this transaction has counted. A transaction takes at most its share of the lock table; further
-- claims are protected by the row alone, and others wait for the transaction without a limit. A rollback to a savepoint
-- resets the number, as it releases the locks. The claim with which a transaction begins to write is not counted.
CREATE FUNCTION locks() RETURNS integer LANGUAGE sql STABLE RETURN coalesce(nullif(current_setting('idempotency_portable.locks', true), ''), '1')::integer;
CREATE FUNCTION may_lock() RETURNS boolean LANGUAGE sql STABLE RETURN locks() < current_setting('max_locks_per_transaction')::integer;
CREATE FUNCTION count_lock() RETURNS boolean LANGUAGE sql VOLATILE RETURN set_config('idempotency_portable.locks', (locks() + 1)::text, true) IS NOT NULL;
CREATE FUNCTION lock(key text, scope text) RETURNS boolean LANGUAGE sql VOLATILE
RETURN CASE WHEN may_lock() THEN pg_advisory_xact_lock(lock_number(key, scope)) IS NOT NULL AND count_lock() END;
CREATE FUNCTION try_counted_lock(number bigint) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
	RETURN CASE WHEN idempotency.may_lock() THEN pg_catalog.pg_try_advisory_xact_lock(number) AND idempotency.count_lock() ELSE true END;
END $$;
CREATE FUNCTION try_lock(number bigint) RETURNS boolean LANGUAGE sql VOLATILE
RETURN CASE WHEN pg_current_xact_id_if_assigned() IS NULL THEN pg_try_advisory_xact_lock(number) ELSE try_counted_lock(number) END;
CREATE FUNCTION limit_waits(deadline timestamptz) RETURNS text LANGUAGE sql VOLATILE RETURN set_config('lock_timeout',
	(least(greatest(extract(epoch FROM deadline - clock_timestamp()) * 1000, 1), 2147483647)::integer)::text, true);
-- Wait for a key's lock, and then for its row, until the deadline. Returns false at the deadline; the transaction is usable
-- in any case. The lock is kept if "keep" is true and the row is still free then.
CREATE FUNCTION await(key text, scope text, request jsonb, deadline timestamptz, keep boolean) RETURNS boolean LANGUAGE plpgsql AS $$
#variable_conflict use_variable DECLARE
	number bigint := lock_number(key, scope); before text := current_setting('lock_timeout');
	-- If the session's own lock_timeout is shorter, its error is raised.
	own_limit boolean := before::interval > '0' AND before::interval < deadline - clock_timestamp();
BEGIN
	IF deadline <= clock_timestamp() THEN RETURN false; END IF;
	BEGIN
		PERFORM limit_waits(deadline) WHERE NOT own_limit;
		PERFORM CASE WHEN keep THEN pg_advisory_xact_lock(number) ELSE pg_advisory_xact_lock_shared(number) END, keep AND count_lock();
		PERFORM limit_waits(deadline) WHERE NOT own_limit;
		-- Not a row that is an answer: locking a row takes a transaction id.
		PERFORM FROM keys AS k WHERE k.scope = scope AND k.key = key AND verdict(k, request, clock_timestamp()) IS NULL FOR SHARE;
		IF NOT (keep AND (FOUND OR NOT EXISTS (SELECT FROM keys AS k WHERE k.scope = scope AND k.key = key))) THEN RAISE SQLSTATE 'IK001'; END IF;
		PERFORM set_config('lock_timeout', before, true);
	EXCEPTION
		WHEN SQLSTATE 'IK001' THEN
		WHEN lock_not_available THEN IF own_limit THEN RAISE; ELSE RETURN false; END IF;
	END;
	RETURN true;
END $$;

-- ======== Policies.
CREATE FUNCTION covers(policy_scope text, scope text) RETURNS boolean LANGUAGE sql IMMUTABLE RETURN starts_with(scope, policy_scope)
	AND (policy_scope IN ('', scope) OR right(policy_scope, 1) = '/' OR substr(scope, length(policy_scope) + 1, 1) = '/');
CREATE FUNCTION lease(kind text, lease interval, by_policy interval) RETURNS interval LANGUAGE sql IMMUTABLE
RETURN CASE WHEN kind = 'claim' THEN nullif(coalesce(lease, by_policy), '0') END;
CREATE FUNCTION ending(once boolean, lease interval, max_response_bytes integer) RETURNS unfinished LANGUAGE sql IMMUTABLE
RETURN CASE WHEN once OR lease IS NOT NULL THEN NULL WHEN max_response_bytes IS NULL THEN 'simple'::unfinished ELSE 'limited' END;
-- The policy of a scope: each field comes from the longest scope that has it.
CREATE FUNCTION policy_of(scope text) RETURNS policy LANGUAGE plpgsql AS $$
#variable_conflict use_variable DECLARE p idempotency.policy[]; t idempotency.policy; BEGIN
	-- There are few policies: reading all of them costs less than planning a query by scope. The settings are the outermost
	-- policy; if the extension's library is loaded, sizes have a unit.
	SELECT pg_catalog.array_append(pg_catalog.array_agg(o ORDER BY o.scope DESC), ROW (NULL, idempotency.setting('default_ttl'),
		nullif(idempotency.setting('default_lease'), 'off'), NULL, NULL, NULL, pg_catalog.rtrim(idempotency.setting('min_key_length'), 'B'),
		NULL, NULL)::idempotency.policy) INTO p FROM idempotency.policy AS o WHERE idempotency.covers(o.scope, scope);
	t := p[1];
	FOR i IN 2 .. pg_catalog.cardinality(p) LOOP
		t := (t.scope, coalesce(t.ttl, p[i].ttl), coalesce(t.lease, p[i].lease), coalesce(t.wait, p[i].wait),
			coalesce(t.require_request, p[i].require_request), coalesce(t.require_issued, p[i].require_issued),
			coalesce(t.min_key_length, p[i].min_key_length), coalesce(t.max_response_bytes, p[i].max_response_bytes),
			coalesce(t.cache_errors, p[i].cache_errors));
	END LOOP;
	RETURN t;
END $$;
CREATE FUNCTION set_policy(scope text, ttl interval DEFAULT NULL, lease interval DEFAULT NULL, wait interval DEFAULT NULL,
	require_request boolean DEFAULT NULL, require_issued boolean DEFAULT NULL, min_key_length integer DEFAULT NULL,
	max_response_bytes integer DEFAULT NULL, cache_errors text[] DEFAULT NULL) RETURNS void LANGUAGE plpgsql AS $$
#variable_conflict use_variable BEGIN
	PERFORM check_scope(scope, 'of a policy', 'The empty scope is the default of the database.'), check_interval(ttl, 'ttl'),
		check_interval(lease, 'lease', 'for no lease.'), check_interval(wait, 'wait', 'to be answered at once.'),
		stored_errors(scope, cache_errors, 'none');
	PERFORM refuse('400', CASE WHEN min_key_length < 1 THEN 'min_key_length must be one or more' ELSE 'max_response_bytes must not be negative' END,
		NULL, 'Give a number of bytes, or NULL to inherit it.') WHERE min_key_length < 1 OR max_response_bytes < 0;
	INSERT INTO policy AS p VALUES (scope, ttl, lease, wait, require_request, require_issued, min_key_length, max_response_bytes, cache_errors)
	ON CONFLICT ON CONSTRAINT policy_pkey DO UPDATE
	SET (ttl, lease, wait, require_request, require_issued, min_key_length, max_response_bytes, cache_errors)
		= ROW (ttl, lease, wait, require_request, require_issued, min_key_length, max_response_bytes, cache_errors);
END $$;
CREATE FUNCTION drop_policy(scope text) RETURNS boolean LANGUAGE sql SECURITY DEFINER COST 10000 BEGIN ATOMIC
	WITH gone AS (DELETE FROM policy AS p WHERE p.scope = drop_policy.scope RETURNING 1) SELECT count(*) > 0 FROM gone; END;

CREATE FUNCTION stored_errors(scope text, cache_errors text[], command text) RETURNS text[] LANGUAGE plpgsql AS $$ BEGIN
	PERFORM CASE WHEN command IS NULL THEN refuse('400', 'command must not be null', NULL, 'Name the function that does the work.')
		ELSE refuse('400', 'command begins like JSON', 'The name of a function does not begin with "{" or "[", unless it is quoted.',
			'execute() takes key, scope, command and request.') END WHERE plain_command(command) IS NOT TRUE;
	IF cache_errors IS NULL THEN RETURN (policy_of(scope)).cache_errors; END IF;
	PERFORM refuse('400', 'cache_errors must contain SQLSTATEs or classes of SQLSTATEs', format('Element %s is neither.', e.n),
		'Give five digits or upper-case letters, such as 23505, or the two of a class, such as 23.')
	FROM unnest(cache_errors) WITH ORDINALITY AS e (code, n) WHERE (e.code ~ '^([0-9A-Z]{2}|[0-9A-Z]{5})$') IS NOT TRUE;
	RETURN cache_errors;
END $$;

-- ======== Claims.
CREATE FUNCTION check_claim(key text, scope text, request jsonb, ttl interval, lease interval, wait interval)
RETURNS policy LANGUAGE plpgsql AS $$ DECLARE t idempotency.policy; BEGIN
	IF idempotency.ruled() OR idempotency.set_by_settings() THEN t := idempotency.policy_of(scope); END IF;
	IF (idempotency.plain(key, scope) AND idempotency.plain_times(ttl, lease, wait) AND (request IS NOT NULL OR t.require_request IS NOT TRUE)
		AND pg_catalog.octet_length(key) OPERATOR(pg_catalog.>=) coalesce(t.min_key_length, 1) AND idempotency.setting('max_key_length') IS NULL) IS NOT TRUE THEN
		-- The longest key that fits into the index together with the longest scope has 1600 bytes.
		PERFORM idempotency.refuse_claim(key, scope, request, ttl, lease, wait, t,
			least(coalesce(pg_catalog.rtrim(idempotency.setting('max_key_length'), 'B')::integer, 255), 1600));
	END IF;
	RETURN t;
END $$;
CREATE FUNCTION refuse_claim(key text, scope text, request jsonb, ttl interval, lease interval, wait interval,
	t policy, max_key_length integer) RETURNS boolean LANGUAGE sql RETURN CASE
	WHEN check_key(left(key, 256), scope) OR check_interval(ttl, 'ttl') OR check_interval(lease, 'lease')
		OR check_interval(wait, 'wait', 'to be answered at once.') THEN NULL
	WHEN starts_with(scope, 'idempotency.issue/') THEN refuse('400', 'scope of the idempotency key is reserved',
		'Scopes that begin with "idempotency.issue/" belong to issue().', 'Use the scope that was passed to issue().')
	WHEN octet_length(key) > max_key_length THEN refuse('400', 'idempotency key is too long',
		format('The key has %s bytes; the maximum is %s.', octet_length(key), max_key_length), 'Shorten the key, or raise idempotency.max_key_length.')
	WHEN octet_length(key) < t.min_key_length THEN refuse('400', 'idempotency key is too short',
		format('The key has %s bytes; the minimum is %s.', octet_length(key), t.min_key_length),
		'Use a key that can''t be guessed, and that no two clients choose by chance, for instance a UUID.')
	WHEN request IS NULL AND t.require_request THEN refuse('400', format('request is missing for idempotency key "%s"', key),
		format('The policy of scope "%s" requires one.', scope), 'Pass the payload of the request as jsonb.') END;
CREATE FUNCTION answer(outcome text, r keys, key text, once boolean, at timestamptz) RETURNS claim_result
LANGUAGE plpgsql AS $$ DECLARE replay boolean := outcome = 'replay'; BEGIN
	INSERT INTO committable SELECT 0 WHERE false; -- raises the error of a read-only transaction
	PERFORM CASE WHEN NOT once THEN NULL
		WHEN outcome = 'mismatch' THEN refuse('422', format('idempotency key "%s" was used with a request', key),
			'The key was claimed by claim() or execute() with a request, and once() has none.', 'Use a scope of its own for each operation.')
		WHEN outcome = 'in_progress' THEN refuse('409', format('idempotency key "%s" is in progress', key),
			CASE WHEN r.key IS NULL THEN 'It is not known yet whether the other transaction commits.'
				WHEN own(r) THEN 'The current transaction has claimed it and not completed it.'
				ELSE 'It is claimed until its lease expires.' END, 'Try again later, or raise idempotency.default_wait.') END;
	RETURN ROW (outcome, false, CASE outcome WHEN 'in_progress' THEN 409 WHEN 'mismatch' THEN 422 WHEN 'expired' THEN 412
			ELSE CASE WHEN r.status = 'erased' THEN 410 ELSE coalesce(r.status_code, 200) END END,
		CASE WHEN replay THEN r.resource_id END, CASE WHEN replay THEN r.response END, NULL, NULL, NULL,
		CASE WHEN outcome = 'in_progress' THEN coalesce(CASE WHEN NOT own(r) THEN r.lease_until - at END, '1 s') END,
		r.claimed_at, r.completed_at, r.expires_at)::claim_result;
END $$;
-- Claim a key that has a row: issued, released, expired, or of an owner whose lease has expired; or one that may have to be
-- refused. The outcome is NULL if another session has locked or changed the row. No lock is kept if nothing was written.
CREATE FUNCTION claim_again(r keys, key text, scope text, request jsonb, first_sent timestamptz, at timestamptz,
	ttl interval, term interval, lease interval, issued_only boolean, once boolean, ending unfinished)
RETURNS claim_result LANGUAGE plpgsql AS $$
#variable_conflict use_variable DECLARE
	live boolean := coalesce(r.expires_at > at, false); recovered boolean := live AND r.status = 'in_progress'; c claim_result;
	-- An issued key keeps the ttl of issue().
	given interval := coalesce(ttl, CASE WHEN live AND r.status = 'issued' THEN r.ttl END);
BEGIN
	PERFORM refuse('404', format('idempotency key "%s" was not issued', key),
		format('The policy of scope "%s" requires keys that issue() has returned and that have not expired.', scope),
		'Call issue() and use the key that it returns.') WHERE issued_only AND NOT live;
	IF NOT try_lock(lock_number(key, scope)) THEN RETURN NULL; END IF;
	IF NOT live AND first_sent < at - coalesce(term, '1 day') THEN RAISE SQLSTATE 'IK001'; END IF;
	PERFORM FROM keys AS k WHERE k.scope = scope AND k.key = key
		AND (k.status, k.attempt, k.expires_at, k.lease_until) IS NOT DISTINCT FROM (r.status, r.attempt, r.expires_at, r.lease_until)
	FOR UPDATE SKIP LOCKED;
	IF NOT FOUND AND r.key IS NOT NULL THEN RAISE SQLSTATE 'IK002'; END IF;
	-- The attempt continues while an earlier owner has to be distinguished.
	INSERT INTO keys AS k (scope, key, fingerprint, status, attempt, lease_until, claimed_at, completed_at, expires_at,
		ttl, lease, claim_xid, unfinished)
	VALUES (scope, key, request, CASE WHEN once THEN 'completed' ELSE 'in_progress' END, 1, at + lease, at, CASE WHEN once THEN at END,
		expiry(at, coalesce(given, term), lease), given, lease, pg_current_xact_id(), ending)
	ON CONFLICT ON CONSTRAINT keys_pkey DO UPDATE SET fingerprint = request, status = excluded.status,
		status_code = NULL, resource_id = NULL, response = NULL,
		attempt = CASE WHEN live OR k.status = 'in_progress' THEN k.attempt ELSE 0 END + 1,
		recovery_point = CASE WHEN recovered THEN k.recovery_point END, state = CASE WHEN recovered THEN k.state END,
		lease_until = excluded.lease_until, claimed_at = at, completed_at = excluded.completed_at, expires_at = excluded.expires_at,
		ttl = given, lease = lease, claim_xid = excluded.claim_xid, unfinished = CASE WHEN ending IS NOT NULL THEN 'limited'::unfinished END
	WHERE r.key IS NOT NULL RETURNING CASE WHEN recovered THEN 'recovered' ELSE 'new' END, true, NULL, NULL, NULL, k.attempt,
		k.recovery_point, k.state, NULL, k.claimed_at, k.completed_at, k.expires_at INTO c;
	RETURN c;
EXCEPTION
	WHEN SQLSTATE 'IK001' THEN RETURN answer('expired', NULL, key, once, at);
	WHEN SQLSTATE 'IK002' THEN RETURN NULL;
END $$;
-- A new key takes as few statements and expressions as possible. "special" says whether there are more arguments than key,
-- scope and request, and "once" whether the claim is its own result.
CREATE FUNCTION claim_key(key text, scope text, request jsonb, ttl interval, lease interval, wait interval, first_sent timestamptz,
	kind text, special boolean, once boolean) RETURNS claim_result LANGUAGE plpgsql SECURITY DEFINER COST 10000 AS $$
#variable_conflict use_variable DECLARE
	at timestamp with time zone := pg_catalog.clock_timestamp();
	r idempotency.keys; c idempotency.claim_result; t idempotency.policy; outcome pg_catalog.text; term interval; ending idempotency.unfinished;
	until timestamp with time zone; lease_until timestamp with time zone; deadline timestamp with time zone; careful boolean; queued boolean;
BEGIN
	IF special OR idempotency.plain(key, scope) IS NOT TRUE OR idempotency.ruled() OR idempotency.set_by_settings() THEN
		t := idempotency.check_claim(key, scope, request, ttl, lease, wait);
		term := coalesce(ttl, t.ttl); wait := coalesce(wait, t.wait); lease := idempotency.lease(kind, lease, t.lease);
		careful := t.require_issued OR first_sent IS NOT NULL;
		ending := idempotency.ending(once, lease, t.max_response_bytes);
		special := true;
	END IF;
	LOOP
		-- After every wait this reads with a new snapshot.
		SELECT * INTO r FROM idempotency.keys AS k WHERE k.scope OPERATOR(pg_catalog.=) scope AND k.key OPERATOR(pg_catalog.=) key;
		IF FOUND OR careful THEN
			IF idempotency.completed(r, request, at) THEN RETURN ROW ('replay', false, coalesce(r.status_code, 200), r.resource_id, r.response,
				NULL, NULL, NULL, NULL, r.claimed_at, r.completed_at, r.expires_at)::idempotency.claim_result; END IF;
			outcome := idempotency.verdict(r, request, at);
			IF outcome IS NOT NULL THEN RETURN idempotency.answer(outcome, r, key, once, at); END IF;
			c := idempotency.claim_again(r, key, scope, request, first_sent, at, ttl, term, lease, t.require_issued, once, ending);
			IF c.outcome IS NOT NULL THEN RETURN c; END IF;
		ELSIF idempotency.try_lock(idempotency.lock_number(key, scope)) THEN
			IF special THEN until := idempotency.expiry(at, term, lease); lease_until := at OPERATOR(pg_catalog.+) lease; END IF;
			INSERT INTO idempotency.keys (scope, key, fingerprint, status, attempt, lease_until, claimed_at, completed_at, expires_at,
				ttl, lease, claim_xid, unfinished)
			VALUES (scope, key, request, CASE WHEN once THEN 'completed' ELSE 'in_progress' END, 1, lease_until, at, CASE WHEN once THEN at END,
				coalesce(until, at OPERATOR(pg_catalog.+) interval '1 day'), ttl, lease, pg_catalog.pg_current_xact_id(),
				CASE WHEN special OR once THEN ending ELSE 'simple' END) ON CONFLICT DO NOTHING;
			IF FOUND THEN RETURN ROW ('new', true, NULL, NULL, NULL, 1, NULL, NULL, NULL, at, NULL,
				coalesce(until, at OPERATOR(pg_catalog.+) interval '1 day'))::idempotency.claim_result; END IF;
			CONTINUE; -- as another session has inserted the row in between
		END IF;
		-- Another session has the lock. It may have ended since the row was read; if not, wait.
		IF deadline IS NULL THEN deadline := idempotency.deadline(wait);
		ELSIF NOT idempotency.await(key, scope, request, deadline, queued IS TRUE) THEN
			RETURN idempotency.answer('in_progress', NULL, key, once, at);
		ELSE queued := true; END IF;
		at := pg_catalog.clock_timestamp();
	END LOOP;
END $$;
CREATE FUNCTION claim(key text, scope text DEFAULT '', request jsonb DEFAULT NULL, ttl interval DEFAULT NULL, lease interval DEFAULT NULL,
	wait interval DEFAULT NULL, first_sent timestamptz DEFAULT NULL) RETURNS claim_result LANGUAGE sql COST 10000
RETURN claim_key(key, scope, request, ttl, lease, wait, first_sent, 'claim',
	coalesce(ttl, lease, wait) IS NOT NULL OR first_sent IS NOT NULL, false);
CREATE FUNCTION once(key text, scope text DEFAULT '', ttl interval DEFAULT NULL) RETURNS boolean LANGUAGE sql COST 10000
RETURN (claim_key(key, scope, NULL, ttl, NULL, NULL, NULL, 'once', ttl IS NOT NULL, true)).proceed;

-- ======== The owner's calls.
-- If the claim has ended with the same result, there is no error: the reply to an earlier call may have been lost.
CREATE FUNCTION refuse_end(key text, scope text, attempt integer, at timestamptz, end_status text DEFAULT NULL,
	response jsonb DEFAULT NULL, resource_id text DEFAULT NULL, status_code integer DEFAULT NULL) RETURNS boolean LANGUAGE plpgsql AS $$
#variable_conflict use_variable DECLARE r keys; fault text;
	name text := left(key, (SELECT max(n) FROM generate_series(0, 255) AS n WHERE octet_length(left(key, n)) <= 255)); BEGIN
	SELECT * INTO r FROM keys AS k WHERE k.scope = scope AND k.key = key;
	fault := CASE
		WHEN r.key IS NULL OR r.expires_at <= at AND NOT own(r) THEN 'Nothing is stored under this key and scope.'
		WHEN r.status = 'issued' THEN 'The key was issued and has not been claimed.'
		WHEN attempt IS NULL AND NOT own(r) OR attempt <> r.attempt THEN NULL
		WHEN (r.status, r.status_code, r.resource_id, r.response) IS NOT DISTINCT FROM (end_status, status_code, resource_id, response) THEN NULL
		WHEN r.status = 'released' THEN 'The claim was released.'
		WHEN r.status = 'erased' THEN 'The key was erased.'
		ELSE 'The claim has ended with a result.' END;
	RETURN CASE
		WHEN fault IS NOT NULL THEN refuse('404', format('no claim of idempotency key "%s" is in progress', name), fault,
			'Claim the key first, with the same key and scope' || CASE WHEN fault LIKE 'Nothing%' THEN
				'. If it was claimed, its transaction has ended in between: look for autocommit, an ORM or a framework that commits.'
			ELSE ', and end the claim once.' END)
		WHEN attempt IS NULL AND NOT own(r) THEN refuse('428', format('attempt is required for idempotency key "%s"', name),
			'The claim was made in an earlier transaction.',
			'Something committed in between. If claim and completion belong in one transaction, look for autocommit, an ORM or a '
			'framework that commits; if not, pass the attempt that claim() returned.')
		WHEN attempt <> r.attempt THEN refuse('423', format('idempotency key "%s" is owned by another attempt', name),
			format('Attempt %s does not own the key; the current attempt is %s.', attempt, r.attempt),
			'Stop this work; another owner does it. If this is frequent, make leases longer or call heartbeat() more often.') END;
END $$;
CREATE FUNCTION finish_otherwise(key text, scope text, failed boolean, response jsonb, resource_id text,
	status_code integer, attempt integer, ttl interval, at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
#variable_conflict use_variable DECLARE end_status text := CASE WHEN failed THEN 'failed' ELSE 'completed' END; t policy; BEGIN
	IF ruled() OR set_by_settings() THEN t := policy_of(scope); END IF;
	IF (plain(key, scope) AND plain_result(response, resource_id, status_code) AND ttl IS NULL
		AND t.max_response_bytes IS NULL AND setting('max_response_size') IS NULL AND attempt > 0) IS NOT TRUE THEN
		PERFORM check_key(key, scope), check_interval(ttl, 'ttl'), check_attempt(attempt),
			check_size('response', response, 'resource_id', resource_id, t.max_response_bytes),
			CASE WHEN status_code NOT BETWEEN 100 AND 599 THEN refuse('400', 'status_code must be an HTTP status',
				format('The value given is %s.', status_code), 'Give a number from 100 to 599, or leave it out.') END;
	END IF;
	PERFORM lock(key, scope);
	UPDATE keys AS k SET status = end_status, status_code = status_code, resource_id = resource_id, response = response,
		recovery_point = NULL, state = NULL, lease_until = NULL, completed_at = at, unfinished = NULL,
		expires_at = expiry(CASE WHEN ttl IS NULL AND own(k) THEN k.claimed_at ELSE at END, coalesce(ttl, k.ttl, t.ttl))
	WHERE k.scope = scope AND k.key = key AND owns(attempt, k, at);
	IF NOT FOUND THEN PERFORM refuse_end(key, scope, attempt, at, end_status, response, resource_id, status_code); END IF;
END $$;
-- Store a result. No other session has seen an unfinished claim of this transaction, and its ttl counts from the claim.
CREATE FUNCTION finish(key text, scope text, failed boolean, response jsonb, resource_id text, status_code integer,
	attempt integer, ttl interval, at timestamptz) RETURNS void LANGUAGE plpgsql SECURITY DEFINER COST 10000 AS $$
#variable_conflict use_variable BEGIN
	UPDATE idempotency.keys AS k SET status = CASE WHEN failed THEN 'failed' ELSE 'completed' END, status_code = status_code,
		resource_id = resource_id, response = response, completed_at = at, unfinished = NULL
	WHERE k.scope OPERATOR(pg_catalog.=) scope AND k.key OPERATOR(pg_catalog.=) key
		AND idempotency.ends_simply(k.unfinished, response, resource_id, status_code, attempt, ttl);
	IF NOT FOUND THEN PERFORM idempotency.finish_otherwise(key, scope, failed, response, resource_id, status_code, attempt, ttl, at); END IF;
END $$;
CREATE FUNCTION complete(key text, scope text DEFAULT '', response jsonb DEFAULT NULL, resource_id text DEFAULT NULL,
	status_code integer DEFAULT NULL, attempt integer DEFAULT NULL, ttl interval DEFAULT NULL) RETURNS void LANGUAGE sql COST 10000
RETURN finish(key, scope, false, response, resource_id, status_code, attempt, ttl, clock_timestamp());
CREATE FUNCTION fail(key text, scope text DEFAULT '', response jsonb DEFAULT NULL, resource_id text DEFAULT NULL,
	status_code integer DEFAULT NULL, attempt integer DEFAULT NULL, ttl interval DEFAULT NULL) RETURNS void LANGUAGE sql COST 10000
RETURN finish(key, scope, true, response, resource_id, status_code, attempt, ttl, clock_timestamp());
-- Keep only the attempt of a row. If a lease is given, an owner may still call, and the attempt must stay.
CREATE FUNCTION free(r keys, lease_until timestamptz) RETURNS void LANGUAGE sql BEGIN ATOMIC
	UPDATE keys AS k SET status = 'released', status_code = NULL, fingerprint = NULL, resource_id = NULL, response = NULL,
		recovery_point = NULL, state = NULL, lease_until = free.lease_until, completed_at = NULL, unfinished = NULL
	WHERE k.scope = r.scope AND k.key = r.key; END;
-- A key's row, under the key's lock, and with a row lock against sweep() and purge(). If there is none, no lock is kept.
CREATE FUNCTION hold(key text, scope text) RETURNS keys LANGUAGE plpgsql AS $$ DECLARE r keys; BEGIN
	PERFORM check_key(key, scope), lock(key, scope);
	SELECT * INTO STRICT r FROM keys AS k WHERE k.scope = hold.scope AND k.key = hold.key FOR UPDATE;
	RETURN r;
EXCEPTION WHEN no_data_found THEN RETURN NULL;
END $$;
CREATE FUNCTION hold_claim(key text, scope text, attempt integer) RETURNS keys LANGUAGE plpgsql AS $$ DECLARE r keys; BEGIN
	PERFORM check_key(key, scope), check_attempt(attempt);
	r := hold(key, scope);
	IF owns(attempt, r, clock_timestamp()) IS NOT TRUE THEN PERFORM refuse_end(key, scope, attempt, clock_timestamp()); END IF;
	RETURN r;
END $$;
CREATE FUNCTION release(key text, scope text DEFAULT '', attempt integer DEFAULT NULL) RETURNS void LANGUAGE sql SECURITY DEFINER COST 10000
RETURN free(hold_claim(key, scope, attempt), NULL);

CREATE FUNCTION renew(key text, scope text, attempt integer, lease interval, step boolean, recovery_point text, state jsonb)
RETURNS timestamptz LANGUAGE plpgsql AS $$ DECLARE r keys; until timestamptz; BEGIN
	PERFORM check_interval(lease, 'lease'), check_size('state', state, 'recovery_point', recovery_point, (policy_of(scope)).max_response_bytes);
	r := hold_claim(key, scope, attempt);
	until := clock_timestamp() + coalesce(lease, r.lease);
	PERFORM refuse('400', format('claim of idempotency key "%s" has no lease', key),
		'There is nothing to renew: neither the claim nor its policy has asked for a lease.', 'Give a lease for the claim.')
	WHERE until IS NULL AND NOT step;
	-- An unfinished claim never expires before its lease.
	UPDATE keys AS k SET lease_until = until, lease = coalesce(r.lease, renew.lease), expires_at = greatest(k.expires_at, until),
		unfinished = CASE WHEN until IS NULL THEN 'limited'::unfinished END,
		recovery_point = CASE WHEN step THEN renew.recovery_point ELSE k.recovery_point END,
		state = CASE WHEN step THEN renew.state ELSE k.state END WHERE k.scope = r.scope AND k.key = r.key;
	RETURN until;
END $$;
CREATE FUNCTION heartbeat(key text, scope text DEFAULT '', attempt integer DEFAULT NULL, lease interval DEFAULT NULL)
RETURNS timestamptz LANGUAGE sql COST 10000 RETURN renew(key, scope, attempt, lease, false, NULL, NULL);
CREATE FUNCTION checkpoint(key text, scope text DEFAULT '', recovery_point text DEFAULT NULL, state jsonb DEFAULT NULL,
	attempt integer DEFAULT NULL, lease interval DEFAULT NULL) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
	PERFORM renew(key, scope, attempt, lease, true, recovery_point, state);
END $$;
CREATE FUNCTION lookup(key text, scope text DEFAULT '') RETURNS SETOF keys LANGUAGE plpgsql PARALLEL RESTRICTED ROWS 1 AS $$ BEGIN
	PERFORM check_key(key, scope);
	RETURN QUERY SELECT * FROM keys AS k WHERE k.scope = lookup.scope AND k.key = lookup.key AND k.expires_at > clock_timestamp();
END $$;

-- ======== One call, and batches.
-- Make a problem document (RFC 9457) from an error.
CREATE FUNCTION problem(code text, message text, hint text) RETURNS jsonb LANGUAGE plpgsql AS $$ DECLARE
	titles CONSTANT jsonb := '{"400": "Bad Request", "401": "Unauthorized", "402": "Payment Required", "403": "Forbidden", "404": "Not Found",
		"405": "Method Not Allowed", "406": "Not Acceptable", "409": "Conflict", "410": "Gone", "412": "Precondition Failed", "413": "Content Too Large",
		"415": "Unsupported Media Type", "422": "Unprocessable Content", "423": "Locked", "428": "Precondition Required", "429": "Too Many Requests",
		"500": "Internal Server Error", "501": "Not Implemented", "502": "Bad Gateway", "503": "Service Unavailable", "504": "Gateway Timeout"}';
	status text := CASE
		WHEN left(code, 2) IN ('PT', coalesce(setting('sqlstate_prefix'), 'IK')) AND titles ? right(code, 3) THEN right(code, 3)
		WHEN code IN ('23505', '23503', '23P01') THEN '409'
		ELSE coalesce('{"42501": "403", "P0002": "404", "P0001": "400"}'::jsonb->>code, CASE WHEN left(code, 2) IN ('22', '23') THEN '422' ELSE '500' END) END;
BEGIN
	RETURN jsonb_strip_nulls(jsonb_build_object('type', 'about:blank', 'title', titles->>status, 'status', status::integer,
		'detail', message, 'hint', nullif(hint, ''), 'sqlstate', code));
END $$;
CREATE FUNCTION plain_command(command text) RETURNS boolean LANGUAGE sql IMMUTABLE RETURN ascii(command) <> ALL (ARRAY[ascii('{'), ascii('[')]);
-- A parenthesis outside quotes begins a signature.
CREATE FUNCTION signature(command text) RETURNS text LANGUAGE sql IMMUTABLE
RETURN command || CASE WHEN command ~ '^([^"(]|"[^"]*")*[(]' THEN '' ELSE '(pg_catalog.jsonb)' END;
CREATE FUNCTION is_command(p pg_proc, signature regprocedure) RETURNS boolean LANGUAGE sql IMMUTABLE RETURN p.oid = signature::oid
	AND p.prokind = 'f' AND NOT p.proretset AND p.prorettype = 'jsonb'::regtype::oid AND p.pronargs = 1 AND p.proargtypes[0] = 'jsonb'::regtype::oid;
CREATE FUNCTION is_stored(code text, errors text[]) RETURNS boolean LANGUAGE sql IMMUTABLE
RETURN code NOT IN ('40001', '40P01') AND code NOT LIKE '57%' AND (code = ANY (errors) OR left(code, 2) = ANY (errors));
-- The command is looked up and run with the caller's role and search_path, which this function does not change.
CREATE FUNCTION execute(key text, scope text, command text, request jsonb DEFAULT NULL, ttl interval DEFAULT NULL,
	wait interval DEFAULT NULL, cache_errors text[] DEFAULT NULL) RETURNS claim_result LANGUAGE plpgsql COST 10000 AS $$
DECLARE
	c idempotency.claim_result; errors pg_catalog.text[]; call pg_catalog.text; name pg_catalog.text; allowed boolean;
	failed boolean := false; message pg_catalog.text; hint pg_catalog.text;
BEGIN
	IF idempotency.plain_command(command) IS NOT TRUE OR cache_errors IS NOT NULL OR idempotency.ruled() THEN
		errors := idempotency.stored_errors(scope, cache_errors, command);
	END IF;
	c := idempotency.claim_key(key, scope, request, ttl, NULL, wait, NULL, 'execute', coalesce(ttl, wait) IS NOT NULL, false);
	IF NOT c.proceed THEN RETURN c; END IF;
	SELECT pg_catalog.format('SELECT %s($1)', p.oid::pg_catalog.regproc), p.proname, pg_catalog.has_function_privilege(p.oid, 'EXECUTE')
	INTO call, name, allowed FROM pg_catalog.pg_proc AS p WHERE idempotency.is_command(p, idempotency.signature(command)::pg_catalog.regprocedure);
	IF allowed THEN NULL;
	ELSIF NOT allowed THEN RAISE insufficient_privilege USING MESSAGE = pg_catalog.format('permission denied for function %s', name);
	ELSE PERFORM idempotency.refuse('400', pg_catalog.format('command "%s" is not a function of jsonb that returns jsonb', command), NULL,
			'Name a function such as one created by CREATE FUNCTION pay(request jsonb) RETURNS jsonb.');
	END IF;
	IF errors IS NULL THEN EXECUTE call INTO c.response USING request;
	ELSE
		BEGIN
			EXECUTE call INTO c.response USING request;
		EXCEPTION WHEN OTHERS THEN
			IF idempotency.is_stored(SQLSTATE, errors) IS NOT TRUE THEN RAISE; END IF;
			GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
			c.response := idempotency.problem(SQLSTATE, message, hint);
			c.status_code := pg_catalog.jsonb_object_field_text(c.response, 'status')::integer;
			failed := true;
		END;
	END IF;
	c.resource_id := pg_catalog.jsonb_object_field_text(c.response, 'id');
	c.completed_at := pg_catalog.clock_timestamp();
	-- An expression costs less than PERFORM.
	c.status_code := CASE WHEN idempotency.finish(key, scope, failed, c.response, c.resource_id, c.status_code, NULL, NULL, c.completed_at) IS NOT NULL
		THEN coalesce(c.status_code, 201) END;
	RETURN c;
END $$;
CREATE FUNCTION check_arrays(keys text[], scope text, VARIADIC lengths text[]) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
	PERFORM refuse('400', 'keys must not be null', NULL, 'Pass an array of idempotency keys.') WHERE keys IS NULL;
	PERFORM check_key(k, scope) FROM unnest(keys) AS k WHERE (k <> '') IS NOT TRUE;
	PERFORM refuse('400', lengths[i] || ' must have an element for each key',
		format('There are %s keys and %s elements.', cardinality(keys), lengths[i + 1]), 'Use NULL as the element of a key that has none.')
	FROM generate_series(1, cardinality(lengths), 2) AS i WHERE lengths[i + 1]::integer <> cardinality(keys);
END $$;
-- Every batch locks its keys in the order of their lock numbers, so that two batches never wait for each other.
CREATE FUNCTION claim_many(keys text[], scope text DEFAULT '', requests jsonb[] DEFAULT NULL, ttl interval DEFAULT NULL, lease interval DEFAULT NULL,
	wait interval DEFAULT NULL) RETURNS TABLE (ord bigint, key text, outcome text, proceed boolean, status_code integer, resource_id text,
	response jsonb, attempt integer, recovery_point text, state jsonb, retry_after interval, claimed_at timestamptz, completed_at timestamptz, expires_at timestamptz)
LANGUAGE plpgsql AS $$ DECLARE until timestamptz; BEGIN
	PERFORM check_arrays(keys, scope, 'requests', cardinality(requests)::text), check_interval(ttl, 'ttl'),
		check_interval(lease, 'lease'), check_interval(wait, 'wait', 'to be answered at once.');
	until := deadline(coalesce(wait, (policy_of(scope)).wait));
	RETURN QUERY SELECT c.n, c.name, (c.result).* FROM (SELECT u.n, u.name, claim_key(u.name, scope, u.request, ttl, lease,
			least(greatest(until - clock_timestamp(), '0'), '4999 years'), NULL, 'claim', true, false) AS result
		FROM (SELECT * FROM unnest(keys, requests) WITH ORDINALITY AS k (name, request, n) ORDER BY lock_number(k.name, scope), k.n) AS u
		OFFSET 0) AS c ORDER BY c.n;
END $$;
CREATE FUNCTION complete_many(keys text[], scope text DEFAULT '', responses jsonb[] DEFAULT NULL, resource_ids text[] DEFAULT NULL,
	status_codes integer[] DEFAULT NULL, attempts integer[] DEFAULT NULL) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN
	PERFORM check_arrays(keys, scope, 'responses', cardinality(responses)::text, 'resource_ids', cardinality(resource_ids)::text,
		'status_codes', cardinality(status_codes)::text, 'attempts', cardinality(attempts)::text);
	PERFORM finish(e.key, scope, false, e.response, e.resource_id, e.status_code, e.attempt, NULL, clock_timestamp())
	FROM (SELECT u.* FROM unnest(keys, responses, resource_ids, status_codes, attempts)
			WITH ORDINALITY AS u (key, response, resource_id, status_code, attempt, n) ORDER BY lock_number(u.key, scope), u.n) AS e;
	RETURN cardinality(keys);
END $$;

-- ======== Keys.
-- A subject's record, in a scope of its own, names the issued key; the key's own row says whether the key still exists.
-- The record is kept for three ttls: the key is claimed within the first, completed within the second, then remembered.
CREATE FUNCTION issue(scope text, subject text, ttl interval DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
#variable_conflict use_variable DECLARE
	record_scope text := 'idempotency.issue/' || scope; at timestamptz := clock_timestamp(); t policy; r keys; deadline timestamptz; locked boolean;
	-- A UUID of version 7: 48 bits of time, the others random.
	name text := encode(set_byte(overlay(uuid_send(gen_random_uuid()) PLACING substring(int8send((extract(epoch FROM at) * 1000)::bigint) FROM 3) FROM 1),
		6, (get_byte(uuid_send(gen_random_uuid()), 0) & 15) | 112), 'hex')::uuid;
BEGIN
	INSERT INTO committable SELECT 0 WHERE false; -- raises the error of a read-only transaction
	PERFORM CASE
		WHEN scope IS NULL THEN check_scope(scope, hint => 'Pass the scope that the key will be claimed in.')
		WHEN (subject <> '') IS NOT TRUE THEN
			refuse('400', 'subject must not be ' || CASE WHEN subject IS NULL THEN 'null' ELSE 'empty' END, NULL,
				'Pass the id of what the key is for, such as a cart or payment intent.')
		WHEN octet_length(subject) > 1000 THEN refuse('400', 'subject is too long',
			format('It has %s bytes; the maximum is 1000.', octet_length(subject)), 'Pass the id of what the key is for, not its content.') END;
	t := check_claim(name, scope, 'null', ttl, NULL, NULL);
	deadline := deadline(t.wait);
	LOOP
		SELECT * INTO r FROM keys AS k WHERE k.scope = record_scope AND k.key = subject;
		IF EXISTS (SELECT FROM keys AS k WHERE k.scope = scope AND k.key = r.resource_id AND k.expires_at > clock_timestamp()) THEN
			RETURN r.resource_id;
		ELSIF locked THEN
			at := clock_timestamp();
			INSERT INTO keys AS k (scope, key, status, attempt, resource_id, claimed_at, completed_at, expires_at)
			VALUES (record_scope, subject, 'completed', 1, name, at, at, at + least(3 * greatest(ttl, coalesce(t.ttl, '1 day')), '5000 years'))
			ON CONFLICT ON CONSTRAINT keys_pkey DO UPDATE SET resource_id = name, claimed_at = at, completed_at = at, expires_at = excluded.expires_at
			WHERE k.resource_id = r.resource_id;
			EXIT WHEN FOUND;
		ELSIF try_lock(lock_number(subject, record_scope)) THEN locked := true;
		ELSIF NOT await(subject, record_scope, NULL, deadline, false) THEN
			PERFORM refuse('409', format('another transaction is issuing the key of "%s"', left(subject, 255)),
				'It has not ended within the time that the policy lets a claim wait.',
				'Call issue() again. Commit soon after a key was issued, or raise idempotency.default_wait.');
		END IF;
	END LOOP;
	PERFORM try_lock(lock_number(name, scope)); -- which is free, as nobody else knows the key
	INSERT INTO keys (scope, key, status, attempt, expires_at, ttl) VALUES (scope, name, 'issued', 0, expiry(at, coalesce(ttl, t.ttl)), ttl);
	RETURN name;
END $$;
CREATE FUNCTION derive(key text, purpose text) RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE hash bytea := sha256(int8send(octet_length(convert_to(key, 'UTF8'))) || convert_to(key, 'UTF8') || convert_to(purpose, 'UTF8')); BEGIN
	PERFORM refuse('400', v.name || ' must not be ' || CASE WHEN v.value IS NULL THEN 'null' ELSE 'empty' END, NULL,
		'Pass the key of the request, and a name for the call for which the key is derived.')
	FROM (VALUES ('key', key), ('purpose', purpose)) AS v (name, value) WHERE (v.value <> '') IS NOT TRUE;
	RETURN encode(set_byte(set_byte(substring(hash FROM 1 FOR 16), 6, get_byte(hash, 6) & 15 | 128), 8, get_byte(hash, 8) & 63 | 128), 'hex')::uuid;
END $$;

-- ======== Operation.
-- Rows that another session has locked are left for the next sweep.
CREATE FUNCTION sweep(max_rows bigint DEFAULT NULL, OUT slots_cleared integer, OUT rows_deleted bigint) LANGUAGE plpgsql AS $$ BEGIN
	PERFORM refuse('400', 'max_rows must not be negative', format('The value given is %s.', max_rows), 'Leave it out for 10000.') WHERE max_rows < 0;
	slots_cleared := 0;
	DELETE FROM keys AS k WHERE k.ctid = ANY (ARRAY(SELECT e.ctid FROM keys AS e WHERE e.expires_at <= clock_timestamp() AND NOT own(e)
		ORDER BY e.expires_at LIMIT coalesce(max_rows, 10000) FOR UPDATE SKIP LOCKED));
	GET DIAGNOSTICS rows_deleted = ROW_COUNT;
END $$;
-- Remove a locked row. The attempt of an unfinished claim stays, so that its owner is recognized as superseded.
CREATE FUNCTION remove(r keys) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE live boolean := coalesce(r.expires_at > clock_timestamp(), false); BEGIN
	IF live AND NOT (r.attempt = 1 AND own(r)) AND (r.status = 'in_progress' OR r.status = 'released' AND r.lease_until IS NOT NULL) THEN
		IF r.status = 'released' THEN RETURN false; END IF;
		PERFORM free(r, greatest(r.lease_until, clock_timestamp()));
	ELSE DELETE FROM keys AS k WHERE k.scope = r.scope AND k.key = r.key;
	END IF;
	RETURN live;
END $$;
CREATE FUNCTION in_scope(scope text, above text) RETURNS boolean LANGUAGE sql IMMUTABLE RETURN scope = above OR starts_with(scope, above || '/');
CREATE FUNCTION forget(key text, scope text DEFAULT '') RETURNS boolean LANGUAGE sql SECURITY DEFINER COST 10000 RETURN remove(hold(key, scope));
CREATE FUNCTION purge(scope text) RETURNS bigint LANGUAGE plpgsql AS $$ DECLARE r keys; purged bigint := 0; BEGIN
	PERFORM check_scope(scope, 'to purge', 'Name the scope; the empty one is a scope too.');
	FOR r IN SELECT * FROM keys AS k WHERE in_scope(k.scope, purge.scope) ORDER BY lock_number(k.key, k.scope) FOR UPDATE LOOP
		purged := purged + remove(r)::integer;
	END LOOP;
	RETURN purged;
END $$;
CREATE FUNCTION erase(key text, scope text DEFAULT '') RETURNS boolean LANGUAGE plpgsql AS $$ DECLARE r keys := hold(key, scope); BEGIN
	PERFORM refuse('409', format('idempotency key "%s" is in progress', key), 'There is no result yet to be erased.',
		'Try again once the claim has ended, or forget the key.') WHERE r.status = 'in_progress' AND r.expires_at > clock_timestamp();
	UPDATE keys AS k SET status = 'erased', fingerprint = NULL, response = NULL, state = NULL
	WHERE k.scope = r.scope AND k.key = r.key AND k.status IN ('completed', 'failed', 'erased') AND k.expires_at > clock_timestamp();
	RETURN FOUND;
END $$;
CREATE FUNCTION erase_scope(scope text) RETURNS bigint LANGUAGE plpgsql AS $$ DECLARE erased bigint; BEGIN
	PERFORM check_scope(scope, 'to erase', 'Name the scope; the empty one is a scope too.');
	UPDATE keys AS k SET status = 'erased', fingerprint = NULL, response = NULL, state = NULL
	WHERE in_scope(k.scope, erase_scope.scope) AND k.status IN ('completed', 'failed') AND k.expires_at > clock_timestamp();
	GET DIAGNOSTICS erased = ROW_COUNT;
	RETURN erased;
END $$;

-- ======== Privileges: none for PUBLIC; applications call functions, and read no table.
CREATE FUNCTION grant_usage(role regrole, command text DEFAULT 'GRANT %s TO %s') RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, idempotency, pg_temp AS $$ BEGIN
	EXECUTE format(command, 'USAGE ON SCHEMA idempotency', role);
	EXECUTE format(command, (SELECT 'EXECUTE ON FUNCTION ' || string_agg(p.oid::regprocedure::text, ', ') FROM pg_proc AS p
		WHERE p.pronamespace = 'idempotency'::regnamespace AND p.proname = ANY ('{claim, complete, fail, release, heartbeat, checkpoint, lookup,
			execute, once, claim_many, complete_many, issue, derive, claim_key, finish, renew, stored_errors, problem, refuse, ruled, plain_command,
			signature, is_command, is_stored}')), role);
END $$;
CREATE FUNCTION revoke_usage(role regrole) RETURNS void LANGUAGE sql SET search_path = pg_catalog, idempotency, pg_temp
RETURN grant_usage(role, 'REVOKE %s FROM %s');

DO $$ DECLARE target text; BEGIN
	FOR target IN SELECT p.oid::regprocedure FROM pg_proc AS p JOIN pg_language AS l ON l.oid = p.prolang
		WHERE p.pronamespace = 'idempotency'::regnamespace AND l.lanname = 'plpgsql'
			AND p.proname <> ALL ('{claim_key, finish, execute, check_claim, policy_of, try_counted_lock, grant_usage}') LOOP
		EXECUTE format('ALTER FUNCTION %s SECURITY DEFINER COST 10000 SET search_path = pg_catalog, idempotency, pg_temp', target);
	END LOOP;
	-- Default privileges may have granted more.
	FOR target IN SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END
		FROM (SELECT nspacl FROM pg_namespace WHERE oid = 'idempotency'::regnamespace
			UNION ALL SELECT relacl FROM pg_class WHERE relnamespace = 'idempotency'::regnamespace
			UNION ALL SELECT coalesce(proacl, acldefault('f', proowner)) FROM pg_proc WHERE pronamespace = 'idempotency'::regnamespace) AS o (acl),
			aclexplode(o.acl) AS a WHERE a.grantee <> quote_ident(current_user)::regrole LOOP
		EXECUTE format('REVOKE ALL ON SCHEMA idempotency FROM %1$s; REVOKE ALL ON ALL TABLES IN SCHEMA idempotency FROM %1$s;
			REVOKE ALL ON ALL FUNCTIONS IN SCHEMA idempotency FROM %1$s', target);
	END LOOP;
	PERFORM set_config('search_path', current_setting('idempotency_portable.search_path'), false);
END $$;
