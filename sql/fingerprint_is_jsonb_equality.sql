-- Two requests are the same if and only if they are equal as jsonb.
CREATE TABLE request (id integer PRIMARY KEY, body jsonb);

INSERT INTO request VALUES
	(0, NULL), (1, 'null'), (2, 'true'), (3, 'false'),
	(4, '0'), (5, '-0'), (6, '0.00'), (7, '1'), (8, '1.0'), (9, '-1'),
	(10, '100'), (11, '1e2'), (12, '100.000'), (13, '10'),
	(14, '0.1'), (15, '0.10'), (16, '1e-1'),
	(17, '12345678901234567890.12345678901234567890'),
	(18, '12345678901234567890.1234567890123456789'),
	(19, '12345678901234567890.12345678901234567891'),
	(20, '"1"'), (21, '"1.0"'), (22, '""'), (23, '"null"'), (24, '"true"'),
	(25, '[]'), (26, '{}'), (27, '[1]'), (28, '[1.0]'), (29, '["1"]'), (30, '[[1]]'),
	(31, '[null]'), (32, '[[]]'), (33, '[{}]'), (34, '{"": null}'), (35, '{"": {}}'),
	(36, '{"a": 1, "b": 2}'), (37, '{"b":2,"a":1}'), (38, E'\n{ "b" : 2.0 ,\t"a" : 1.00 }\n'),
	(39, '{"a": 2, "b": 1}'), (40, '{"a": 1}'), (41, '{"a": 1, "b": null}'),
	(42, '{"a": 3, "a": 1}'), (43, '["a", 1]'), (44, '[["a", 1]]'),
	(45, '{"x": {"z": [1, {"k": 1e1}], "y": "v"}}'), (46, '{"x": {"y": "v", "z": [1.0, {"k": 10}]}}'),
	(47, '{"x": {"z": [{"k": 10}, 1], "y": "v"}}'), (48, '{"x": {"z": [1, {"k": 10}]}, "y": "v"}'),
	(49, '[1, 2]'), (50, '[2, 1]'), (51, '[12]'), (52, '[1, [2]]'), (53, '[[1], 2]'), (54, '[[1, 2]]'),
	(55, '["ab", "c"]'), (56, '["a", "bc"]'), (57, '["abc"]'), (58, '["a", "b", "c"]'),
	(59, '"A"'), (60, '"a"'), (61, '"a "'), (62, '"\u0061"'), (63, '"e\u0301"'), (64, '"\u00e9"'),
	(65, '{"a": {"b": {}}}'), (66, '{"a": {"b": []}}'), (67, '{"a": [{"b": []}]}'),
	(68, '1e1000'), (69, '1e1001'), (70, '1.000e1000'),
	-- values whose canonical forms could be confused
	(71, '["asb"]'), (72, '["a", "b"]'), (73, '["ad1"]'), (74, '["a]"]'), (75, '["a", []]'), (76, '["a[]"]'),
	(77, '{"asb": "c"}'), (78, '{"a": "bsc"}'), (79, '[null, true]'), (80, '["nt"]'), (81, '[{}, {}]'), (82, '[{"": ""}]');

-- Hashes that rotate each element's share by one bit repeat after 64
-- elements (32 in half a word): two elements so far apart must not change
-- places unnoticed.
INSERT INTO request
SELECT 100 + swapped, jsonb_agg(CASE element WHEN 0 THEN swapped WHEN swapped THEN 0 ELSE element END ORDER BY element)
FROM unnest(ARRAY[0, 1, 31, 32, 63, 64, 96, 128, 199]) AS swapped, generate_series(0, 199) AS element
GROUP BY swapped;

-- The same for an object whose values change places.
INSERT INTO request
SELECT 500 + swapped, jsonb_object_agg('k' || to_char(element, 'FM000'), CASE element WHEN 0 THEN swapped WHEN swapped THEN 0 ELSE element END)
FROM unnest(ARRAY[0, 1, 32, 64, 128, 199]) AS swapped, generate_series(0, 199) AS element
GROUP BY swapped;

-- Bodies that are stored compressed or out of line.
INSERT INTO request VALUES
	(900, to_jsonb(repeat('x', 100000))),
	(901, to_jsonb(repeat('x', 99999) || 'y')),
	(902, (SELECT jsonb_agg(md5(n::text)) FROM generate_series(1, 2000) AS n)),
	(903, (SELECT jsonb_agg(md5(n::text)) FROM generate_series(1, 2001) AS n));

-- every pair, in both orders: against a committed claim in progress
SELECT count(*) AS claimed FROM request, idempotency.claim('k' || id, 'fingerprint_is_jsonb_equality', body, lease => '1 day')
WHERE outcome = 'new';

CREATE FUNCTION pairs_judged_wrongly(equal_outcome text) RETURNS TABLE (stored integer, sent integer, outcome text)
BEGIN ATOMIC
	SELECT a.id, b.id, c.outcome
	FROM request AS a, request AS b,
		 idempotency.claim('k' || a.id, 'fingerprint_is_jsonb_equality', b.body) AS c
	WHERE c.outcome <> CASE WHEN a.body IS DISTINCT FROM b.body THEN 'mismatch' ELSE equal_outcome END;
END;
SELECT * FROM pairs_judged_wrongly('in_progress');

-- and against a completed one
SELECT count(idempotency.complete('k' || id, 'fingerprint_is_jsonb_equality', attempt => 1)) AS completed FROM request;
SELECT * FROM pairs_judged_wrongly('replay');

-- the pairs are of both kinds
SELECT count(*) FILTER (WHERE a.body IS NOT DISTINCT FROM b.body) AS equal,
	   count(*) FILTER (WHERE a.body IS DISTINCT FROM b.body) AS different
FROM request AS a, request AS b WHERE a.id < b.id;

-- a fingerprint is stored, the request is not
SELECT DISTINCT octet_length(fingerprint) FROM idempotency.keys WHERE scope = 'fingerprint_is_jsonb_equality' ORDER BY 1;

-- other bodies, as text: every byte counts
SELECT outcome FROM idempotency.claim('text', 'fingerprint_is_jsonb_equality', to_jsonb('a=1&b=2'::text), lease => '1 minute');
SELECT outcome FROM idempotency.claim('text', 'fingerprint_is_jsonb_equality', to_jsonb('a=1&b=2'::text));
SELECT outcome, status_code FROM idempotency.claim('text', 'fingerprint_is_jsonb_equality', to_jsonb('a=1&b=2 '::text));

SELECT count(*) - count(DISTINCT (scope, key)) AS surplus_rows
FROM idempotency.keys WHERE scope = 'fingerprint_is_jsonb_equality';
DROP FUNCTION pairs_judged_wrongly;
DROP TABLE request;
