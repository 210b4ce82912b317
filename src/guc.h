/*-------------------------------------------------------------------------
 *
 * guc.h
 *	  The settings, parsed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_GUC_H
#define IDEMPOTENCY_GUC_H

#include "datatype/timestamp.h"

/* No setting allows keys longer than this, in bytes. */
#define KEY_LENGTH_LIMIT	8192

/* Values of the setting idempotency.store. */
typedef enum StoreSetting
{
	STORE_AUTO,
	STORE_LOCAL,
	STORE_DISTRIBUTED
} StoreSetting;

extern Interval default_ttl;
extern Interval default_lease;
extern Interval default_wait;
extern int	min_key_length;		/* bytes */
extern int	max_key_length;		/* bytes */
extern int	max_response_size;	/* kB */
extern int	max_waiters;		/* of one key */
extern bool durable_replay;
extern bool worker_enabled;
extern int64 sweep_interval;	/* microseconds */
extern int	sweep_batch;		/* rows, and pages */
extern char *sweep_databases;	/* names separated by commas, or empty: all */
extern int64 wheel_tick;		/* microseconds */
extern int	store_setting;		/* a StoreSetting */

/* Define the settings; called when the library is loaded. */
extern void define_settings(void);

#endif							/* IDEMPOTENCY_GUC_H */
