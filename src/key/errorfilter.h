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

/* Raise IK400 where an element is neither a SQLSTATE nor a class of them. */
extern void check_error_filter(const ArrayType *filter);

/*
 * Whether the filter, an array that has passed the check, stores an error.
 * Never one that a retry is meant for, nor one by which the statement or the
 * session is being ended.
 */
extern bool stores_error(const ArrayType *filter, int sqlerrcode);

#endif							/* IDEMPOTENCY_ERRORFILTER_H */
