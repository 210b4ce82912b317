-- All rows of a table have one scope: the customer has to be part of the key.
\set scoped_key :customer/:key
INSERT INTO payments (customer, amount, idempotency_key) VALUES (:'customer', :amount, :'scoped_key');
SELECT 201, to_jsonb(payments) - 'idempotency_key' FROM payments WHERE idempotency_key = :'scoped_key';
