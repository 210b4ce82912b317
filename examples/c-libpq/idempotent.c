#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "idempotent.h"

/* Run a statement that returns one row; NULL, with a title in answer, if not. */
PGresult *
query(PGconn *db, Answer *answer, const char *sql, int n, const char *const *values)
{
	PGresult   *result = PQexecParams(db, sql, n, NULL, values, NULL, NULL, 0);
	const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);

	if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1)
		return result;
	/* The extension's SQLSTATEs end in the HTTP status. */
	answer->status = sqlstate && strncmp(sqlstate, "IK", 2) == 0 ? atoi(sqlstate + 2) : 500;
	snprintf(answer->body, sizeof(answer->body), "{\"title\": \"SQLSTATE %s\"}", sqlstate ? sqlstate : "");
	PQclear(result);
	return NULL;
}

static bool
claim_work_complete(PGconn *db, const char *key, const char *scope, const char *request, Work work, void *argument, Answer *answer)
{
	PGresult   *claim;
	char		status[12];
	bool		proceed;

	claim = query(db, answer,
				  "SELECT proceed, status_code, CASE outcome WHEN 'replay' THEN response ELSE jsonb_build_object('title', outcome) END "
				  "FROM idempotency.claim($1, $2, $3)", 3, (const char *[]) {key, scope, request});
	if (claim == NULL)
		return false;
	proceed = *PQgetvalue(claim, 0, 0) == 't';
	if (!proceed)
	{
		answer->status = atoi(PQgetvalue(claim, 0, 1));
		snprintf(answer->body, sizeof(answer->body), "%s", PQgetvalue(claim, 0, 2));
	}
	PQclear(claim);
	if (!proceed)
		return true;

	if (!work(db, argument, answer))
		return false;
	snprintf(status, sizeof(status), "%d", answer->status);
	claim = query(db, answer, "SELECT idempotency.complete($1, $2, $3, status_code => $4)",
				  4, (const char *[]) {key, scope, answer->body, status});
	PQclear(claim);
	return claim != NULL;
}

/*
 * Run the work once for each key of the scope.  Claim, work and answer are one
 * transaction; an error rolls all of it back, and a retry runs the work again.
 */
void
idempotent(PGconn *db, const char *key, const char *scope, const char *request, Work work, void *argument, Answer *answer)
{
	bool		done;
	PGresult   *result;

	PQclear(PQexec(db, "BEGIN"));
	done = claim_work_complete(db, key, scope, request, work, argument, answer);
	result = PQexec(db, done ? "COMMIT" : "ROLLBACK");
	if (done && strcmp(PQcmdStatus(result), "COMMIT") != 0)
		*answer = (Answer) {500, "{\"title\": \"not committed\"}"};
	PQclear(result);
}
