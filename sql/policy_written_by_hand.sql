-- The owner may write to the table of policies without set_policy(): invalid
-- entries of cache_errors match nothing.
CREATE FUNCTION policy_refuse(jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION 'refused' USING ERRCODE = '23514';
END $$;
INSERT INTO idempotency.policy (scope, cache_errors) VALUES
	('policy_by_hand', ARRAY[NULL, '22']),
	('policy_by_hand/23', ARRAY[NULL, '23']);
SELECT outcome, status_code FROM idempotency.execute('key', 'policy_by_hand', 'policy_refuse');
SELECT outcome, status_code FROM idempotency.execute('key', 'policy_by_hand/23', 'policy_refuse');

DELETE FROM idempotency.policy WHERE scope LIKE 'policy_by_hand%';
DELETE FROM idempotency.keys WHERE scope LIKE 'policy_by_hand%';
DROP FUNCTION policy_refuse;
