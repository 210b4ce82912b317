-- The tables are read by the numbers of their columns, without the parser's
-- checks: a table that was altered is refused, whichever function opens it
-- first.
\set VERBOSITY terse
CREATE ROLE regress_idempotency_owner;
SELECT outcome FROM idempotency.claim('past', 'altered', ttl => '1 day', lease => '1 minute');
SELECT idempotency.complete('past', 'altered', '1', attempt => 1);

-- columns that were added, and a row in a slot that is past
BEGIN;
UPDATE idempotency.wheel SET until = '-infinity';
ALTER TABLE idempotency.keys ADD COLUMN a text DEFAULT repeat('a', 64), ADD COLUMN b text DEFAULT repeat('b', 64),
	ADD COLUMN c text DEFAULT repeat('c', 64), ADD COLUMN d text DEFAULT repeat('d', 64), ADD COLUMN e text DEFAULT repeat('e', 64);
SELECT key FROM idempotency.lookup('past', 'altered');
ROLLBACK;

-- a column of another type
BEGIN;
ALTER TABLE idempotency.keys ALTER COLUMN attempt TYPE text;
SELECT outcome FROM idempotency.claim('past', 'altered');
ROLLBACK;
BEGIN;
ALTER TABLE idempotency.keys ALTER COLUMN resource_id TYPE bigint USING 1094795585;
SELECT outcome FROM idempotency.claim('past', 'altered');
ROLLBACK;
BEGIN;
ALTER TABLE idempotency.keys ALTER COLUMN response TYPE bigint USING 1094795585;
SELECT * FROM idempotency.sweep();
ROLLBACK;
BEGIN;
ALTER TABLE idempotency.keys ALTER COLUMN response TYPE bigint USING 1094795585;
SELECT count(*) FROM idempotency.in_flight;
ROLLBACK;
BEGIN;
ALTER TABLE idempotency.keys DROP COLUMN state;
SELECT idempotency.forget('past', 'altered');
ROLLBACK;
BEGIN;
ALTER TABLE idempotency.wheel DROP CONSTRAINT wheel_slot_check, ALTER COLUMN slot TYPE text;
SELECT outcome FROM idempotency.claim('past', 'altered');
ROLLBACK;
BEGIN;
ALTER TABLE idempotency.policy ADD COLUMN mine text;
SELECT outcome FROM idempotency.claim('past', 'altered');
ROLLBACK;
BEGIN;
ALTER TABLE idempotency.policy ADD COLUMN mine text;
SELECT idempotency.set_policy('altered');
ROLLBACK;
BEGIN;
ALTER TYPE idempotency.claim_result ALTER ATTRIBUTE outcome TYPE integer;
SELECT idempotency.claim('past', 'altered');
ROLLBACK;
BEGIN;
ALTER TYPE idempotency.claim_result ADD ATTRIBUTE mine text;
SELECT idempotency.claim('past', 'altered');
ROLLBACK;

-- a value that is missing, once its constraint is gone
BEGIN;
ALTER TABLE idempotency.keys ALTER COLUMN status DROP NOT NULL;
UPDATE idempotency.keys SET status = NULL WHERE scope = 'altered';
SELECT outcome FROM idempotency.claim('past', 'altered');
ROLLBACK;
BEGIN;
ALTER TABLE idempotency.keys ALTER COLUMN scope DROP NOT NULL;
SET LOCAL session_replication_role = replica;
UPDATE idempotency.keys SET scope = NULL WHERE scope = 'altered';
SELECT outcome FROM idempotency.claim('past', 'altered');
ROLLBACK;

-- the index that finds keys
BEGIN;
ALTER TABLE idempotency.keys_long DROP CONSTRAINT keys_long_hash;
SELECT outcome FROM idempotency.claim('past', 'altered');
ROLLBACK;
BEGIN;
ALTER TABLE idempotency.keys_long DROP CONSTRAINT keys_long_hash, ADD PRIMARY KEY (key);
SELECT outcome FROM idempotency.claim('far', 'altered', ttl => '100 days', lease => '1 minute');
ROLLBACK;

-- numbers of slots, which index an array in memory
BEGIN;
ALTER TABLE idempotency.wheel DROP CONSTRAINT wheel_slot_check;
INSERT INTO idempotency.wheel VALUES (32767, 'infinity');
SELECT outcome FROM idempotency.claim('past', 'altered');
ROLLBACK;
BEGIN;
ALTER TABLE idempotency.wheel DROP CONSTRAINT wheel_slot_check;
INSERT INTO idempotency.wheel VALUES (-1, 'infinity');
SELECT * FROM idempotency.sweep();
ROLLBACK;
BEGIN;
ALTER TABLE idempotency.wheel ALTER COLUMN until DROP NOT NULL;
INSERT INTO idempotency.wheel VALUES (0, NULL);
SELECT outcome FROM idempotency.claim('past', 'altered');
ROLLBACK;

-- a table with another owner
BEGIN;
ALTER TABLE idempotency.policy OWNER TO regress_idempotency_owner;
SELECT outcome FROM idempotency.claim('past', 'altered');
ROLLBACK;
BEGIN;
ALTER TABLE idempotency.keys_3 OWNER TO regress_idempotency_owner;
SELECT key FROM idempotency.lookup('past', 'altered');
ROLLBACK;
BEGIN;
ALTER TABLE idempotency.wheel OWNER TO regress_idempotency_owner;
SELECT * FROM idempotency.sweep();
ROLLBACK;

-- a table that a crash would empty
BEGIN;
ALTER TABLE idempotency.keys_3 SET UNLOGGED;
SELECT outcome FROM idempotency.claim('past', 'altered');
ROLLBACK;
BEGIN;
ALTER TABLE idempotency.wheel SET UNLOGGED;
SELECT * FROM idempotency.sweep();
ROLLBACK;

-- a policy that set_policy() would have refused raises an error in its scope
BEGIN;
ALTER TABLE idempotency.policy DROP CONSTRAINT policy_ttl_check, DROP CONSTRAINT policy_wait_check;
INSERT INTO idempotency.policy (scope, ttl) VALUES ('altered/minus', '-1 day'), ('altered/long', '100000 years');
INSERT INTO idempotency.policy (scope, wait) VALUES ('altered/wait', '-1 s');
SELECT outcome FROM idempotency.claim('past', 'altered');
SAVEPOINT s;
SELECT outcome FROM idempotency.claim('k', 'altered/minus');
ROLLBACK TO s;
SELECT outcome FROM idempotency.claim('k', 'altered/long');
ROLLBACK TO s;
SELECT outcome FROM idempotency.claim('k', 'altered/wait/below');
ROLLBACK TO s;
SELECT idempotency.set_policy('altered/minus', ttl => '1 hour');
SELECT outcome FROM idempotency.claim('k', 'altered/minus');
ROLLBACK;

-- afterwards everything works
SELECT outcome, response FROM idempotency.claim('past', 'altered');
SELECT idempotency.forget('past', 'altered');
DROP ROLE regress_idempotency_owner;
