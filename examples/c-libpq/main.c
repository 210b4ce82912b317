/*
 * Answers the requests of promises.pl.
 */
#include <stdio.h>

#include "payments.h"

int
main(void)
{
	PGconn	   *db = PQconnectdb("");
	char		key[512];
	char		customer[128];
	char		amount[12];
	Answer		answer;

	if (PQstatus(db) != CONNECTION_OK)
	{
		fputs(PQerrorMessage(db), stderr);
		return 1;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	while (scanf("%511s %127s %11s", key, customer, amount) == 3)
	{
		pay(db, key, customer, amount, &answer);
		printf("%d %s\n", answer.status, answer.body);
	}
	PQfinish(db);
	return 0;
}
