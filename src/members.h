/*-------------------------------------------------------------------------
 *
 * members.h
 *	  What belongs to the extension.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_MEMBERS_H
#define IDEMPOTENCY_MEMBERS_H

#include "nodes/pg_list.h"

/* Raise UNDEFINED_OBJECT: the extension is not installed in this database. */
extern void extension_missing(void);

/* The members of the extension that are in the given catalog; raises that error. */
extern List *extension_members(Oid classid);

/* The function of that name that is a member. */
extern Oid	extension_function(const char *name);

#endif							/* IDEMPOTENCY_MEMBERS_H */
