-- Keys, primary keys and scopes of every kind.
CREATE SCHEMA guard_keys;
SET search_path = guard_keys;
CREATE VIEW stored AS
	SELECT scope, key, status, resource_id, response FROM idempotency.keys
	WHERE scope LIKE '%guard_keys%' ORDER BY scope COLLATE "C", key COLLATE "C";

-- A composite primary key: the resource id is a JSON object of its columns,
-- which makes a row of the table again.
CREATE TABLE lines (order_no integer, line integer, key text, item text, PRIMARY KEY (line, order_no));
SELECT idempotency.guard_table('lines', 'key');
INSERT INTO lines VALUES (1, 2, 'a', 'tea'), (3, 4, 'a', 'tea');
SELECT key, resource_id, response FROM stored;
SELECT (jsonb_populate_record(NULL::lines, resource_id::jsonb)).* FROM stored;

-- A primary key of type uuid, with a default.
CREATE TABLE documents (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), key uuid, title text);
SELECT idempotency.guard_table('documents', 'key');
INSERT INTO documents (key, title) VALUES ('6b7e5e5e-0000-4000-8000-000000000001', 'one');
INSERT INTO documents (key, title) VALUES ('6B7E5E5E-0000-4000-8000-000000000001', 'one');
SELECT count(*) FROM documents;
SELECT s.key, s.resource_id = d.id::text AS is_id, s.response->>'title' AS title
FROM stored AS s, documents AS d WHERE scope = 'guard_keys.documents';

-- The key column is the primary key.
CREATE TABLE messages (id bigint PRIMARY KEY, body text);
SELECT idempotency.guard_table('messages', 'id');
INSERT INTO messages VALUES (7, 'hello');
INSERT INTO messages VALUES (7, 'hello');
INSERT INTO messages VALUES (7, 'good bye');
\echo :LAST_ERROR_SQLSTATE
SELECT key, resource_id, response FROM stored WHERE scope = 'guard_keys.messages';

-- Nothing but keys: any two rows with one key are the same request.
CREATE TABLE seen (id serial PRIMARY KEY, key varchar(40));
SELECT idempotency.guard_table('seen', 'key');
INSERT INTO seen (key) VALUES ('a'), ('a'), ('b');
SELECT key FROM seen ORDER BY key;

-- Names that must be quoted, also in the default scope.
CREATE TABLE "Sales "" 2" ("Id" integer PRIMARY KEY, "The Key" text, "Amount" integer);
SELECT idempotency.guard_table('"Sales "" 2"', 'The Key');
INSERT INTO "Sales "" 2" VALUES (1, 'it''s', 5);
INSERT INTO "Sales "" 2" VALUES (2, 'it''s', 5);
SELECT scope, key, resource_id, response FROM stored WHERE key LIKE 'it%';

-- An explicit scope, with anything in it; two tables may share one.
CREATE TABLE one (id integer PRIMARY KEY, key text, n integer);
CREATE TABLE two (id integer PRIMARY KEY, key text, n integer);
SELECT idempotency.guard_table('one', 'key', E'guard_keys/o''ne\\'), idempotency.guard_table('two', 'key', E'guard_keys/o''ne\\');
INSERT INTO one VALUES (1, 'a', 1);
INSERT INTO two VALUES (1, 'a', 1);
SELECT count(*) FROM one;
SELECT count(*) FROM two;
SELECT scope, key, resource_id FROM stored WHERE scope LIKE 'guard_keys/%';

-- A table made with guard_table() keeps its keys when it is renamed, one with
-- triggers made by hand without a scope has the scope of its present name.
ALTER TABLE seen RENAME TO seen_before;
INSERT INTO seen_before (key) VALUES ('a'), ('c');
SELECT key FROM seen_before ORDER BY key;
SELECT scope, count(*) FROM stored WHERE scope LIKE '%seen%' GROUP BY scope;

-- Equal rows are equal whatever the settings of the session.
CREATE TABLE stamps (
	id    integer PRIMARY KEY,
	key   timestamptz,
	at    timestamptz,
	days  daterange,
	spans tstzrange,
	price money,
	ratio float8,
	took  interval,
	body  bytea,
	many  timestamptz[]
);
SELECT idempotency.guard_table('stamps', 'key');
SET TimeZone = 'Asia/Kolkata';
INSERT INTO stamps VALUES (1, '2026-01-01 12:00:00+00', '2026-01-01 12:00:00+00', '[2026-01-01,2026-02-01)',
	'[2026-01-01 12:00:00+00,)', 12.5, 0.1::float8 + 0.2::float8, '1 day 02:00', '\x00ff', ARRAY['2026-01-01 12:00:00+00'::timestamptz]);
SET TimeZone = 'America/New_York';
SET DateStyle = 'SQL, DMY';
SET IntervalStyle = 'iso_8601';
SET extra_float_digits = 0;
SET bytea_output = 'escape';
BEGIN;
INSERT INTO stamps SELECT 2, key, at, days, spans, price, ratio, took, body, many FROM stamps;
SELECT count(*) FROM stamps;
-- They are left as they were.
SHOW TimeZone;
SHOW DateStyle;
SHOW IntervalStyle;
SHOW extra_float_digits;
SHOW bytea_output;
COMMIT;
RESET TimeZone; RESET DateStyle; RESET IntervalStyle; RESET extra_float_digits; RESET bytea_output;
SELECT key, resource_id, response FROM stored WHERE scope = 'guard_keys.stamps';

SET client_min_messages = warning;
DROP SCHEMA guard_keys CASCADE;
