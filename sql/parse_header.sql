-- parse_header() reads an Idempotency-Key header as RFC 9651 says, or raises
-- IK400 with the position of what is wrong.

-- A string item is a key.
SELECT idempotency.parse_header('"8e03978e-40d5-43dd-bc93-6894a57f9324"');
SELECT idempotency.parse_header('   "8e03978e"  ');
SELECT idempotency.parse_header('"a b, c; d=e"');
SELECT idempotency.parse_header('"say \"go\" \\ stop"');
SELECT idempotency.parse_header('"8e03978e"', strict => true);

-- Parameters of every type are ignored.
SELECT idempotency.parse_header(header, strict => true), header
FROM (VALUES
	('"k";v'),
	('"k"; v=1;w'),
	('"k";v=-999999999999999;v=0.125'),
	('"k";v=*tok:en/x'),
	('"k";v="a\"b;c"'),
	('"k";v=:aGVsbG8=:'),
	('"k";v=:aGVsbG8:'),
	('"k";v=?1'),
	('"k";v=@-1659578233'),
	('"k";v=%"gr%c3%bc%c3%9fe"'),
	('"k";*a-b_c.d*9=1;   e')
) AS example (header);

-- Without quotes a key is accepted unless strict.
SELECT idempotency.parse_header(header)
FROM (VALUES
	('8e03978e-40d5-43dd-bc93-6894a57f9324'),
	('01ARZ3NDEKTSV4RRFFQ69G5FAV;v=1'),
	('/+8yzFqQ2vE7bT0xK1mWlA=='),
	('order:2024/11~7'),
	('  *key  ')
) AS example (header);

CREATE FUNCTION refused(header text, strict boolean DEFAULT false)
RETURNS TABLE (code text, message text, detail text, hint text)
LANGUAGE plpgsql AS $$
BEGIN
	message := 'accepted: ' || idempotency.parse_header(header, strict);
	RETURN NEXT;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
		detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN NEXT;
END
$$;

SELECT code, message, detail FROM refused('8e03978e', strict => true);

-- A missing and an empty header are refused, and the hint shows a good one.
\x
SELECT * FROM refused(NULL);
SELECT * FROM refused('');
SELECT * FROM refused('   ');
SELECT * FROM refused('""');
SELECT * FROM refused('"k"', strict => NULL);
SELECT * FROM refused('"key');
\x

-- A malformed header is refused, never repaired.
SELECT header, code, message, detail
FROM (VALUES
	(1, '"8e03978e'),
	(2, '8e03978e"'),
	(3, '''8e03978e'' x'),
	(4, '"a", "b"'),
	(5, '"a",'),
	(6, 'a,b'),
	(7, '"a" "b"'),
	(8, 'a b'),
	(9, '"a\n"'),
	(10, '"a\'),
	(11, e'"a\tb"'),
	(12, e'\t"a"'),
	(13, e'"a"\n'),
	(14, '(a b)'),
	(15, '?1'),
	(16, '@1659578233'),
	(17, ':aGVsbG8=:'),
	(18, '=a')
) AS example (n, header), LATERAL refused(header)
ORDER BY n;

SELECT code, message, detail FROM refused('"schlüssel"');
SELECT code, message, detail FROM refused('schlüssel');

-- So is a header with a malformed parameter, although parameters are ignored.
SELECT header, code, detail
FROM (VALUES
	(1, '"k";'),
	(2, '"k";V=1'),
	(3, '"k";v='),
	(4, '"k";v =1'),
	(5, '"k" ;v=1'),
	(6, '"k";v=1 w'),
	(7, '"k";v=1234567890123456'),
	(8, '"k";v=1234567890123.1'),
	(9, '"k";v=1.'),
	(10, '"k";v=1.2345'),
	(11, '"k";v=--1'),
	(12, '"k";v="a'),
	(13, '"k";v=:aGVsbG8=='),
	(14, '"k";v=:aGVsbG8==:'),
	(15, '"k";v=:a:'),
	(16, '"k";v=:_-Ah:'),
	(17, '"k";v=?2'),
	(18, '"k";v=@1.5'),
	(19, '"k";v=%"%C3%BC"'),
	(20, '"k";v=%"%c3"'),
	(21, '"k";v=%"%ed%a0%80"'),
	(22, '"k";v=%"%c0%80"'),
	(23, '"k";v=(1 2)')
) AS example (n, header), LATERAL refused(header)
ORDER BY n;

-- A setting limits the length of the key, without quotes and escapes.
SELECT length(idempotency.parse_header('"' || repeat('k', 255) || '"'));
SELECT length(idempotency.parse_header('"' || repeat('\\', 255) || '"'));
SELECT code, message, detail FROM refused('"' || repeat('k', 256) || '"');
SELECT code, message, detail FROM refused(repeat('k', 256));
-- the header is limited, too, including its parameters
SELECT idempotency.parse_header('"k"' || repeat(';p', 32766));
SELECT code, message, detail FROM refused('"k";' || repeat(';p', 32767));
SET idempotency.max_key_length = 7;
SELECT code, message, detail FROM refused('"8e03978e"');
RESET idempotency.max_key_length;

-- Only the claim decides whether a key is too short, by the policy of its scope.
SET idempotency.min_key_length = 16;
SELECT idempotency.parse_header('"8e03978e"');
SELECT idempotency.claim(idempotency.parse_header('"8e03978e"'), 'parse_header');
RESET idempotency.min_key_length;

-- Its errors have the prefix of the setting.
SET idempotency.sqlstate_prefix = 'PT';
SELECT code FROM refused('"8e03978e');
RESET idempotency.sqlstate_prefix;

DROP FUNCTION refused;
