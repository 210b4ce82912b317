/*-------------------------------------------------------------------------
 *
 * terms.h
 *	  Intervals that callers give: ttl, lease, wait.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_TERMS_H
#define IDEMPOTENCY_TERMS_H

#include "fmgr.h"
#include "utils/timestamp.h"

/*
 * The interval at the given position of a function call, NULL where it is
 * NULL.  Raises IK400 where it is negative or, for a ttl or lease, zero.
 */
extern Interval *term_from_arg(FunctionCallInfo fcinfo, int arg, const char *name);
extern Interval *wait_from_arg(FunctionCallInfo fcinfo, int arg);

/* The time an interval after (before) another, as + (-) would tell in SQL. */
extern TimestampTz time_after(TimestampTz time, const Interval *interval);
extern TimestampTz time_before(TimestampTz time, const Interval *interval);

#endif							/* IDEMPOTENCY_TERMS_H */
