/*-------------------------------------------------------------------------
 *
 * idempotency.c
 *	  What happens when the library is loaded.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"

#include "guc.h"
#include "miscadmin.h"
#include "objects.h"
#include "store/deferred.h"
#include "store/unfinished.h"
#include "stats.h"
#include "sweep/launcher.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(idempotency_say_what_is_missing);

static bool loaded_with_server = false;

/* The script of CREATE EXTENSION runs in this transaction. */
static bool asked = false;

/*
 * While the script of an extension runs, the server suppresses NOTICEs,
 * whatever client_min_messages is.  So the NOTICE is raised before the commit.
 */
static void
say_what_is_missing(XactEvent event, void *arg)
{
	if (asked && event == XACT_EVENT_PRE_COMMIT)
		ereport(NOTICE,
				(errmsg("library \"idempotency\" is not loaded with the server"),
				 errdetail("No worker sweeps expired keys, nothing is counted, uncommitted owners have no names in \"in_flight\", and a claim is written when it is made."),
				 errhint("Add it to shared_preload_libraries, or call idempotency.sweep() from a scheduler.")));
	asked = false;
}

/*
 * Called in the script of CREATE EXTENSION, which drops the function
 * afterwards.
 */
Datum
idempotency_say_what_is_missing(PG_FUNCTION_ARGS)
{
	static bool registered = false;

	if (!loaded_with_server)
	{
		if (!registered)
			RegisterXactCallback(say_what_is_missing, NULL);
		registered = asked = true;
	}
	PG_RETURN_VOID();
}

void		_PG_init(void);

void
_PG_init(void)
{
	loaded_with_server = process_shared_preload_libraries_in_progress;
	define_settings();
	watch_objects();
	register_launcher();
	share_stats();
	share_deferred_claims();
	watch_statements();
}
