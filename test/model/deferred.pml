/*
 * deferred.pml: claims that are written with their result, for Spin.
 *
 * CLIENTS clients run transactions with a savepoint in which they claim and
 * complete one key; there are no leases, and nothing expires.  A claim is held
 * by its lock alone until it is completed, or is written when it is made, as
 * after the first 16 of a transaction.  Steps are named after the C functions
 * that they model.  doc/model.md says which bug each switch makes; check.sh
 * runs all of it.
 */

#ifndef CLIENTS
#define CLIENTS	2
#endif
#ifndef CALLS				/* of each client */
#define CALLS	5
#endif

#define UNFINISHED	1
#define COMPLETED	2

bool result;					/* a committed row, which replays */
byte key_lock;					/* its holder; clients are 1 .. CLIENTS */

/* The rows that a transaction has written, at its own level and within the savepoint. */
typedef Rows {
	byte outer, inner
}
Rows rows[CLIENTS + 1];
#define row(c)	(rows[c].inner != 0 -> rows[c].inner : rows[c].outer)

/* Levels: 1 is the transaction, 2 the savepoint, 0 none. */
typedef Deferred {
	byte level, ended
}
Deferred deferred[CLIENTS + 1];	/* in the register */

/* The answers to clients; the protocol does not use them. */
byte owner[CLIENTS + 1];		/* level of the claim */
byte done[CLIENTS + 1];			/* level of its completion */
byte payments;					/* committed */

inline assert_one_owner()
{
	n_ = 0;
	for (c_ : 1 .. CLIENTS) {
		if
		:: owner[c_] != 0 -> n_++
		:: else
		fi
	}
	assert(n_ <= 1);
	c_ = 0; n_ = 0
}

/* The other transaction that has written a row of the key, or 0 */
inline find_writer()
{
	writer = 0;
	for (c_ : 1 .. CLIENTS) {
		if
		:: c_ != me && row(c_) != 0 -> writer = c_
		:: else
		fi
	}
	c_ = 0
}

/* deferred_owner: whether the register names another transaction */
inline find_owner()
{
	writer = 0;
	for (c_ : 1 .. CLIENTS) {
		if
		:: c_ != me && deferred[c_].level != 0 -> writer = c_
		:: else
		fi
	}
	c_ = 0
}

inline unlock_key()
{
	if
	:: holds > 0 -> holds--
	:: else
	fi;
	if
	:: holds == 0 && key_lock == me -> key_lock = 0
	:: else
	fi
}

/* drop_claim: its lock goes with it */
inline drop_claim()
{
	deferred[me].level = 0; deferred[me].ended = 0;
	unlock_key()
}

#define unfinished() \
	(deferred[me].level != 0 && deferred[me].ended == 0 || row(me) == UNFINISHED)

proctype client(byte me)
{
	byte calls, level = 1;
	byte holds;					/* how often it has the lock */
	byte writer;
	byte c_, n_;

next_call:
	if
	:: atomic { calls < CALLS -> calls++ }
		if
		:: level == 1 -> level = 2
		:: level == 2 -> goto roll_back_to
		:: level == 2 -> goto release
		:: owner[me] == 0 -> goto claim
		:: owner[me] != 0 && done[me] == 0 -> goto complete
#ifdef KEEP_CLAIM
		:: owner[me] == 0 && deferred[me].level != 0 -> goto complete
#endif
		:: level == 1 -> goto commit
		:: goto roll_back
		fi
	:: calls == CALLS -> goto roll_back
	/* free_place: the completion has committed into the level of its claim */
	:: atomic { deferred[me].level == level && deferred[me].ended == level -> drop_claim() }
	fi;
	goto next_call;

	/* claim_key; a wait may end at any time, as the key is probed again */
claim:
	if
	:: atomic { key_lock == 0 || key_lock == me -> key_lock = me; holds++ }
	:: atomic { key_lock != 0 && key_lock != me -> find_owner() };
		if
		:: writer != 0 -> goto claim
		:: writer == 0 ->							/* store_lock */
			atomic { key_lock == 0 -> key_lock = me; holds++ }
		:: goto next_call							/* the time has run out */
		fi
	fi;
	atomic {										/* store_probe, judge */
		find_writer();
		if
		:: result || row(me) != 0 || deferred[me].level != 0 && deferred[me].ended == 0 ->
			unlock_key();
			goto next_call							/* replay, or in progress */
		:: else
		fi;
		if
		:: writer != 0 ->
			unlock_key();
			if
			:: goto claim
			:: goto next_call
			fi
		:: writer == 0
		fi
	};
	if
	:: atomic { deferred[me].level == 0 ->			/* store_defer */
			deferred[me].level = level
		}
#ifdef UNLOCK_AT_CLAIM
		unlock_key()
#endif
	:: atomic {										/* store_write */
			if
			:: level == 1 -> rows[me].outer = UNFINISHED
			:: level == 2 -> rows[me].inner = UNFINISHED
			fi
		}
		atomic { unlock_key() }
	fi;
	d_step {
		/* nobody else does the work, and nobody has done it */
		assert(!result);
		owner[me] = level;
		assert_one_owner()
	}
	goto next_call;

	/* complete_key */
complete:
	atomic { key_lock == 0 || key_lock == me -> key_lock = me; holds++ };
	atomic {
		/* its own claim is never lost to its owner, and it has the lock */
		assert(row(me) == UNFINISHED || deferred[me].level != 0 && deferred[me].ended == 0);
		if
		:: level == 1 -> rows[me].outer = COMPLETED
		:: level == 2 -> rows[me].inner = COMPLETED
		fi;
		find_writer();
		assert(key_lock == me && writer == 0 && !result);
		if
		:: owner[me] != 0 -> done[me] = level
		:: else
		fi
	};
	if
	:: atomic { deferred[me].level != 0 && deferred[me].ended == 0 ->	/* deferred_end */
			deferred[me].ended = level;
			if
			:: deferred[me].level == level -> drop_claim()
#ifdef UNLOCK_AT_INNER_LEVEL
			:: deferred[me].level != level -> unlock_key()
#endif
			:: else
			fi
		}
	:: else
	fi;
	atomic { unlock_key() };
	goto next_call;

roll_back_to:
	skip;
	/* the savepoint is seen as aborted, and then its locks are released */
	d_step {
		rows[me].inner = 0;
		if
		:: owner[me] == 2 -> owner[me] = 0; done[me] = 0
		:: else
		fi;
		if
		:: done[me] == 2 -> done[me] = 0
		:: else
		fi
	};
	atomic {
		if
		:: deferred[me].ended == 2 -> deferred[me].ended = 0
		:: else
		fi;
		if
#ifdef KEEP_CLAIM
		:: deferred[me].level == 2 -> deferred[me].level = 1; unlock_key()
#else
		:: deferred[me].level == 2 -> drop_claim()
#endif
		:: else
		fi;
		level = 1
	};
	goto next_call;

release:
	skip;
	d_step {
		if
		:: rows[me].inner != 0 -> rows[me].outer = rows[me].inner; rows[me].inner = 0
		:: else
		fi;
		deferred[me].level = (deferred[me].level == 2 -> 1 : deferred[me].level);
		deferred[me].ended = (deferred[me].ended == 2 -> 1 : deferred[me].ended);
		owner[me] = (owner[me] == 2 -> 1 : owner[me]);
		done[me] = (done[me] == 2 -> 1 : done[me]);
		level = 1
	};
	goto next_call;

commit:
	if
	:: unfinished() -> goto roll_back				/* IK500 */
	:: else
	fi;
	d_step {
		if
		:: row(me) == COMPLETED -> result = true
		:: else
		fi;
		if
		:: owner[me] != 0 ->
			assert(done[me] != 0);
			payments++
		:: else
		fi;
		assert(payments <= 1);
		rows[me].outer = 0; owner[me] = 0; done[me] = 0
	};
	goto end_transaction;

roll_back:
	skip;
	d_step { rows[me].outer = 0; rows[me].inner = 0; owner[me] = 0; done[me] = 0 };

end_transaction:
	skip;
	atomic {
		deferred[me].level = 0; deferred[me].ended = 0;
		holds = 0; level = 1; writer = 0;
		if
		:: key_lock == me -> key_lock = 0
		:: else
		fi
	};
	if
	:: calls < CALLS -> goto next_call
	:: calls == CALLS
	fi
}

init
{
	byte c_;

	atomic {
		for (c_ : 1 .. CLIENTS) { run client(c_) }
	}
}
