-- Numbers with many digits and a short notation have different fingerprints,
-- which are computed quickly.
SET statement_timeout = '3 s';

SELECT outcome FROM idempotency.claim('many', 'large_numbers', ('[' || repeat('1e131071,', 7000) || '0]')::jsonb, lease => '1 minute');
SELECT outcome FROM idempotency.claim('many', 'large_numbers', ('[' || repeat('10e131070,', 7000) || '0]')::jsonb);

RESET statement_timeout;

SELECT outcome FROM idempotency.claim('one', 'large_numbers', '[1e131071, 1e-16383]', lease => '1 minute');
SELECT outcome FROM idempotency.claim('one', 'large_numbers', '[10e131070, 0.1e-16382]');
SELECT outcome FROM idempotency.claim('one', 'large_numbers', '[1e131070, 1e-16383]');
SELECT outcome FROM idempotency.claim('one', 'large_numbers', '[1e131071, 1e-16382]');
SELECT outcome FROM idempotency.claim('one', 'large_numbers', '[1e-16383, 1e131071]');
SELECT outcome FROM idempotency.claim('one', 'large_numbers', '[-1e131071, 1e-16383]');
