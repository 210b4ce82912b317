-- COPY into a guarded table: each key once, in the file and over all files.
CREATE SCHEMA guard_copy;
SET search_path = guard_copy;
CREATE TABLE events (
	id      integer PRIMARY KEY,
	key     text,
	payload jsonb
);
SELECT idempotency.guard_table('events', 'key');
COPY events FROM stdin;
1	a	{"n": 1}
2	b	{"n": 2}
3	a	{"n": 1}
4	\N	{"n": 3}
5	\N	{"n": 3}
\.
SELECT * FROM events ORDER BY id;
-- The same file once more, longer by a row.
COPY events (key, id, payload) FROM stdin (FORMAT csv);
a,11,"{""n"":  1.0}"
b,12,"{""n"": 2}"
a,13,"{""n"": 1}"
c,14,"{""n"": 4}"
\.
SELECT * FROM events ORDER BY id;
SELECT key, status, resource_id, response FROM idempotency.keys
WHERE scope = 'guard_copy.events' ORDER BY key COLLATE "C";

-- A row that differs ends the COPY, and nothing of it stays.
COPY events FROM stdin;
21	d	{"n": 5}
22	a	{"n": 6}
\.
SELECT count(*) FROM events WHERE id > 20;
SELECT count(*) FROM idempotency.keys WHERE scope = 'guard_copy.events' AND key = 'd';

-- COPY FREEZE, into a table made in the same transaction.
BEGIN;
CREATE TABLE frozen (id integer PRIMARY KEY, key text);
SELECT idempotency.guard_table('frozen', 'key');
COPY frozen FROM stdin (FREEZE);
1	a
2	a
3	b
\.
COMMIT;
SELECT * FROM frozen ORDER BY id;
SELECT key, status, resource_id FROM idempotency.keys
WHERE scope = 'guard_copy.frozen' ORDER BY key COLLATE "C";

-- Many rows, each twice in a statement.
INSERT INTO events (id, key) SELECT 1000 + i, 'many' || i % 2000 FROM generate_series(1, 4000) AS i;
SELECT count(*), count(DISTINCT key) FROM events WHERE id > 1000;
SELECT status, count(*), count(DISTINCT resource_id) FROM idempotency.keys
WHERE scope = 'guard_copy.events' AND key LIKE 'many%' GROUP BY status;

SET client_min_messages = warning;
DROP SCHEMA guard_copy CASCADE;
