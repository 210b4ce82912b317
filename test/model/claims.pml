/*
 * claims.pml: the protocol of claims, leases and the expiry wheel, for Spin.
 *
 * CLIENTS clients run transactions of claims, completions, heartbeats and
 * releases of KEYS keys; a sweeper turns the wheel and deletes from keys_long;
 * a clock ticks.  Steps are named after the C functions that they model.
 * doc/model.md says what is left out, and which bug each switch makes; check.sh
 * runs all of it.
 *
 * Assignments in one d_step or atomic happen at one instant in the database, too:
 * under one buffer lock, one lock manager partition lock, or when one commit
 * becomes visible.
 */

#ifndef CLIENTS
#define CLIENTS	2
#endif
#ifndef KEYS
#define KEYS	1
#endif
#ifndef CALLS				/* of each client */
#define CALLS	3
#endif
#ifndef LAST_TICK
#define LAST_TICK	4
#endif

#define SLOTS	2
#define LONG	SLOTS			/* the leaf keys_long */
#define LEAVES	(SLOTS + 1)
#define SWEEPER	(CLIENTS + 1)	/* clients are 1 .. CLIENTS, none is 0 */
#define bit(i)	(1 << (i))
#define at(leaf, key)	((leaf) * KEYS + (key))

/* status of a row version; GONE: moved away by the transaction that wrote it */
#define EMPTY		0
#define IN_PROGRESS	1
#define COMPLETED	2
#define RELEASED	3
#define GONE		4

#define CLAIM		1
#define COMPLETE	2
#define HEARTBEAT	3
#define RELEASE		4

#define FREE		1
#define RECOVER		2
#define IN_DOUBT	3
#define FINAL		4

/*
 * A leaf has at most two versions of a key's row: the committed one, whose xact
 * is the transaction replacing or deleting it, and the uncommitted one, whose
 * xact has written it.  taker, the client that was told to do the work, is not
 * known to the protocol.
 */
typedef Version {
	byte status, attempt, lease_until, claimed_at, expires_at, taker, xact
}
Version committed[LEAVES * KEYS];
Version written[LEAVES * KEYS];

byte clock;
byte until[SLOTS];				/* as committed */
bool message[CLIENTS + 1];		/* sent to the backend, not accepted yet */
byte key_lock[KEYS];			/* who has it */
byte users[LEAVES];				/* RowExclusiveLock, a bit for each client */
bool emptying[LEAVES];			/* AccessExclusiveLock */

/* What clients were told; not known to the protocol. */
byte result_until[KEYS];		/* expiry of the last committed result */
byte lease_until[KEYS];			/* end of the committed lease, or 0 */

#define later(a, b)	((a) > (b) -> (a) : (b))

inline forget_version(v)
{
	v.status = EMPTY; v.attempt = 0; v.lease_until = 0; v.claimed_at = 0;
	v.expires_at = 0; v.taker = 0; v.xact = 0
}

/* No two live rows of a key. */
inline assert_one_live_row()
{
	for (k_ : 0 .. KEYS - 1) {
		n_ = 0;
		for (l_ : 0 .. LEAVES - 1) {
			if
			:: committed[at(l_, k_)].status != EMPTY && committed[at(l_, k_)].expires_at > clock -> n_++
			:: else
			fi
		}
		assert(n_ <= 1)
	}
	n_ = 0
}

/* The transaction becomes visible as a whole, then its locks are released. */
inline commit(who)
{
	for (l_ : 0 .. LEAVES - 1) {
		for (k_ : 0 .. KEYS - 1) {
			if
			:: committed[at(l_, k_)].xact == who -> forget_version(committed[at(l_, k_)])
			:: else
			fi;
			if
			:: written[at(l_, k_)].xact == who && written[at(l_, k_)].status != GONE ->
				assert(committed[at(l_, k_)].status == EMPTY);
				committed[at(l_, k_)].status = written[at(l_, k_)].status;
				committed[at(l_, k_)].attempt = written[at(l_, k_)].attempt;
				committed[at(l_, k_)].lease_until = written[at(l_, k_)].lease_until;
				committed[at(l_, k_)].claimed_at = written[at(l_, k_)].claimed_at;
				committed[at(l_, k_)].expires_at = written[at(l_, k_)].expires_at;
				committed[at(l_, k_)].taker = written[at(l_, k_)].taker;
				committed[at(l_, k_)].xact = 0;
				lease_until[k_] = written[at(l_, k_)].lease_until;
				if
				:: written[at(l_, k_)].status == COMPLETED ->
					result_until[k_] = written[at(l_, k_)].expires_at
				:: else
				fi
			:: else
			fi;
			if
			:: written[at(l_, k_)].xact == who -> forget_version(written[at(l_, k_)])
			:: else
			fi
		}
	}
	assert_one_live_row();
	l_ = 0; k_ = 0
}

inline roll_back(who)
{
	for (l_ : 0 .. LEAVES - 1) {
		for (k_ : 0 .. KEYS - 1) {
			if
			:: committed[at(l_, k_)].xact == who -> committed[at(l_, k_)].xact = 0
			:: else
			fi;
			if
			:: written[at(l_, k_)].xact == who -> forget_version(written[at(l_, k_)])
			:: else
			fi
		}
	}
	for (k_ : 0 .. KEYS - 1) {
		if
		:: key_lock[k_] == who -> key_lock[k_] = 0
		:: else
		fi
	}
	l_ = 0; k_ = 0
}

/* ------------------------------------------------------------------------
 * Clients
 * ------------------------------------------------------------------------ */

/* store_close: unlock the leaves that were only read. */
inline store_close()
{
	d_step {
		for (l_ : 0 .. LEAVES - 1) {
			if
			:: !(wrote & bit(l_)) -> users[l_] = users[l_] & ~bit(me)
			:: else
			fi
		}
		l_ = 0
	}
}

/* Unlock the leaves at the end of a transaction. */
inline leave_all()
{
	for (l_ : 0 .. LEAVES - 1) {
		users[l_] = users[l_] & ~bit(me)
	}
	wrote = 0; claimed_here = 0; l_ = 0
}

/* wheel_leaf_for, by what this backend knows of the wheel */
inline leaf_for(expiry, leaf)
{
	leaf = LONG;
	for (l_ : 0 .. SLOTS - 1) {
		if
		:: known[l_] >= (expiry) && (leaf == LONG || known[l_] < known[leaf]) -> leaf = l_
		:: else
		fi
	}
	l_ = 0
}

/*
 * store_refresh, in two steps: messages are accepted and the reading of the
 * table begins, and it ends.  The table is read with a self snapshot, not in one
 * instant: a slot whose turn commits meanwhile may be seen as it was, as it is,
 * or not at all (a time of zero, which is past).
 */
inline store_refresh()
{
	d_step {
		reading = message[me];
#ifdef STALE_WHEEL
		reading = reading && !locked;
#endif
		if
		:: reading ->
			message[me] = false;
			for (l_ : 0 .. SLOTS - 1) { known[l_] = until[l_] }
			l_ = 0
		:: else
		fi
	}
}

inline finish_reading()
{
	do
	:: reading && l_ < SLOTS ->
		if
		:: true
		:: known[l_] != until[l_] -> known[l_] = until[l_]
		:: known[l_] != until[l_] -> known[l_] = 0
		fi;
		l_++
	:: else -> break
	od;
	l_ = 0;
	reading = false
}

inline take_row(v)
{
	found = true; row_leaf = leaf;
	status = v.status; attempt = v.attempt; lease = v.lease_until;
	claimed_at = v.claimed_at; expires_at = v.expires_at; taker = v.taker
}

/* probe_leaf, once the leaf is locked */
inline probe_leaf()
{
	if
	:: written[at(leaf, key)].xact != 0 && written[at(leaf, key)].xact != me ->
		writer = written[at(leaf, key)].xact
	:: written[at(leaf, key)].xact == me && written[at(leaf, key)].status != GONE ->
		if
		:: !found || written[at(leaf, key)].expires_at > now || expires_at <= now ->
			take_row(written[at(leaf, key)]);
			own = true; replaced = false
		:: else
		fi;
		complete = written[at(leaf, key)].expires_at > now
	:: else
	fi;
	if
	:: !complete && committed[at(leaf, key)].status != EMPTY && committed[at(leaf, key)].xact != me ->
		/* only committed rows answer */
		assert(committed[at(leaf, key)].status != IN_PROGRESS ||
			committed[at(leaf, key)].lease_until <= clock ||
			committed[at(leaf, key)].lease_until == lease_until[key]);
		if
		:: committed[at(leaf, key)].xact != 0 ->
			writer = committed[at(leaf, key)].xact
		:: else
		fi;
		if
		:: past && committed[at(leaf, key)].status != IN_PROGRESS
		/* supersedes */
		:: !(past && committed[at(leaf, key)].status != IN_PROGRESS) &&
		   (!found ||
			((committed[at(leaf, key)].expires_at > now) != (expires_at > now) ->
				(committed[at(leaf, key)].expires_at > now) :
				((committed[at(leaf, key)].xact != 0) != replaced -> replaced :
					committed[at(leaf, key)].claimed_at > claimed_at))) ->
			take_row(committed[at(leaf, key)]);
			own = false; replaced = (committed[at(leaf, key)].xact != 0)
		:: else
		fi;
		complete = (committed[at(leaf, key)].xact == 0 && committed[at(leaf, key)].expires_at > now &&
			!(past && committed[at(leaf, key)].status != IN_PROGRESS))
	:: else
	fi
}

inline forget_probe()
{
	found = false; own = false; replaced = false; complete = false; past = false;
	writer = 0; row_leaf = 0; leaf = 0; i = 0; first = 0;
	status = 0; attempt = 0; lease = 0; claimed_at = 0; expires_at = 0; taker = 0
}

/* store_probe: leaf by leaf, the likely one first; not in one instant */
inline store_probe()
{
	atomic {
		finish_reading();
		d_step { forget_probe(); leaf_for(now + ttl, first) }
	}
	do
	:: atomic { i <= LEAVES && !complete ->
		d_step {
			leaf = (i == 0 -> first : i - 1);
			past = (leaf != LONG && known[(leaf == LONG -> 0 : leaf)] < now)
		}
		if
#ifdef SKIP_PAST_LEAVES
		:: past
		:: !past && !emptying[leaf] ->
#else
		:: past && emptying[leaf]
		:: !emptying[leaf] ->
#endif
			d_step {
				users[leaf] = users[leaf] | bit(me);
				probe_leaf()
			}
		fi;
		d_step {
			i++;
			if
			:: i == first + 1 -> i++
			:: else
			fi;
			leaf = 0; past = false
		} }
	:: i > LEAVES || complete -> break
	od;
	i = 0
}

/*
 * store_write of the probed row with the new values, which the caller has put
 * into new_*.  Sets done unless the unique index refuses.
 */
inline choose_leaf()
{
	if
	::
#ifndef GROW_IN_PLACE
		(row_leaf == LONG || known[(row_leaf == LONG -> 0 : row_leaf)] >= new_expires_at) &&
#endif
		found -> leaf = row_leaf
	:: else -> leaf_for(new_expires_at, leaf)
	fi
}

inline store_write()
{
	/* W6: the leaf is chosen again if the wheel has changed once it is locked */
	done = false;
	do
	:: atomic { !done ->
		choose_leaf();
		!emptying[leaf];
		d_step {
			users[leaf] = users[leaf] | bit(me);
			done = true;
#ifndef NO_SECOND_LOOK
			if
			:: message[me] ->
				message[me] = false;
				for (l_ : 0 .. SLOTS - 1) { known[l_] = until[l_] }
				l_ = 0;
				done = false
			:: else
			fi
#endif
		} }
	:: done -> break
	od;
	atomic {
		d_step {
		wrote = wrote | bit(leaf);

		/* the uncommitted row protects the key: no two write at once */
		for (l_ : 0 .. LEAVES - 1) {
			assert(written[at(l_, key)].xact == 0 || written[at(l_, key)].xact == me);
			assert(committed[at(l_, key)].xact == 0 || committed[at(l_, key)].xact == me ||
				committed[at(l_, key)].xact == SWEEPER)
		}
		l_ = 0;

		done = true;
		if
		:: found && leaf == row_leaf ->				/* update_row */
			if
			:: !own ->
				assert(committed[at(leaf, key)].status != EMPTY);
				committed[at(leaf, key)].xact = me
			:: else
			fi
		:: else ->									/* insert_row */
			if
			:: committed[at(leaf, key)].status == EMPTY || committed[at(leaf, key)].xact == me
			/* delete_expired: a twin in the way */
			:: committed[at(leaf, key)].status != EMPTY && committed[at(leaf, key)].xact == 0 &&
			   committed[at(leaf, key)].expires_at <= clock ->
				committed[at(leaf, key)].xact = me
			:: else -> done = false
			fi
		fi;
		if
		:: done ->
			written[at(leaf, key)].status = new_status;
			written[at(leaf, key)].attempt = new_attempt;
			written[at(leaf, key)].lease_until = new_lease_until;
			written[at(leaf, key)].claimed_at = new_claimed_at;
			written[at(leaf, key)].expires_at = new_expires_at;
			written[at(leaf, key)].taker = new_taker;
			written[at(leaf, key)].xact = me;
			/* W1 */
			assert(leaf == LONG || new_expires_at <= until[(leaf == LONG -> 0 : leaf)])
		:: else
		fi
		}
	}
	/* a moved row: the old version is deleted after the new one is inserted */
	if
	:: done && found && leaf != row_leaf ->
		d_step {
			wrote = wrote | bit(row_leaf);
			if
			:: own -> written[at(row_leaf, key)].status = GONE
			:: else -> committed[at(row_leaf, key)].xact = me
			fi
		}
	:: else
	fi;
	d_step {
		leaf = 0; new_status = 0; new_attempt = 0; new_lease_until = 0;
		new_claimed_at = 0; new_expires_at = 0; new_taker = 0
	}
}

/*
 * keylock_try; if the lock is taken: unlock the leaves, and keylock_wait.  The
 * wait may be canceled, or end by its limit.
 */
inline lock_key()
{
#ifdef NO_LOCK
	locked = true
#else
	if
	:: key_lock[key] == 0
	:: key_lock[key] != 0 ->
		store_close();
		if
		:: key_lock[key] == 0
		:: goto answered
		fi
	fi;
	key_lock[key] = me;
	locked = true
#endif
}

inline unlock_key()
{
	d_step {
		if
		:: key_lock[key] == me -> key_lock[key] = 0
		:: else
		fi;
		locked = false
	}
}

/*
 * wait_for_transaction, without any lock of a key or an open leaf.  It may end
 * too early: in any case the key is probed again.
 */
inline wait_for_writer()
{
	assert(key_lock[key] != me);
	store_close()
}

proctype client(byte me)
{
	byte calls, call, key, ttl;
	byte now, known[SLOTS];
	bool reading, locked, done;
	byte verdict;
	/* the transaction: leaves written to, keys claimed */
	byte wrote, claimed_here;
	/* the application's memory */
	byte held_attempt[KEYS], held_until[KEYS];
	/* the probe */
	bool found, own, replaced, complete, past;
	byte writer, i, leaf, first, row_leaf;
	byte status, attempt, lease, claimed_at, expires_at, taker;
	byte new_status, new_attempt, new_lease_until, new_claimed_at, new_expires_at, new_taker;
	byte l_, k_, n_;

	d_step {
		for (l_ : 0 .. SLOTS - 1) { known[l_] = until[l_] }
		l_ = 0
	}

next_call:
	if
	:: d_step { wrote != 0 ->
			commit(me);
			for (k_ : 0 .. KEYS - 1) {
				for (l_ : 0 .. LEAVES - 1) {
					if
					:: committed[at(l_, k_)].status == IN_PROGRESS && committed[at(l_, k_)].taker == me &&
					   committed[at(l_, k_)].attempt == held_attempt[k_] ->
						held_until[k_] = committed[at(l_, k_)].expires_at
					:: else
					fi
				}
			}
			l_ = 0; k_ = 0;
			leave_all()
		}
		goto next_call
	:: wrote != 0 -> goto rolled_back
	:: atomic { calls < CALLS ->
		calls++;
		if
		:: key = 0
#if KEYS > 1
		:: key = 1
#endif
		fi;
		if
		:: held_attempt[key] == 0 -> call = CLAIM
		:: held_attempt[key] != 0 -> call = COMPLETE
		:: held_attempt[key] != 0 -> call = HEARTBEAT
		:: held_attempt[key] != 0 -> call = RELEASE
		/* or it never returns to its claim, and asks again like any other */
		:: held_attempt[key] != 0 && !(claimed_here & bit(key)) ->
			call = CLAIM; held_attempt[key] = 0; held_until[key] = 0
		fi;
		if
		:: ttl = 1
		:: call == CLAIM || call == COMPLETE -> ttl = 2
		fi;
		if
		:: call == CLAIM -> goto claim
		:: else -> goto hold
		fi }
	:: calls == CALLS && wrote == 0 -> goto finished
	fi;

	/* claim_key */
claim:
#ifdef LOCK_FIRST
	atomic {
		if
		:: !locked -> lock_key();
			skip
		:: locked
		fi
	}
#endif
	atomic { now = clock; store_refresh() }
	store_probe();
	atomic {
		d_step {											/* judge */
			if
			:: found && own && status == IN_PROGRESS -> verdict = FINAL
			:: !(found && own && status == IN_PROGRESS) ->
				if
#ifdef EXPIRED_COUNTS
				:: !found
#else
				:: !found || expires_at <= now
#endif
					-> verdict = (writer != 0 -> IN_DOUBT : FREE)
				:: else ->
					if
					:: status == RELEASED -> verdict = (writer != 0 -> IN_DOUBT : FREE)
					:: status == COMPLETED ->
						verdict = FINAL;
						/* 1: a replay is of a result that is committed and remembered */
						assert(own || result_until[key] > now)
					:: status == IN_PROGRESS && lease > now -> verdict = FINAL
					:: status == IN_PROGRESS && lease <= now -> verdict = (writer != 0 -> IN_DOUBT : RECOVER)
					fi
				fi
			fi;
#ifdef NO_WAIT
			if
			:: verdict == IN_DOUBT -> verdict = FREE
			:: else
			fi
#endif
		}
		if
		:: verdict == FINAL -> goto answered
		:: verdict == IN_DOUBT -> goto wait
		:: (verdict == FREE || verdict == RECOVER) && !locked ->
			lock_key();
#ifndef READ_BEFORE_LOCK
			goto claim
#else
			skip
#endif
		:: (verdict == FREE || verdict == RECOVER) && locked
		fi
	}
	goto take;
wait:
	unlock_key();
	wait_for_writer();
	if
	:: call == CLAIM -> goto claim
	:: call != CLAIM -> goto hold
	:: goto answered
	fi;

take:
	skip;
#ifdef UNLOCK_EARLY
	unlock_key();
	locked = true;
#endif
	d_step {
		/* 1: no result is remembered.  3: no lease is running. */
		assert(own || result_until[key] <= clock);
		assert(own || lease_until[key] <= clock);
		new_attempt = (found && !(expires_at <= now && status == COMPLETED) -> attempt : 0) + 1;
		new_status = IN_PROGRESS;
		new_claimed_at = now;
		new_lease_until = now + 1;
		new_expires_at = later(now + ttl, now + 1);
		new_taker = me
	}
	store_write();
	atomic {
		if
		:: !done -> goto claim
		:: done ->
			d_step {
				claimed_here = claimed_here | bit(key);
				held_attempt[key] = (found && !(expires_at <= now && status == COMPLETED) -> attempt : 0) + 1
			}
		fi;
		if
		:: goto answered
		:: goto rolled_back									/* canceled or killed */
		fi
	}

	/* hold_key, then complete_key, idempotency_heartbeat or idempotency_release */
hold:
	atomic {
#ifndef MOVE_WITHOUT_LOCK
		lock_key();
#endif
		skip
	}
	atomic { now = clock; store_refresh() }
	store_probe();
	atomic {
		if
		:: writer != 0 -> goto wait
		:: writer == 0
		fi;
		if													/* owned_claim_in_progress */
		:: claimed_here & bit(key) ->
			/* 2: its own claim is never lost to its owner */
			assert(found && own && status == IN_PROGRESS && attempt == held_attempt[key])
		:: !(claimed_here & bit(key)) && (!found || (expires_at <= now && !own) ||
#ifndef NO_FENCING
			attempt != held_attempt[key] ||
#endif
			status != IN_PROGRESS) ->
			d_step { held_attempt[key] = 0; held_until[key] = 0 }
			goto answered
		:: else
		fi
	}
	d_step {
		/* 3: a superseded owner writes nothing, as long as its work does not outlive its key */
		assert(taker == me || held_until[key] <= clock);
		new_attempt = attempt;
		new_claimed_at = claimed_at;
		new_taker = taker;
		if
		:: call == COMPLETE ->
			new_status = COMPLETED;
			new_lease_until = 0;
			new_expires_at = (claimed_here & bit(key) -> claimed_at : now) + ttl
		:: call == HEARTBEAT ->
			new_status = IN_PROGRESS;
			new_lease_until = now + 1;
			new_expires_at = later(expires_at, now + 1)
		:: call == RELEASE ->
			new_status = RELEASED;
			new_lease_until = 0;
			new_expires_at = expires_at
		fi
	}
	store_write();
	assert(done);
	atomic {
		if
		:: call != HEARTBEAT ->
			d_step { held_attempt[key] = 0; held_until[key] = 0; claimed_here = claimed_here & ~bit(key) }
		:: else
		fi;
		if
		:: goto answered
		:: goto rolled_back
		fi
	}

answered:
	unlock_key();
	atomic {
		store_close();
		d_step { forget_probe(); verdict = 0; now = 0; ttl = 0; call = 0; key = 0; done = false }
	}
	goto next_call;

	/* ROLLBACK, an error, or the end of the session */
rolled_back:
	skip;
	d_step {
		roll_back(me);
		for (k_ : 0 .. KEYS - 1) {
			if
			:: claimed_here & bit(k_) -> held_attempt[k_] = 0; held_until[k_] = 0
			:: else
			fi
		}
		k_ = 0;
		leave_all();
		forget_probe();
		locked = false; done = false;
		verdict = 0; now = 0; ttl = 0; call = 0; key = 0
	}
	goto next_call;

finished:
	skip
}

/* ------------------------------------------------------------------------
 * The sweeper
 * ------------------------------------------------------------------------ */

/* free_tick: the earliest of the next two ticks that the other slot is not at */
inline next_until(slot)
{
	new_until = (until[1 - slot] == now + 1 -> now + 2 : now + 1)
}

/* whether the slot is at neither of the next two ticks, and live */
#define misplaced(s)	(until[s] > now + SLOTS)

inline send_messages()
{
	d_step {
		for (c_ : 1 .. CLIENTS) { message[c_] = true }
		c_ = 0
	}
}

proctype sweeper()
{
	byte now, slot, new_until, key;
	byte l_, k_, c_, n_;

next_round:
	atomic {
		now = clock;
		if
#ifdef TURN_EARLY
#define due(s)	(until[s] < now + 2)
#else
#define due(s)	(until[s] < now)
#endif
		:: due(0) -> slot = 0; goto turn
		:: due(1) -> slot = 1; goto turn
		:: misplaced(0) -> slot = 0; goto lay
		:: misplaced(1) -> slot = 1; goto lay
		:: committed[at(LONG, 0)].status != EMPTY && committed[at(LONG, 0)].expires_at <= now -> key = 0; goto delete
#if KEYS > 1
		:: committed[at(LONG, 1)].status != EMPTY && committed[at(LONG, 1)].expires_at <= now -> key = 1; goto delete
#endif
		:: clock == LAST_TICK -> goto finished
		fi
	}

	/* wheel_turn */
turn:
	if
	:: atomic {
#ifdef TURN_BUSY
		true
#else
		users[slot] == 0
#endif
		-> emptying[slot] = true }
	:: users[slot] != 0 -> goto next_round
	fi;
	if
	:: d_step {
		/* W2 */
		for (k_ : 0 .. KEYS - 1) {
			assert(committed[at(slot, k_)].xact == 0 && written[at(slot, k_)].status == EMPTY);
			assert(committed[at(slot, k_)].expires_at <= clock);
			forget_version(committed[at(slot, k_)])
		}
		k_ = 0;
		next_until(slot);
		assert(new_until > until[slot]);
		until[slot] = new_until;
		new_until = 0
	}
#ifdef MESSAGE_LATE
		emptying[slot] = false;
		send_messages()
#else
#ifndef NO_MESSAGE
		send_messages();
#endif
		emptying[slot] = false
#endif
	:: emptying[slot] = false							/* rolled back */
	fi;
	goto next_round;

	/* wheel_lay: as a turn of a live slot, if it is empty once it is locked */
lay:
	if
	:: atomic { users[slot] == 0 -> emptying[slot] = true }
	:: users[slot] != 0 -> goto next_round
	fi;
	if
	:: d_step {
#ifndef LAY_USED
		committed[at(slot, 0)].status == EMPTY &&
#if KEYS > 1
		committed[at(slot, 1)].status == EMPTY &&
#endif
#endif
		true ->
		next_until(slot);
		until[slot] = new_until;
		new_until = 0;
		for (k_ : 0 .. KEYS - 1) {
			/* W1 of what is there */
			assert(committed[at(slot, k_)].status == EMPTY || committed[at(slot, k_)].expires_at <= until[slot])
		}
		k_ = 0
	}
		send_messages();
		emptying[slot] = false
	:: emptying[slot] = false							/* not empty, or rolled back */
	fi;
	goto next_round;

	/* delete_rows: read without the lock, read again with it */
delete:
#ifndef SWEEP_WITHOUT_LOCK
	if
	:: atomic { key_lock[key] == 0 -> key_lock[key] = SWEEPER }
	:: key_lock[key] != 0 -> goto next_round
	fi;
#endif
	atomic {
		if
		::
#ifndef SWEEP_WITHOUT_RECHECK
			written[at(LONG, key)].xact == 0 && committed[at(LONG, key)].expires_at <= now &&
#endif
			committed[at(LONG, key)].status != EMPTY && committed[at(LONG, key)].xact == 0 ->
			/* W4: only expired rows are deleted */
			assert(committed[at(LONG, key)].expires_at <= clock);
			committed[at(LONG, key)].xact = SWEEPER
		:: else
		fi
	}
	if
	:: key_lock[key] == SWEEPER -> key_lock[key] = 0
	:: else
	fi;
	if
	:: d_step { commit(SWEEPER) }
	:: d_step { roll_back(SWEEPER) }
	fi;
	goto next_round;

finished:
	skip
}

proctype ticks()
{
	do
	:: clock < LAST_TICK -> clock++
	:: clock == LAST_TICK -> break
	od
}

init
{
	byte c_;

	atomic {
		until[0] = 1;
#ifdef FAR
		/* a wrong clock has laid it */
		until[1] = LAST_TICK + SLOTS + 2;
#else
		until[1] = 2;
#endif
		for (c_ : 1 .. CLIENTS) { run client(c_) }
#ifndef NO_SWEEPER
		run sweeper();
#endif
		run ticks()
	}
}
