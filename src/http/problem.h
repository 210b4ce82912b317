/*-------------------------------------------------------------------------
 *
 * problem.h
 *	  From an error to a problem document.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_PROBLEM_H
#define IDEMPOTENCY_PROBLEM_H

#include "utils/elog.h"
#include "utils/jsonb.h"

/* The HTTP status that an error stands for. */
extern int	problem_status(const ErrorData *error);

/* The error as a problem document of RFC 9457. */
extern Jsonb *problem_document(const ErrorData *error);

#endif							/* IDEMPOTENCY_PROBLEM_H */
