/*-------------------------------------------------------------------------
 *
 * first_use.c
 *	  Which leaves have never been used, and the first use of one.
 *
 * A leaf that has never been used is not probed.  Most slots of a wheel are
 * unused, and opening and measuring all of them would cost as much as the rest of
 * a claim.  W3 then requires that no earlier claim of K has put a row into a leaf
 * that is believed to be unused:
 *
 *		first use of leaf S				finding out what is unused
 *		lock the wheel for first use
 *		send a message to all
 *		add an empty page to S
 *		unlock the wheel				lock the wheel against first use
 *										  (waits here while another has it)
 *		insert K into S,				measure S
 *		unlock K						unlock the wheel
 *
 * The message is sent at once and not at the commit, because the row counts
 * before it is committed.  A backend that takes K's lock after the earlier claim
 * accepts the message with it and measures again.  It then sees either the page,
 * or no page and a message that is still to come.  So no leaf grows from no page
 * to one except in use_leaf(), which reads the number of pages even if the
 * leaf is believed to be used: VACUUM may have removed all its pages since.
 * After a crash no backend believes anything yet.  A standby does not receive
 * these messages, and treats every leaf as used.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xlog.h"
#include "catalog/pg_class.h"
#include "compat.h"
#include "miscadmin.h"
#include "objects.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/sinval.h"
#include "store/local/first_use.h"
#include "utils/rel.h"
#include "utils/syscache.h"

/*
 * The lock that orders first use and measuring.  Its holder keeps it for a
 * moment, and waits for nothing but a page.
 */
static void
lock_first_use(LOCKMODE mode)
{
	LockDatabaseObject(RelationRelationId, objects()->wheel, 0, mode);
}

static void
unlock_first_use(LOCKMODE mode)
{
	UnlockDatabaseObject(RelationRelationId, objects()->wheel, 0, mode);
}

void
find_unused_leaves(Wheel *wheel)
{
	memset(wheel->unused, false, sizeof(wheel->unused));
	if (RecoveryInProgress())
		return;
	lock_first_use(ShareLock);
	for (int leaf = 0; leaf < LEAVES; leaf++)
	{
		Oid			relid = objects()->leaf[leaf];

		/* The file is measured without the table's relcache entry. */
		if (ConditionalLockRelationOid(relid, AccessShareLock))
		{
			HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));

			if (HeapTupleIsValid(tuple))
			{
				wheel->unused[leaf] = pages_of_table((Form_pg_class) GETSTRUCT(tuple)) == 0;
				ReleaseSysCache(tuple);
			}
			UnlockRelationOid(relid, AccessShareLock);
		}
	}
	unlock_first_use(ShareLock);
}

static void
announce_first_use(void)
{
	SharedInvalidationMessage message;

	message.rc.id = SHAREDINVALRELCACHE_ID;
	message.rc.dbId = MyDatabaseId;
	message.rc.relId = objects()->wheel;
	SendSharedInvalidMessages(&message, 1);
}

void
use_leaf(Relation leaf)
{
	/* If the relation remembers a page with room, it has a page. */
	if (RelationGetTargetBlock(leaf) != InvalidBlockNumber ||
		RelationGetNumberOfBlocks(leaf) > 0)
		return;
	lock_first_use(ExclusiveLock);
	if (RelationGetNumberOfBlocks(leaf) == 0)
	{
		announce_first_use();
		add_empty_page(leaf);
	}
	unlock_first_use(ExclusiveLock);
}
