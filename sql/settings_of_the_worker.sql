-- The settings of the worker are checked before they are stored.
SELECT count(*) FROM idempotency.lookup('settings of the worker');
ALTER SYSTEM SET idempotency.sweep_interval = '0';
ALTER SYSTEM SET idempotency.sweep_interval = '2 days';
ALTER SYSTEM SET idempotency.sweep_interval = 'often';
ALTER SYSTEM SET idempotency.sweep_interval = '60';
ALTER SYSTEM SET idempotency.sweep_databases = 'shop,';
ALTER SYSTEM SET idempotency.sweep_databases = '"shop';
SELECT count(*) FROM pg_file_settings WHERE name LIKE 'idempotency.sweep%';
