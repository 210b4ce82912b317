#include "idempotent.h"

extern void pay(PGconn *db, const char *key, const char *customer, const char *amount, Answer *answer);
