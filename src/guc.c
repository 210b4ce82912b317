/*-------------------------------------------------------------------------
 *
 * guc.c
 *	  The settings of the extension.
 *
 * Intervals are settings of type string, which accept both the syntax of an
 * interval ('1 day') and the units of a setting ('1d', '60s').  The check hook
 * admits only what parse_interval() reads; the assign hook reads it once more
 * into the variable that the rest of the code uses, and therefore can't fail.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>
#include <limits.h>
#include <math.h>

#include "error.h"
#include "guc.h"
#include "interval.h"
#include "utils/datetime.h"
#include "utils/guc.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#define MAX_INTERVAL_TEXT	256

#define SHORTEST_INTERVAL	INT64CONST(1000)	/* a millisecond */

/*
 * Eight ticks of this length end long before the last date that a timestamp
 * can hold.
 */
#define MAX_WHEEL_TICK		(3653 * USECS_PER_DAY)
#define MAX_SWEEP_INTERVAL	USECS_PER_DAY

Interval	default_ttl;
Interval	default_lease;
Interval	default_wait;
int			min_key_length = 1;
int			max_key_length = 255;
int			max_response_size = 1024;
bool		worker_enabled = true;
int64		sweep_interval = 60 * USECS_PER_SEC;
int			max_waiters = 10;
bool		durable_replay = true;
int			sweep_batch = 10000;
char	   *sweep_databases = "";
int64		wheel_tick = USECS_PER_DAY;
int			store_setting = STORE_AUTO;

static char *default_ttl_text;
static char *default_lease_text;
static char *default_wait_text;
static char *sweep_interval_text;
static char *wheel_tick_text;

static const struct config_enum_entry stores[] = {
	{"auto", STORE_AUTO, false},
	{"local", STORE_LOCAL, false},
	{"distributed", STORE_DISTRIBUTED, false},
	{NULL, 0, false}
};

/*
 * Whether the text is a number other than zero, without a unit.  The server's
 * settings read such a number as milliseconds, interval_in() as seconds.
 */
static bool
lacks_unit(const char *text)
{
	char	   *end;
	double		number = strtod(text, &end);

	/* A word such as infinity does not lack a unit either. */
	if (number == 0 || isinf(number) || isnan(number))
		return false;
	while (isspace((unsigned char) *end))
		end++;
	if (*end != '\0')
		return false;
	GUC_check_errhint("Give the number a unit, as in \"60 s\".");
	return true;
}

/*
 * Read an interval as interval_in() does, but report a bad one by returning
 * false: a check hook must not raise an error.
 */
static bool
parse_interval(const char *text, Interval *result)
{
	struct pg_itm_in itm = {0};
	char	   *field[MAXDATEFIELDS];
	int			ftype[MAXDATEFIELDS];
	char		buffer[MAX_INTERVAL_TEXT];
	int			nfields;
	int			dtype;
	int			error;

	if (lacks_unit(text))
		return false;
	error = ParseDateTime(text, buffer, sizeof(buffer), field, ftype,
						  MAXDATEFIELDS, &nfields);
	if (error == 0)
		error = DecodeInterval(field, ftype, nfields, INTERVAL_FULL_RANGE,
							   &dtype, &itm);
	if (error == DTERR_BAD_FORMAT)
		error = DecodeISO8601Interval(unconstify(char *, text), &dtype, &itm);
	return error == 0 && dtype == DTK_DELTA && itmin2interval(&itm, result) == 0;
}

static bool
is_interval_within(const char *text, double least_usecs, double most_usecs)
{
	Interval	interval;

	return parse_interval(text, &interval) &&
		interval_usecs(&interval) >= least_usecs &&
		interval_usecs(&interval) <= most_usecs;
}

static bool
check_positive_interval(char **newval, void **extra, GucSource source)
{
	if (is_interval_within(*newval, 1, MAX_INTERVAL_USECS))
		return true;
	GUC_check_errdetail("The value must be an interval longer than zero, of at most %d years.",
						MAX_INTERVAL_YEARS);
	return false;
}

static bool
check_wait(char **newval, void **extra, GucSource source)
{
	if (is_interval_within(*newval, 0, MAX_INTERVAL_USECS))
		return true;
	GUC_check_errdetail("The value must be an interval, zero or longer, of at most %d years.",
						MAX_INTERVAL_YEARS);
	return false;
}

static bool
is_off(const char *text)
{
	return pg_strcasecmp(text, "off") == 0;
}

static bool
check_lease(char **newval, void **extra, GucSource source)
{
	if (is_off(*newval) || is_interval_within(*newval, 0, MAX_INTERVAL_USECS))
		return true;
	GUC_check_errdetail("The value must be \"off\" or an interval of at most %d years.",
						MAX_INTERVAL_YEARS);
	return false;
}

static void
assign_default_ttl(const char *newval, void *extra)
{
	(void) parse_interval(newval, &default_ttl);
}

/* "off" is an interval of zero. */
static void
assign_default_lease(const char *newval, void *extra)
{
	if (is_off(newval))
		memset(&default_lease, 0, sizeof(default_lease));
	else
		(void) parse_interval(newval, &default_lease);
}

static void
assign_default_wait(const char *newval, void *extra)
{
	(void) parse_interval(newval, &default_wait);
}

static bool
check_sweep_interval(char **newval, void **extra, GucSource source)
{
	if (is_interval_within(*newval, SHORTEST_INTERVAL, MAX_SWEEP_INTERVAL))
		return true;
	GUC_check_errdetail("The value must be an interval of one millisecond to one day.");
	return false;
}

static void
assign_sweep_interval(const char *newval, void *extra)
{
	Interval	interval;

	if (parse_interval(newval, &interval))
		sweep_interval = (int64) interval_usecs(&interval);
}

static bool
check_wheel_tick(char **newval, void **extra, GucSource source)
{
	if (is_interval_within(*newval, SHORTEST_INTERVAL, MAX_WHEEL_TICK))
		return true;
	GUC_check_errdetail("The value must be an interval of one millisecond to ten years.");
	return false;
}

static void
assign_wheel_tick(const char *newval, void *extra)
{
	Interval	interval;

	if (parse_interval(newval, &interval))
		wheel_tick = (int64) interval_usecs(&interval);
}

static bool
check_sweep_databases(char **newval, void **extra, GucSource source)
{
	char	   *names = pstrdup(*newval);
	List	   *list;
	bool		valid = SplitIdentifierString(names, ',', &list);

	list_free(list);
	pfree(names);
	if (!valid)
		GUC_check_errdetail("The value must be a list of database names, separated by commas.");
	return valid;
}

static bool
check_sqlstate_prefix(char **newval, void **extra, GucSource source)
{
	const char *prefix = *newval;

	if (strlen(prefix) == 2)
	{
		bool		first = isdigit((unsigned char) prefix[0]) ||
			(prefix[0] >= 'A' && prefix[0] <= 'Z');
		bool		second = isdigit((unsigned char) prefix[1]) ||
			(prefix[1] >= 'A' && prefix[1] <= 'Z');

		/* Classes 00 to 02 are success, warning and no data, not errors. */
		if (first && second &&
			!(prefix[0] == '0' && prefix[1] >= '0' && prefix[1] <= '2'))
			return true;
	}
	GUC_check_errdetail("The value must be two upper-case letters or digits, other than 00, 01 and 02.");
	return false;
}

/*
 * Only superusers can set how long a key is remembered, which keys and results
 * are accepted, and the SQLSTATEs of errors: the author of a function that
 * claims keys relies on these, and its caller must not be able to change them.
 */
void
define_settings(void)
{
	DefineCustomStringVariable("idempotency.default_ttl",
							   "How long a key is remembered.",
							   NULL, &default_ttl_text, "1 day", PGC_SUSET, 0,
							   check_positive_interval, assign_default_ttl, NULL);
	DefineCustomStringVariable("idempotency.default_lease",
							   "How long an unfinished, committed claim stays protected.",
							   "off: a claim that asks for no lease can't be committed unfinished.",
							   &default_lease_text, "off", PGC_SUSET, 0,
							   check_lease, assign_default_lease, NULL);
	DefineCustomStringVariable("idempotency.default_wait",
							   "How long a claim waits for a concurrent owner.",
							   "Zero answers at once.",
							   &default_wait_text, "5 s", PGC_USERSET, 0,
							   check_wait, assign_default_wait, NULL);
	DefineCustomIntVariable("idempotency.min_key_length",
							"Minimum length of a key, in bytes.",
							NULL, &min_key_length, 1, 1, KEY_LENGTH_LIMIT, PGC_SUSET,
							GUC_UNIT_BYTE, NULL, NULL, NULL);
	DefineCustomIntVariable("idempotency.max_key_length",
							"Maximum length of a key, in bytes.",
							NULL, &max_key_length, 255, 1, KEY_LENGTH_LIMIT, PGC_SUSET,
							GUC_UNIT_BYTE, NULL, NULL, NULL);
	DefineCustomIntVariable("idempotency.max_response_size",
							"Maximum size of a response.",
							NULL, &max_response_size, 1024, 1, MAX_KILOBYTES,
							PGC_SUSET, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomStringVariable("idempotency.sqlstate_prefix",
							   "First two characters of the SQLSTATEs that the extension raises.",
							   "PT makes PostgREST answer with the HTTP status of the other three.",
							   &sqlstate_prefix, "IK", PGC_SUSET, 0,
							   check_sqlstate_prefix, NULL, NULL);
	DefineCustomIntVariable("idempotency.max_waiters",
							"Maximum number of sessions that wait in claims of one key.",
							"A further one is answered in_progress at once.",
							&max_waiters, 10, 0, INT_MAX, PGC_SUSET, 0,
							NULL, NULL, NULL);
	DefineCustomBoolVariable("idempotency.durable_replay",
							 "Wait for synchronous standbys before a replay, as commits do.",
							 NULL, &durable_replay, true, PGC_SUSET, 0,
							 NULL, NULL, NULL);
	DefineCustomBoolVariable("idempotency.worker",
							 "Sweep expired keys in the background.",
							 "Requires that the library is in shared_preload_libraries.",
							 &worker_enabled, true, PGC_SIGHUP, 0,
							 NULL, NULL, NULL);
	DefineCustomStringVariable("idempotency.sweep_interval",
							   "Time between two rounds of expiry by the worker.",
							   NULL, &sweep_interval_text, "60 s", PGC_SIGHUP, 0,
							   check_sweep_interval, assign_sweep_interval, NULL);
	DefineCustomIntVariable("idempotency.sweep_batch",
							"Maximum number of keys that a round of expiry deletes from keys_long.",
							"This is also the maximum number of pages that it reads.",
							&sweep_batch, 10000, 1, INT_MAX, PGC_SUSET, 0,
							NULL, NULL, NULL);
	DefineCustomStringVariable("idempotency.sweep_databases",
							   "Databases that the worker sweeps.",
							   "Empty: all that have the extension.",
							   &sweep_databases, "", PGC_SIGHUP, GUC_LIST_INPUT,
							   check_sweep_databases, NULL, NULL);
	DefineCustomStringVariable("idempotency.wheel_tick",
							   "Distance between the upper bounds of two slots of the expiry wheel.",
							   "A new value is in force after the next sweep, for slots that are empty.",
							   &wheel_tick_text, "1 day", PGC_SUSET, 0,
							   check_wheel_tick, assign_wheel_tick, NULL);
	DefineCustomEnumVariable("idempotency.store",
							 "Where keys are stored.",
							 "auto: in the table that distribute() has created, or, if there is none, in the tables of the extension; local: in the tables of the extension; distributed: in the table of distribute().",
							 &store_setting, STORE_AUTO, stores, PGC_SUSET, 0,
							 NULL, NULL, NULL);
	MarkGUCPrefixReserved("idempotency");
}
