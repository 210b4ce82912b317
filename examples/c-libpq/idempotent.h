#include <stdbool.h>

#include <libpq-fe.h>

typedef struct Answer
{
	int			status;
	char		body[8192];
} Answer;

typedef bool (*Work) (PGconn *db, void *argument, Answer *answer);

extern PGresult *query(PGconn *db, Answer *answer, const char *sql, int n, const char *const *values);
extern void idempotent(PGconn *db, const char *key, const char *scope, const char *request,
					   Work work, void *argument, Answer *answer);
