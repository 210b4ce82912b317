-- A replay returns what complete() stored, and nothing that only owners get.
BEGIN;
SELECT outcome, proceed, status_code, resource_id, response, attempt,
	   recovery_point, state, retry_after,
	   claimed_at IS NOT NULL AS claimed, completed_at, expires_at > claimed_at AS expires
FROM idempotency.claim('all', 'replay_returns_the_result', '{"amount": 100}');
SELECT idempotency.complete('all', 'replay_returns_the_result',
							'{"id": 7, "paid": true, "lines": [1, 2.50, null]}', '7', 201);
COMMIT;
SELECT outcome, proceed, status_code, resource_id, response, attempt,
	   recovery_point, state, retry_after,
	   completed_at >= claimed_at AS completed, expires_at > completed_at AS expires
FROM idempotency.claim('all', 'replay_returns_the_result', '{"amount": 100}');

-- the times are those of the row
SELECT c.claimed_at = l.claimed_at AS claimed_at, c.completed_at = l.completed_at AS completed_at,
	   c.expires_at = l.expires_at AS expires_at
FROM idempotency.claim('all', 'replay_returns_the_result', '{"amount": 100}') AS c,
	 idempotency.lookup('all', 'replay_returns_the_result') AS l;

-- a result of nothing: the status is 200
BEGIN;
SELECT outcome FROM idempotency.claim('nothing', 'replay_returns_the_result');
SELECT idempotency.complete('nothing', 'replay_returns_the_result');
COMMIT;
SELECT outcome, proceed, status_code, resource_id, response, attempt
FROM idempotency.claim('nothing', 'replay_returns_the_result');

-- jsonb null is a response, empty strings are values
BEGIN;
SELECT outcome FROM idempotency.claim('null', 'replay_returns_the_result');
SELECT idempotency.complete('null', 'replay_returns_the_result', 'null', '', 204);
COMMIT;
SELECT outcome, status_code, resource_id = '' AS empty_id, response, response IS NULL AS no_response
FROM idempotency.claim('null', 'replay_returns_the_result');

-- the lowest and the highest status
BEGIN;
SELECT outcome, idempotency.complete('s' || status, 'replay_returns_the_result', status_code => status)
FROM generate_series(100, 599, 499) AS status,
	 idempotency.claim('s' || status, 'replay_returns_the_result');
COMMIT;
SELECT outcome, status_code
FROM generate_series(100, 599, 499) AS status,
	 idempotency.claim('s' || status, 'replay_returns_the_result');

-- a final failure is stored and replayed like a result
BEGIN;
SELECT outcome FROM idempotency.claim('failed', 'replay_returns_the_result', '1');
SELECT idempotency.fail('failed', 'replay_returns_the_result',
						'{"title": "card declined"}', 'attempt-9', 402);
COMMIT;
SELECT outcome, proceed, status_code, resource_id, response, attempt
FROM idempotency.claim('failed', 'replay_returns_the_result', '1');
SELECT outcome, status_code, response FROM idempotency.claim('failed', 'replay_returns_the_result', '2');
SELECT key, status FROM idempotency.keys WHERE scope = 'replay_returns_the_result' ORDER BY key COLLATE "C";

-- a result stored in a later transaction
SELECT outcome, attempt FROM idempotency.claim('later', 'replay_returns_the_result', lease => '1 minute');
SELECT idempotency.complete('later', 'replay_returns_the_result', '[1]', '1', 200, 1);
SELECT outcome, status_code, resource_id, response
FROM idempotency.claim('later', 'replay_returns_the_result', lease => '1 minute');

-- the previous owner's checkpoints are not part of the result
SELECT outcome FROM idempotency.claim('noted', 'replay_returns_the_result', lease => '1 minute');
SELECT idempotency.checkpoint('noted', 'replay_returns_the_result', 'charged', '{"charge": 1}', 1);
SELECT idempotency.complete('noted', 'replay_returns_the_result', '"done"', attempt => 1);
SELECT outcome, response, recovery_point, state FROM idempotency.claim('noted', 'replay_returns_the_result');

SELECT count(*) - count(DISTINCT (scope, key)) AS surplus_rows
FROM idempotency.keys WHERE scope = 'replay_returns_the_result';
