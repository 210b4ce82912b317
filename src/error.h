/*-------------------------------------------------------------------------
 *
 * error.h
 *	  The SQLSTATEs that users see, one for each HTTP status.
 *
 * A code is the prefix of the setting idempotency.sqlstate_prefix and the
 * three digits of the status: IK409 by default, or PT409 so that PostgREST
 * answers with that status.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_ERROR_H
#define IDEMPOTENCY_ERROR_H

#define HTTP_OK					200
#define HTTP_CREATED			201
#define HTTP_BAD_REQUEST		400
#define HTTP_NOT_FOUND			404
#define HTTP_CONFLICT			409
#define HTTP_GONE				410
#define HTTP_PRECONDITION		412
#define HTTP_TOO_LARGE			413
#define HTTP_UNPROCESSABLE		422
#define HTTP_LOCKED				423
#define HTTP_ATTEMPT_REQUIRED	428
#define HTTP_INTERNAL			500

/* The setting: its first two characters. */
extern char *sqlstate_prefix;

/* The SQLSTATE of an HTTP status, for errcode(). */
extern int	idempotency_sqlstate(int http_status);

#endif							/* IDEMPOTENCY_ERROR_H */
