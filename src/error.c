/*-------------------------------------------------------------------------
 *
 * error.c
 *	  The SQLSTATEs that users see.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "error.h"

char	   *sqlstate_prefix = "IK";

int
idempotency_sqlstate(int http_status)
{
	return MAKE_SQLSTATE(sqlstate_prefix[0], sqlstate_prefix[1],
						 '0' + http_status / 100,
						 '0' + http_status / 10 % 10,
						 '0' + http_status % 10);
}
