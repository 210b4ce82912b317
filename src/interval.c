/*-------------------------------------------------------------------------
 *
 * interval.c
 *	  Intervals that callers give: ttl, lease, wait.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "error.h"
#include "interval.h"
#include "utils/builtins.h"

double
interval_usecs(const Interval *interval)
{
	double		rest = (double) interval->time + (double) interval->day * USECS_PER_DAY;
	int			month = interval->month < 0 ? 31 : rest < 0 ? 28 : DAYS_PER_MONTH;

	return rest + (double) interval->month * month * USECS_PER_DAY;
}

/*
 * Raise IK400 for an interval that is out of bounds.  If an interval of zero
 * is allowed, the argument zero describes its meaning.
 */
static void
check_length(const Interval *interval, const char *name, const char *zero)
{
	double		length = interval_usecs(interval);

	if (length < 0 || (length == 0 && zero == NULL))
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
				 zero != NULL ?
				 errmsg("%s must not be negative", name) :
				 errmsg("%s must be longer than zero", name),
				 errdetail("The value given is %s.",
						   DatumGetCString(DirectFunctionCall1(interval_out,
															   IntervalPGetDatum(interval)))),
				 zero != NULL ?
				 errhint("Give an interval of zero %s.", zero) :
				 errhint("Leave the argument out for the default.")));
	if (length > MAX_INTERVAL_USECS)
		ereport(ERROR,
				(errcode(idempotency_sqlstate(HTTP_BAD_REQUEST)),
				 errmsg("%s is too long", name),
				 errdetail("The maximum is %d years.", MAX_INTERVAL_YEARS),
				 errhint("Give a shorter interval.")));
}

static Interval *
checked_interval(FunctionCallInfo fcinfo, int arg, const char *name, const char *zero)
{
	Interval   *interval;

	if (PG_ARGISNULL(arg))
		return NULL;
	interval = PG_GETARG_INTERVAL_P(arg);
	check_length(interval, name, zero);
	return interval;
}

Interval *
interval_from_arg(FunctionCallInfo fcinfo, int arg, const char *name)
{
	return checked_interval(fcinfo, arg, name, NULL);
}

Interval *
wait_from_arg(FunctionCallInfo fcinfo, int arg)
{
	return checked_interval(fcinfo, arg, "wait", "to be answered at once");
}

Interval *
policy_lease_from_arg(FunctionCallInfo fcinfo, int arg)
{
	return checked_interval(fcinfo, arg, "lease", "for no lease");
}

/* The length in microseconds of an interval without months. */
static int64
exact_length(const Interval *interval)
{
	return interval->day * USECS_PER_DAY + interval->time;
}

TimestampTz
time_after(TimestampTz time, const Interval *interval)
{
	if (interval->month == 0)
		return time + exact_length(interval);
	return DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
												   TimestampTzGetDatum(time),
												   IntervalPGetDatum(interval)));
}

TimestampTz
time_before(TimestampTz time, const Interval *interval)
{
	if (interval->month == 0)
		return time - exact_length(interval);
	return DatumGetTimestampTz(DirectFunctionCall2(timestamptz_mi_interval,
												   TimestampTzGetDatum(time),
												   IntervalPGetDatum(interval)));
}
