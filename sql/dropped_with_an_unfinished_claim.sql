-- A transaction may claim a key and drop the extension: the claim is dropped too,
-- and the commit is not refused. If the extension is created again, it is refused.
SELECT current_database() AS tested \gset
SET client_min_messages = warning;
DROP DATABASE IF EXISTS regress_idempotency_dropped;
CREATE DATABASE regress_idempotency_dropped;
\c regress_idempotency_dropped
SET client_min_messages = warning;
CREATE EXTENSION idempotency;
CREATE TABLE work (done boolean);

BEGIN;
SELECT outcome FROM idempotency.claim('key');
INSERT INTO work VALUES (true);
DROP EXTENSION idempotency;
CREATE EXTENSION idempotency;
\set VERBOSITY sqlstate
COMMIT;
SELECT * FROM work;

BEGIN;
SELECT outcome FROM idempotency.claim('key');
INSERT INTO work VALUES (true);
DROP EXTENSION idempotency;
COMMIT;
SELECT * FROM work;
SELECT extname FROM pg_extension WHERE extname = 'idempotency';

\c :tested
SET client_min_messages = warning;
DROP DATABASE regress_idempotency_dropped;
