-- Bad key, mismatch, replay, in progress, recovered, expired, new: a claim is
-- judged in this order.
--
-- Four stored states, each claimed with the same request or another, sent just
-- now or too long ago.
SELECT outcome, attempt FROM idempotency.claim('completed', 'order_of_judgement', '1', lease => '1 minute');
SELECT idempotency.complete('completed', 'order_of_judgement', '"result"', attempt => 1);
SELECT outcome, attempt FROM idempotency.claim('failed', 'order_of_judgement', '1', lease => '1 minute');
SELECT idempotency.fail('failed', 'order_of_judgement', '"failure"', status_code => 402, attempt => 1);
SELECT outcome, attempt FROM idempotency.claim('in progress', 'order_of_judgement', '1', lease => '1 hour');
SELECT outcome, attempt FROM idempotency.claim('released', 'order_of_judgement', '1', lease => '1 minute');
SELECT idempotency.release('released', 'order_of_judgement', 1);

SELECT key, request, age, outcome, proceed, status_code, response
FROM unnest(ARRAY['completed', 'failed', 'in progress']) WITH ORDINALITY AS k (key, number),
	 unnest(ARRAY['1', '2', NULL]::jsonb[]) AS request,
	 unnest(ARRAY['0', '2 days']::interval[]) AS age,
	 idempotency.claim(key, 'order_of_judgement', request, first_sent => clock_timestamp() - age, lease => '1 minute')
ORDER BY number, request, age;

-- The lease has expired: the request is compared before the key is taken over.
SELECT outcome, attempt FROM idempotency.claim('run out', 'order_of_judgement', '1', lease => '1 ms');
DO $$
BEGIN
	WHILE (SELECT lease_until > clock_timestamp() FROM idempotency.lookup('run out', 'order_of_judgement')) LOOP
		PERFORM pg_sleep(0.001);
	END LOOP;
END $$;
SELECT outcome, proceed, status_code, attempt, retry_after
FROM idempotency.claim('run out', 'order_of_judgement', '2');
SELECT outcome, proceed, status_code, attempt, retry_after
FROM idempotency.claim('run out', 'order_of_judgement');
SELECT outcome, proceed, status_code, attempt
FROM idempotency.claim('run out', 'order_of_judgement', '1', first_sent => clock_timestamp() - interval '2 days', lease => '1 minute');

-- Released: nothing is compared, the attempt continues, and since a row is
-- stored, first_sent does not matter.
SELECT outcome, proceed, status_code, attempt
FROM idempotency.claim('released', 'order_of_judgement', '2', first_sent => clock_timestamp() - interval '2 days', lease => '1 minute');

-- Nothing is stored.
SELECT outcome, proceed, status_code, attempt
FROM idempotency.claim('absent', 'order_of_judgement', '1', first_sent => clock_timestamp() - interval '2 days');
SELECT outcome, proceed, status_code, attempt
FROM idempotency.claim('absent', 'order_of_judgement', '1', first_sent => clock_timestamp(), lease => '1 minute');

-- A bad key is an error even if first_sent is too old or a row is stored.
SELECT outcome FROM idempotency.claim('', 'order_of_judgement', first_sent => '-infinity');
SET idempotency.min_key_length = 10;
SELECT outcome FROM idempotency.claim('completed', 'order_of_judgement', '1');
SELECT outcome FROM idempotency.claim('completed', 'order_of_judgement', '2');
RESET idempotency.min_key_length;

-- Against an owner that has not committed nothing is compared.
BEGIN;
SELECT outcome FROM idempotency.claim('own', 'order_of_judgement', '1', lease => '1 minute');
SELECT outcome, proceed, status_code FROM idempotency.claim('own', 'order_of_judgement', '2');
SELECT outcome, proceed, status_code
FROM idempotency.claim('own', 'order_of_judgement', '2', first_sent => '-infinity');
COMMIT;
SELECT outcome, proceed, status_code FROM idempotency.claim('own', 'order_of_judgement', '2');

-- The outcomes mismatch and in_progress change nothing.
SELECT key, status, attempt FROM idempotency.keys WHERE scope = 'order_of_judgement' ORDER BY key COLLATE "C";
