/*-------------------------------------------------------------------------
 *
 * idempotency.c
 *	  What happens when the library is loaded.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"

#include "guc.h"
#include "objects.h"
#include "store/deferred.h"
#include "store/unfinished.h"
#include "stats.h"
#include "sweep/worker.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

void
_PG_init(void)
{
	define_settings();
	watch_objects();
	register_launcher();
	share_stats();
	share_deferred_claims();
	watch_statements();
}
