#include <stdio.h>

#include "payments.h"

static bool
insert_payment(PGconn *db, void *argument, Answer *answer)
{
	PGresult   *made = query(db, answer,
							 "INSERT INTO payments (customer, amount) VALUES ($1, $2) RETURNING to_jsonb(payments)",
							 2, (const char *const *) argument);

	if (made == NULL)
		return false;
	answer->status = 201;
	snprintf(answer->body, sizeof(answer->body), "%s", PQgetvalue(made, 0, 0));
	PQclear(made);
	return true;
}

void
pay(PGconn *db, const char *key, const char *customer, const char *amount, Answer *answer)
{
	char		scope[256];
	char		request[64];

	snprintf(scope, sizeof(scope), "payments/%s", customer);
	snprintf(request, sizeof(request), "{\"amount\": %s}", amount);
	idempotent(db, key, scope, request, insert_payment, (const char *[]) {customer, amount}, answer);
}
