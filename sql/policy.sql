-- The policies of a scope determine the rules of a claim: for each field, the
-- policy with the longest scope that sets it applies, else the setting, and
-- explicit arguments override all.
CREATE FUNCTION terms(scope text, key text DEFAULT 'terms') RETURNS TABLE (ttl interval, lease interval) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM idempotency.claim(terms.key, terms.scope, '1');
	RETURN QUERY SELECT k.expires_at - k.claimed_at, k.lease_until - k.claimed_at FROM idempotency.lookup(terms.key, terms.scope) AS k;
	PERFORM idempotency.forget(terms.key, terms.scope);
END $$;

-- inheritance by prefixes that end at a slash
SELECT idempotency.set_policy('policy', ttl => '3 hours', lease => '3 minutes');
SELECT idempotency.set_policy('policy/a', ttl => '4 hours');
SELECT idempotency.set_policy('policy/a/b', lease => '5 minutes');
SELECT idempotency.set_policy('policy/slash/', ttl => '6 hours');
SELECT idempotency.set_policy('/', ttl => '7 hours');
SELECT scope, terms.* FROM unnest('{policy, policy/, policy/x, policy/a, policy/a/x/y, policy/ab, policy/a/b, policy/a/b/c, policy/a/bc, policies, polic, policy-a,
	policy/slash, policy/slash/, policy/slash/x, policy/slash/x/y, policy/slashes, /, /x, //, x/policy, Policy, "policy /"}'::text[]) AS scope, terms(scope);

-- the default of the database, then the settings
SET idempotency.default_ttl = '30 minutes';
SET idempotency.default_lease = '30 seconds';
SELECT scope, terms.* FROM unnest('{policy/a/b, policies, ""}'::text[]) AS scope, terms(scope);
SELECT idempotency.set_policy('', lease => '8 minutes');
SELECT scope, terms.* FROM unnest('{policy, policy/a/b, policies, "", x/y}'::text[]) AS scope, terms(scope);
SELECT idempotency.set_policy('', ttl => '8 hours');
SELECT scope, terms.* FROM unnest('{policy, policy/a/b, policies, "", x/y}'::text[]) AS scope, terms(scope);
RESET idempotency.default_ttl;
RESET idempotency.default_lease;

-- a lease of zero means none, under a parent that has one
SELECT idempotency.set_policy('policy/none', lease => '0');
SELECT scope, terms.* FROM unnest('{policy/none, policy/none/x, policy/nonesuch}'::text[]) AS scope, terms(scope);
SELECT idempotency.drop_policy('policy/none');

-- replaced as a whole, and dropped
SELECT idempotency.set_policy('policy', wait => '0');
SELECT * FROM terms('policy');
SELECT scope, ttl, lease, wait, require_request, require_issued, min_key_length, max_response_bytes, cache_errors FROM idempotency.policy WHERE scope = 'policy';
SELECT idempotency.drop_policy('policy'), idempotency.drop_policy('policy'), idempotency.drop_policy('nothing'), idempotency.drop_policy(NULL);
SELECT idempotency.drop_policy(''), idempotency.drop_policy('/');
SELECT scope, terms.* FROM unnest('{policy, policy/a, policies, /x}'::text[]) AS scope, terms(scope);

-- explicit arguments win
SELECT expires_at - claimed_at AS ttl FROM idempotency.claim('argument', 'policy/a/b', ttl => '1 hour', lease => '1 minute');
SELECT lease_until - claimed_at AS lease FROM idempotency.lookup('argument', 'policy/a/b');
SELECT idempotency.set_policy('policy/a/b', lease => '5 minutes', wait => '0');

-- a later policy decides the ttl of the completion, but not the lease of the claim
SELECT outcome FROM idempotency.claim('later', 'policy/a/b');
SELECT idempotency.set_policy('policy/a/b', ttl => '20 hours', lease => '20 minutes');
SELECT idempotency.heartbeat('later', 'policy/a/b', 1) < clock_timestamp() + interval '6 minutes' AS lease_of_the_claim;
SELECT idempotency.complete('later', 'policy/a/b', attempt => 1);
SELECT expires_at - completed_at AS ttl FROM idempotency.lookup('later', 'policy/a/b');

-- require_request
SELECT idempotency.set_policy('policy/request', require_request => true);
SELECT idempotency.set_policy('policy/request/not', require_request => false);
SELECT idempotency.claim('k', 'policy/request');
SELECT outcome FROM idempotency.claim('k', 'policy/request', 'null', lease => '1 minute');
SELECT outcome FROM idempotency.claim('k', 'policy/request/not', lease => '1 minute');
\set VERBOSITY sqlstate
SELECT idempotency.claim('k', 'policy/request');
SELECT idempotency.claim('k', 'policy/request/below');
SELECT idempotency.execute('k', 'policy/request', 'nothing');
SELECT idempotency.once('k', 'policy/request');
SELECT idempotency.claim_many('{k}', 'policy/request');
\set VERBOSITY default

-- require_issued
SELECT idempotency.set_policy('policy/issued', require_issued => true);
SELECT idempotency.set_policy('policy/issued/not', require_issued => false);
SELECT idempotency.claim('made up', 'policy/issued');
SELECT outcome FROM idempotency.claim('made up', 'policy/issued/not', lease => '1 minute');
SELECT idempotency.issue('policy/issued', 'cart') AS key \gset
SELECT outcome FROM idempotency.claim(:'key', 'policy/issued', '1', lease => '1 minute');
SELECT idempotency.complete(:'key', 'policy/issued', '"ordered"', attempt => 1);
SELECT outcome, response FROM idempotency.claim(:'key', 'policy/issued', '1');
SELECT idempotency.issue('policy/issued', 'cart 2', '1 us') AS key \gset
SELECT pg_sleep(0.001);
\set VERBOSITY sqlstate
SELECT idempotency.claim(:'key', 'policy/issued');
SELECT idempotency.claim('made up', 'policy/issued/below');
SELECT idempotency.execute('made up', 'policy/issued', 'nothing');
SELECT idempotency.once('made up', 'policy/issued');
SELECT idempotency.claim_many('{made up}', 'policy/issued');
\set VERBOSITY default

-- min_key_length
SELECT idempotency.set_policy('policy/length', min_key_length => 8);
SELECT idempotency.set_policy('policy/length/less', min_key_length => 2);
SELECT idempotency.claim('1234567', 'policy/length');
SELECT outcome FROM idempotency.claim('12345678', 'policy/length', lease => '1 minute');
SELECT outcome FROM idempotency.claim('12', 'policy/length/less', lease => '1 minute');
SET idempotency.min_key_length = 10;
SELECT outcome FROM idempotency.claim('123456789', 'policy/length', lease => '1 minute');
RESET idempotency.min_key_length;
\set VERBOSITY sqlstate
SELECT idempotency.claim('1', 'policy/length/less');
SELECT idempotency.once('1', 'policy/length');
\set VERBOSITY default

-- max_response_bytes
SELECT idempotency.set_policy('policy/response', max_response_bytes => 100);
SELECT idempotency.set_policy('policy/response/none', max_response_bytes => 0);
SELECT idempotency.set_policy('policy/response/large', max_response_bytes => 2000000);
BEGIN;
SELECT outcome FROM idempotency.claim('k', 'policy/response');
SAVEPOINT claimed;
SELECT idempotency.complete('k', 'policy/response', to_jsonb(repeat('x', 200)));
ROLLBACK TO claimed;
SELECT idempotency.complete('k', 'policy/response', to_jsonb(repeat('x', 50)));
COMMIT;
BEGIN;
SELECT outcome FROM idempotency.claim('k', 'policy/response/none');
SELECT idempotency.complete('k', 'policy/response/none');
SELECT outcome FROM idempotency.claim('k', 'policy/response/large');
SELECT idempotency.complete('k', 'policy/response/large', to_jsonb(repeat('x', 1500000)));
COMMIT;
SELECT outcome, length(response::text) FROM idempotency.claim('k', 'policy/response/large');

-- a policy that is rolled back
BEGIN;
SELECT idempotency.set_policy('policy/rollback', ttl => '9 hours');
SELECT ttl FROM terms('policy/rollback/x');
SAVEPOINT made;
SELECT idempotency.set_policy('policy/rollback', ttl => '10 hours');
SELECT ttl FROM terms('policy/rollback/x');
ROLLBACK TO made;
SELECT ttl FROM terms('policy/rollback/x');
SELECT idempotency.drop_policy('policy/rollback');
SELECT ttl FROM terms('policy/rollback/x');
ROLLBACK TO made;
SELECT ttl FROM terms('policy/rollback/x');
ROLLBACK;
SELECT ttl FROM terms('policy/rollback/x');
-- an older snapshot does not hide the policy
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT idempotency.set_policy('policy/rollback', ttl => '9 hours');
SELECT ttl FROM terms('policy/rollback/x');
COMMIT;
SELECT ttl FROM terms('policy/rollback/x');

-- written by hand
UPDATE idempotency.policy SET ttl = '11 hours' WHERE scope = 'policy/rollback';
SELECT ttl FROM terms('policy/rollback/x');
DELETE FROM idempotency.policy WHERE scope = 'policy/rollback';
SELECT ttl FROM terms('policy/rollback/x');
INSERT INTO idempotency.policy (scope, ttl) VALUES ('policy/rollback', '12 hours');
SELECT ttl FROM terms('policy/rollback/x');
BEGIN;
TRUNCATE idempotency.policy;
SELECT ttl FROM terms('policy/rollback/x');
ROLLBACK;
SELECT ttl FROM terms('policy/rollback/x');

-- many policies, and long scopes
SELECT count(idempotency.set_policy('policy/many/' || n, ttl => make_interval(secs => n))) FROM generate_series(1, 2000) AS n;
SELECT count(*) FROM generate_series(1, 2000, 7) AS n, terms('policy/many/' || n || '/x') AS t WHERE t.ttl = make_interval(secs => n);
SELECT idempotency.set_policy('policy/' || repeat('x', 900), ttl => '13 hours');
SELECT ttl FROM terms('policy/' || repeat('x', 900) || '/y');
SELECT idempotency.set_policy('policy/größe', ttl => '14 hours');
SELECT ttl FROM terms('policy/größe/y');

-- bad arguments
SELECT idempotency.set_policy(NULL);
SELECT idempotency.set_policy('bad', ttl => '0');
SELECT idempotency.set_policy('bad', lease => '-1 s');
SELECT idempotency.set_policy('bad', wait => '-1 s');
SELECT idempotency.set_policy('bad', min_key_length => 0);
SELECT idempotency.set_policy('bad', max_response_bytes => -1);
SELECT idempotency.set_policy('bad', cache_errors => '{23, abc}');
\set VERBOSITY sqlstate
SELECT idempotency.set_policy(NULL);
SELECT idempotency.set_policy('bad', ttl => '0');
SELECT idempotency.set_policy('bad', ttl => '-1 s');
SELECT idempotency.set_policy('bad', ttl => '1000000 years');
SELECT idempotency.set_policy('bad', wait => '-1 s');
SELECT idempotency.set_policy('bad', min_key_length => 0);
SELECT idempotency.set_policy('bad', max_response_bytes => -1);
SELECT idempotency.set_policy('bad', cache_errors => '{23, abc}');
BEGIN READ ONLY;
SELECT idempotency.set_policy('bad', ttl => '1 day');
ROLLBACK;
-- the constraints refuse the same values
INSERT INTO idempotency.policy (scope, ttl) VALUES ('bad', '0');
INSERT INTO idempotency.policy (scope, lease) VALUES ('bad', '-1 s');
INSERT INTO idempotency.policy (scope, wait) VALUES ('bad', '-1 s');
INSERT INTO idempotency.policy (scope, min_key_length) VALUES ('bad', 0);
INSERT INTO idempotency.policy (scope, max_response_bytes) VALUES ('bad', -1);
\set VERBOSITY default
SELECT count(*) FROM idempotency.policy WHERE scope = 'bad';

SELECT count(*) AS dropped FROM idempotency.policy AS p, idempotency.drop_policy(p.scope) AS d WHERE d;
SELECT count(*) AS forgotten FROM idempotency.keys AS k, idempotency.forget(k.key, k.scope) AS f WHERE k.scope LIKE 'policy/%' AND f;
DROP FUNCTION terms(text, text);
