-- Every object of the extension has a comment: \dx+, \df+, \d+ and \dT+ of
-- psql describe each object and each column.
CREATE VIEW member AS
SELECT classid, objid
FROM pg_depend
WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
	AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'idempotency');

SELECT count(*) > 40 AS many FROM member;

-- PostgreSQL 18 counts the types of rows and arrays as members, too.
SELECT pg_describe_object(classid, objid, 0) AS without_comment
FROM member
WHERE obj_description(objid, classid::regclass::name) IS NULL
	AND NOT EXISTS (SELECT FROM pg_type LEFT JOIN pg_class ON pg_class.oid = typrelid
		WHERE classid = 'pg_type'::regclass AND pg_type.oid = objid AND relkind IS DISTINCT FROM 'c')
ORDER BY 1;

SELECT pg_describe_object('pg_class'::regclass, attrelid, attnum) AS without_comment
FROM member
JOIN pg_class ON classid = 'pg_class'::regclass AND objid = pg_class.oid
	OR classid = 'pg_type'::regclass AND objid = reltype
JOIN pg_attribute ON attrelid = pg_class.oid
WHERE attnum > 0 AND NOT attisdropped AND NOT relispartition
	AND relkind IN ('r', 'p', 'v', 'c')
	AND col_description(attrelid, attnum) IS NULL
ORDER BY attrelid::regclass::text, attnum;

-- They have one line without a full stop, like PostgreSQL's own.
SELECT pg_describe_object(classoid, objoid, objsubid) AS object, description
FROM member
JOIN pg_description ON classoid = classid AND objoid = objid
WHERE description ~ '^\s|\s$|\.$' OR description ~ '\n';

SELECT obj_description(oid, 'pg_extension') <> '' AS described FROM pg_extension WHERE extname = 'idempotency';
DROP VIEW member;
