/*-------------------------------------------------------------------------
 *
 * errorfilter.h
 *	  Which errors of a command are stored as its result.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_ERRORFILTER_H
#define IDEMPOTENCY_ERRORFILTER_H

#include "utils/array.h"

/* Raise IK400 if an element is neither a SQLSTATE nor a class of SQLSTATEs. */
extern void check_error_filter(const ArrayType *filter);

/*
 * Whether the filter, an array that has passed the check, stores an error.  An
 * error that asks for a retry is never stored, nor one that cancels the
 * statement or ends the session.
 */
extern bool stores_error(const ArrayType *filter, int sqlerrcode);

#endif							/* IDEMPOTENCY_ERRORFILTER_H */
