-- Keys and scopes are compared byte for byte, and returned as they were sent.
CREATE TABLE name (id integer PRIMARY KEY, scope text, key text);
INSERT INTO name VALUES
	(1, '', 'key'), (2, '', 'KEY'), (3, '', 'Key'), (4, '', 'key '), (5, '', ' key'), (6, '', E'key\n'),
	(7, '', E'key\t'), (8, '', E'\u00e9'), (9, '', E'e\u0301'), (10, '', 'e'),
	(11, '', E'\u0130'), (12, '', 'i'), (13, '', 'I'), (14, '', E'\u00df'), (15, '', 'ss'),
	(16, '', E'\U0001F4B3'), (17, '', E'\u65e5\u672c\u8a9e'), (18, '', 'a''b'), (19, '', 'a"b'), (20, '', 'a\b'),
	(21, '', 'a\\b'), (22, '', 'a''''b'), (23, '', '\'), (24, '', ''''), (25, '', '"'), (26, '', '$$'),
	(27, '', '%'), (28, '', '_'), (29, '', '%s%n'), (30, '', E'\x01'), (31, '', E'\x7f'), (32, '', ' '),
	(33, '', '  '), (34, '', 'NULL'), (35, '', '{}'), (36, '', '1'), (37, '', '1.0'), (38, '', '01'),
	(39, '', '8e03978e-40d5-43e8-bc93-6894a57f9324'), (40, '', '8E03978E-40D5-43E8-BC93-6894A57F9324'),
	(41, '', E'a\u200bb'), (42, '', 'ab'), (43, '', repeat('k', 255)), (44, '', repeat('k', 254)),
	(45, '', repeat(E'\u00e9', 127) || 'e'), (46, '', repeat(E'\u00e9', 127)),
	-- the same bytes, divided differently between scope and key
	(50, 'ab', 'c'), (51, 'a', 'bc'), (52, 'a/b', 'c'), (53, 'a', '/bc'), (54, 'a/', 'bc'), (55, 'a/b', '/c'),
	(56, 'a/b/', 'c'), (57, '/', 'a'), (58, '//', 'a'), (59, 'A', 'bc'), (60, 'a ', 'bc'), (61, ' ', 'a'),
	(62, E'\u00e9', 'a'), (63, E'e\u0301', 'a'), (64, 'a''b', 'c'), (65, 'a\b', 'c'),
	(66, repeat('s', 968), 'a'), (67, repeat('s', 969), 'a'),
	(68, (SELECT string_agg(md5(n::text), '' ORDER BY n) FROM generate_series(1, 30) AS n), 'a'),
	(69, (SELECT string_agg(md5(n::text), '' ORDER BY n) FROM generate_series(2, 31) AS n), 'a');

SELECT outcome, count(*) FROM name, idempotency.claim(key, 'keys_are_compared_byte_for_byte' || scope, lease => '1 minute')
GROUP BY outcome;
SELECT count(idempotency.complete(key, 'keys_are_compared_byte_for_byte' || scope, to_jsonb(id), key, attempt => 1))
FROM name;

-- each key replays its own result and resource_id
SELECT id, key, outcome FROM name, idempotency.claim(key, 'keys_are_compared_byte_for_byte' || scope, lease => '1 minute')
WHERE outcome <> 'replay' OR response <> to_jsonb(id) OR convert_to(resource_id, 'UTF8') <> convert_to(key, 'UTF8');
SELECT id, name.key FROM name LEFT JOIN LATERAL idempotency.lookup(key, 'keys_are_compared_byte_for_byte' || scope) AS l ON true
WHERE (convert_to(l.key, 'UTF8') = convert_to(name.key, 'UTF8')
	   AND convert_to(l.scope, 'UTF8') = convert_to('keys_are_compared_byte_for_byte' || name.scope, 'UTF8')
	   AND l.response = to_jsonb(id)) IS NOT TRUE;
SELECT count(*) AS row_count, count(DISTINCT (convert_to(scope, 'UTF8'), convert_to(key, 'UTF8'))) AS keys
FROM idempotency.keys WHERE scope LIKE 'keys\_are\_compared\_byte\_for\_byte%';

-- 255 bytes are allowed, 256 are not, however many characters they are
SELECT outcome FROM idempotency.claim(repeat('k', 256), 'keys_are_compared_byte_for_byte');
SELECT outcome FROM idempotency.claim(repeat(E'\u00e9', 128), 'keys_are_compared_byte_for_byte');

-- a key that was never claimed is not found, although a similar one is
SELECT count(*) FROM idempotency.lookup('kEY', 'keys_are_compared_byte_for_byte');
SELECT count(*) FROM idempotency.lookup(repeat('k', 256), 'keys_are_compared_byte_for_byte');
SELECT count(*) FROM idempotency.lookup('key', 'KEYS_ARE_COMPARED_BYTE_FOR_BYTE');
DROP TABLE name;
