\set ECHO none
-- show_error(STATEMENT): run it, and show its error as one message, without the
-- context, which differs between the stores.
--
-- To be read by files of sql/.  It is not echoed, so that no expected output
-- repeats it.
CREATE PROCEDURE pg_temp.show_error(statement text) LANGUAGE plpgsql AS $$
DECLARE
	message text;
	detail text;
	hint text;
BEGIN
	EXECUTE statement;
	RAISE INFO 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RAISE INFO '%', concat_ws(E'\n', SQLSTATE || ': ' || message,
							  'DETAIL: ' || nullif(detail, ''), 'HINT: ' || nullif(hint, ''));
END $$;
\set ECHO all
