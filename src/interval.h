/*-------------------------------------------------------------------------
 *
 * interval.h
 *	  Intervals that callers give: ttl, lease, wait.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_INTERVAL_H
#define IDEMPOTENCY_INTERVAL_H

#include "fmgr.h"
#include "utils/timestamp.h"

/*
 * Beyond this, sums of times and intervals could leave the calendar.  Holds for
 * what callers give and for the settings that stand in for it.
 */
#define MAX_INTERVAL_YEARS	5000
#define MAX_INTERVAL_USECS ((double) MAX_INTERVAL_YEARS * DAYS_PER_YEAR * USECS_PER_DAY)

/* Length in microseconds, with months of 30 days. */
extern double interval_usecs(const Interval *interval);

/*
 * The interval at the given position of a function call, NULL where it is
 * NULL.  Raises IK400 where it is negative, too long or, for a ttl or the lease
 * of a claim, zero.
 */
extern Interval *interval_from_arg(FunctionCallInfo fcinfo, int arg, const char *name);
extern Interval *wait_from_arg(FunctionCallInfo fcinfo, int arg);
extern Interval *policy_lease_from_arg(FunctionCallInfo fcinfo, int arg);

/*
 * The time an interval after (before) another.  A day is 24 hours in every time
 * zone; months are the calendar's.
 */
extern TimestampTz time_after(TimestampTz time, const Interval *interval);
extern TimestampTz time_before(TimestampTz time, const Interval *interval);

#endif							/* IDEMPOTENCY_INTERVAL_H */
