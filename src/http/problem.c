/*-------------------------------------------------------------------------
 *
 * problem.c
 *	  From an error to a problem document.
 *
 * RFC 9457, section 3: an object with type, title, status and detail.  The
 * type is about:blank, for which section 4.2.1 asks that the title be that of
 * the HTTP status.  The SQLSTATE, and the hint if the error has one, are added
 * as extension members.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "error.h"
#include "lib/stringinfo.h"
#include "http/problem.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"

typedef struct HttpStatus
{
	int			status;
	const char *title;			/* RFC 9110, section 15 */
} HttpStatus;

static const HttpStatus http_statuses[] = {
	{400, "Bad Request"},
	{401, "Unauthorized"},
	{402, "Payment Required"},
	{403, "Forbidden"},
	{404, "Not Found"},
	{405, "Method Not Allowed"},
	{406, "Not Acceptable"},
	{409, "Conflict"},
	{410, "Gone"},
	{412, "Precondition Failed"},
	{413, "Content Too Large"},
	{415, "Unsupported Media Type"},
	{422, "Unprocessable Content"},
	{423, "Locked"},
	{428, "Precondition Required"},
	{429, "Too Many Requests"},
	{500, "Internal Server Error"},
	{501, "Not Implemented"},
	{502, "Bad Gateway"},
	{503, "Service Unavailable"},
	{504, "Gateway Timeout"},
};

static const char *
title_of(int status)
{
	for (int i = 0; i < (int) lengthof(http_statuses); i++)
	{
		if (http_statuses[i].status == status)
			return http_statuses[i].title;
	}
	return NULL;
}

int
problem_status(const ErrorData *error)
{
	const char *sqlstate = unpack_sql_state(error->sqlerrcode);
	int			status;

	/* SQLSTATEs that contain a status: the extension's, and PostgREST's. */
	if ((strncmp(sqlstate, "PT", 2) == 0 ||
		 error->sqlerrcode == idempotency_sqlstate(atoi(sqlstate + 2))) &&
		title_of(status = atoi(sqlstate + 2)) != NULL)
		return status;

	switch (error->sqlerrcode)
	{
		case ERRCODE_UNIQUE_VIOLATION:
		case ERRCODE_FOREIGN_KEY_VIOLATION:
		case ERRCODE_EXCLUSION_VIOLATION:
			return 409;
		case ERRCODE_INSUFFICIENT_PRIVILEGE:
			return 403;
		case ERRCODE_NO_DATA_FOUND:
			return 404;
		case ERRCODE_RAISE_EXCEPTION:
			return 400;
	}
	switch (ERRCODE_TO_CATEGORY(error->sqlerrcode))
	{
		case ERRCODE_DATA_EXCEPTION:
		case ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION:
			return 422;
	}
	return 500;
}

static void
append_member(StringInfo json, const char *name, const char *value)
{
	if (value == NULL)
		return;
	appendStringInfo(json, ", \"%s\": ", name);
	escape_json(json, value);
}

Jsonb *
problem_document(const ErrorData *error)
{
	int			status = problem_status(error);
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfo(&json, "{\"type\": \"about:blank\", \"title\": \"%s\", \"status\": %d",
					 title_of(status), status);
	append_member(&json, "detail", error->message);
	append_member(&json, "hint", error->hint);
	append_member(&json, "sqlstate", unpack_sql_state(error->sqlerrcode));
	appendStringInfoChar(&json, '}');
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data)));
}
