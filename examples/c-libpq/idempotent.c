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
	/* These are for the client; any other error is the service's own fault. */
	answer->status = 500;
	for (const char *const *known = (const char *[]) {"IK400", "IK409", "IK412", "IK413", "IK422", NULL}; *known; known++)
		if (sqlstate && strcmp(sqlstate, *known) == 0)
			answer->status = atoi(sqlstate + 2);
	snprintf(answer->body, sizeof(answer->body), "{\"title\": \"SQLSTATE %s\"}", sqlstate ? sqlstate : "");
	PQclear(result);
	return NULL;
}

static bool
claim_work_complete(PGconn *db, const char *key, const char *scope, const char *request, Work work, void *argument, Answer *answer)
{
	PGresult   *claim;
	char		status[12];
	bool		is_new;

	/* After "recovered" a previous owner has committed a part of the work. */
	claim = query(db, answer,
				  "SELECT outcome = 'new', CASE outcome WHEN 'recovered' THEN 500 ELSE status_code END, "
				  "CASE outcome WHEN 'replay' THEN response ELSE jsonb_build_object('title', outcome) END "
				  "FROM idempotency.claim(key => $1, scope => $2, request => $3)", 3, (const char *[]) {key, scope, request});
	if (claim == NULL)
		return false;
	is_new = *PQgetvalue(claim, 0, 0) == 't';
	if (!is_new)
	{
		answer->status = atoi(PQgetvalue(claim, 0, 1));
		snprintf(answer->body, sizeof(answer->body), "%s", PQgetvalue(claim, 0, 2));
	}
	PQclear(claim);
	if (!is_new)
		return answer->status < 500;

	if (!work(db, argument, answer) || answer->status >= 500)
		return false;
	snprintf(status, sizeof(status), "%d", answer->status);
	claim = query(db, answer, "SELECT idempotency.complete(key => $1, scope => $2, response => $3, status_code => $4)",
				  4, (const char *[]) {key, scope, answer->body, status});
	PQclear(claim);
	return claim != NULL;
}

/*
 * Run the work once for each key of the scope.  Claim, work and answer are one
 * transaction; an error, and an answer of 500 and above, undoes all of it, and a
 * retry runs the work again.  The request is compared: over HTTP, pass method,
 * path, query and body.
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
