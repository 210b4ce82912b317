-- Every function that writes has a cost that makes the planner call it after
-- the other conditions: a condition on the scope holds, wherever it is
-- written.
CREATE FUNCTION costly_condition(value text) RETURNS boolean LANGUAGE plpgsql COST 1000 AS $$ BEGIN RETURN value LIKE 'last/7%'; END $$;
SELECT idempotency.once(key, scope) FROM (VALUES ('a', 'last/7'), ('b', 'last/7/8'), ('c', 'last/70'), ('a', 'last/8'), ('b', 'last')) AS k (key, scope);

SELECT key, scope FROM idempotency.keys
WHERE idempotency.erase(key, scope) AND (scope = 'last/7' OR scope LIKE 'last/7/%') AND scope LIKE 'last%' ORDER BY scope;
SELECT scope, key, status FROM idempotency.keys WHERE scope LIKE 'last%' ORDER BY scope;
SELECT key, scope FROM idempotency.keys WHERE idempotency.forget(key, scope) AND costly_condition(scope) ORDER BY scope;
SELECT scope, key, status FROM idempotency.keys WHERE scope LIKE 'last%' ORDER BY scope;

-- no function is missing: those with a lower cost only read
SELECT p.proname
FROM pg_proc AS p
JOIN pg_depend AS d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
JOIN pg_extension AS e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid
WHERE e.extname = 'idempotency' AND p.prorettype <> 'trigger'::regtype AND p.procost < 10000
ORDER BY p.proname COLLATE "C";
SELECT count(idempotency.forget(key, scope)) FROM idempotency.keys WHERE scope LIKE 'last%';
