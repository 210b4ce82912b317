-- Payments by a psql script: \if does the work only if the key was claimed.
--
--	psql -v ON_ERROR_STOP=1 -v key=.. -v customer=alice -v amount=5 -f payments.sql
--
-- Claim, work and answer are one transaction.  An error ends the script, which
-- rolls all of it back, and the script can be run again.
\set scope payments/:customer

BEGIN;
SELECT proceed, status_code AS status, coalesce(response, jsonb_build_object('title', outcome)) AS body
FROM idempotency.claim(:'key', :'scope', jsonb_build_object('amount', :amount)) \gset

\if :proceed
	\set status 201
	INSERT INTO payments (customer, amount) VALUES (:'customer', :amount)
	RETURNING to_jsonb(payments) AS body \gset
	SELECT FROM idempotency.complete(:'key', :'scope', :'body', status_code => :status);
\endif
COMMIT;

\echo :status :body
