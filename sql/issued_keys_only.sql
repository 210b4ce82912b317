-- A scope whose policy requires issued keys refuses all others with IK404.

SELECT idempotency.set_policy('issued/only', require_issued => true, require_request => true, min_key_length => 36);

\set VERBOSITY sqlstate
SELECT idempotency.claim('11111111-1111-4111-8111-111111111111', 'issued/only', '{"amount": 7}');
\set VERBOSITY default
SELECT idempotency.claim('11111111-1111-4111-8111-111111111111', 'issued/only', '{"amount": 7}');

-- The policy's rules for claims do not prevent issuing.
SELECT idempotency.issue('issued/only', 'cart') AS key \gset
SELECT idempotency.issue('issued/only', 'cart') = :'key' AS same;
SELECT outcome FROM idempotency.claim(:'key', 'issued/only', '{"amount": 7}', lease => '1 minute');
SELECT idempotency.complete(:'key', 'issued/only', '{"id": 1}', attempt => 1);
SELECT outcome, response FROM idempotency.claim(:'key', 'issued/only', '{"amount": 7}');
SELECT idempotency.issue('issued/only', 'cart') = :'key' AS same;

-- A key that was issued for another scope is refused.
SELECT idempotency.issue('issued/elsewhere', 'cart') AS elsewhere \gset
\set VERBOSITY sqlstate
SELECT idempotency.claim(:'elsewhere', 'issued/only', '{"amount": 7}');

-- A forgotten key is refused, also after its subject has been given another.
SELECT idempotency.forget(:'key', 'issued/only');
SELECT idempotency.claim(:'key', 'issued/only', '{"amount": 7}');
SELECT idempotency.issue('issued/only', 'cart') AS next_key \gset
SELECT :'next_key' <> :'key' AS another;
SELECT idempotency.claim(:'key', 'issued/only', '{"amount": 7}');
SELECT outcome FROM idempotency.claim(:'next_key', 'issued/only', '{"amount": 7}', lease => '1 minute');
\set VERBOSITY default

-- An erased key is remembered, and its subject keeps it.
SELECT idempotency.complete(:'next_key', 'issued/only', '{"id": 2}', attempt => 1);
SELECT idempotency.erase(:'next_key', 'issued/only');
SELECT idempotency.issue('issued/only', 'cart') = :'next_key' AS same;
SELECT outcome, status_code FROM idempotency.claim(:'next_key', 'issued/only', '{"amount": 7}');

-- The same for the policy of the database.
SELECT idempotency.set_policy('', require_issued => true, require_request => true);
SELECT idempotency.issue('issued/by_default', 'cart') IS NOT NULL AS issued;
SELECT idempotency.drop_policy('');

-- A key that the policy would refuse is not issued.
SELECT idempotency.set_policy('issued/only', min_key_length => 37);
SELECT idempotency.issue('issued/only', 'another cart');
SELECT idempotency.drop_policy('issued/only');
