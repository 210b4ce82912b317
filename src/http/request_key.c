/*-------------------------------------------------------------------------
 *
 * request_key.c
 *	  The key of an HTTP request: parse_header() and request_key().
 *
 * header.c has the grammar; this file raises the errors.  How long a key may
 * be is a setting, so that one session may accept a header that another
 * refuses: both functions are therefore stable, not immutable.  The claim
 * checks how short a key may be, because that depends on the scope.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "compat.h"
#include "error.h"
#include "http/header.h"
#include "key/keyname.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/jsonb.h"

PG_FUNCTION_INFO_V1(idempotency_parse_header);
PG_FUNCTION_INFO_V1(idempotency_request_key);

/* The setting in which PostgREST passes the request's headers. */
#define HEADERS_SETTING	"request.headers"
#define HEADER_NAME		"idempotency-key"

/* More than any server accepts for a header; reading it can't be interrupted. */
#define HEADER_LENGTH_LIMIT	(64 * 1024)

#define SEND_A_KEY_HINT \
	errhint("Send the key as a string: Idempotency-Key: \"8e03978e-40d5-43dd-bc93-6894a57f9324\".")

static void
header_is_missing(const char *detail)
{
	ereport(ERROR,
			(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
			 errmsg("Idempotency-Key header is missing"),
			 detail ? errdetail_internal("%s", detail) : 0,
			 SEND_A_KEY_HINT));
}

static void
header_is_empty(void)
{
	ereport(ERROR,
			(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
			 errmsg("Idempotency-Key header is empty"),
			 SEND_A_KEY_HINT));
}

/* The key in a header.  Raises IK400 if there is none. */
static text *
key_of_header(const char *header, Size length, bool strict)
{
	text	   *name;
	HeaderKey	parsed;

	if (length > HEADER_LENGTH_LIMIT)
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
				 errmsg("Idempotency-Key header is too long"),
				 errdetail("It has %zu bytes; the maximum is %d.",
						   length, HEADER_LENGTH_LIMIT),
				 SEND_A_KEY_HINT));
	name = palloc(VARHDRSZ + length);
	parsed = parse_key_header(header, length, strict, VARDATA(name));
	if (parsed.fault == HEADER_BLANK)
		header_is_empty();
	if (parsed.fault != HEADER_OK)
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
				 errmsg("Idempotency-Key header is malformed"),
				 errdetail("At character %zu: expected %s.",
						   parsed.position + 1, header_expectation(parsed.fault)),
				 SEND_A_KEY_HINT));
	if (parsed.length == 0)
		header_is_empty();
	SET_VARSIZE(name, VARHDRSZ + parsed.length);
	check_key_not_too_long(name);
	return name;
}

/*
 * parse_header(header text, strict boolean) returns text
 *
 * The key in an Idempotency-Key header.  Raises IK400 if the header is
 * missing, empty or malformed, or the key is longer than allowed.
 */
Datum
idempotency_parse_header(PG_FUNCTION_ARGS)
{
	text	   *header;

	if (PG_ARGISNULL(0))
		header_is_missing(NULL);
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
				 errmsg("strict must not be null"),
				 errhint("Leave the argument out to accept keys without quotes as well.")));
	header = PG_GETARG_TEXT_PP(0);
	PG_RETURN_TEXT_P(key_of_header(VARDATA_ANY(header), VARSIZE_ANY_EXHDR(header),
								   PG_GETARG_BOOL(1)));
}

static void
headers_are_malformed(const char *detail)
{
	ereport(ERROR,
			(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
			 errmsg("setting \"%s\" is malformed", HEADERS_SETTING),
			 errdetail_internal("%s", detail),
			 errhint("Set it to a JSON object of header names in lower case and their values, as PostgREST does.")));
}

/*
 * request_key() returns text
 *
 * The key in the header of the current request, as PostgREST passes it on.
 * Raises IK400 as parse_header() does, and also if there is no request.
 */
Datum
idempotency_request_key(PG_FUNCTION_ARGS)
{
	const char *setting = GetConfigOption(HEADERS_SETTING, true, false);
	Datum		value;
	Jsonb	   *headers;
	JsonbValue	header;

	/*
	 * After a transaction that has set it locally, the setting is an empty
	 * string.
	 */
	if (setting == NULL || setting[0] == '\0')
		header_is_missing("The setting \"request.headers\" is not set: there is no request of PostgREST.");
	if (!read_value(JSONBOID, pstrdup(setting), &value))
		headers_are_malformed("It is not JSON.");
	headers = DatumGetJsonbP(value);
	if (!JB_ROOT_IS_OBJECT(headers))
		headers_are_malformed("It is not a JSON object.");
	if (getKeyJsonValueFromContainer(&headers->root, HEADER_NAME,
									 strlen(HEADER_NAME), &header) == NULL ||
		header.type == jbvNull)
		header_is_missing(NULL);
	if (header.type != jbvString)
		headers_are_malformed("The value of idempotency-key is not a string.");
	PG_RETURN_TEXT_P(key_of_header(header.val.string.val, header.val.string.len,
								   false));
}
