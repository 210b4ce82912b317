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
 * With longer intervals, the sum of a time and an interval could be out of
 * range.  The limit is for the arguments of callers and for the settings that
 * are their defaults.
 */
#define MAX_INTERVAL_YEARS	5000
#define MAX_INTERVAL_USECS ((double) MAX_INTERVAL_YEARS * DAYS_PER_YEAR * USECS_PER_DAY)

/*
 * Length in microseconds, with months of 30 days; the shortest that it can be
 * if months are added to negative days, or subtracted.
 */
extern double interval_usecs(const Interval *interval);

/*
 * An argument of a function call; NULL if the argument is null.  Raises IK400
 * if the interval is negative, too long or, for a ttl or the lease of a claim,
 * zero.
 */
extern Interval *interval_from_arg(FunctionCallInfo fcinfo, int arg, const char *name);
extern Interval *wait_from_arg(FunctionCallInfo fcinfo, int arg);
extern Interval *policy_lease_from_arg(FunctionCallInfo fcinfo, int arg);

/*
 * The time that is the given interval after (before) another time.  A day is
 * 24 hours in every time zone; months are calendar months.
 */
extern TimestampTz time_after(TimestampTz time, const Interval *interval);
extern TimestampTz time_before(TimestampTz time, const Interval *interval);

#endif							/* IDEMPOTENCY_INTERVAL_H */
