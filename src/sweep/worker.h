/*-------------------------------------------------------------------------
 *
 * worker.h
 *	  Sweeping in the background.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_WORKER_H
#define IDEMPOTENCY_WORKER_H

/*
 * Have the launcher started with the server.  Does nothing where the library
 * is loaded by a session: only the postmaster can register it.
 */
extern void register_launcher(void);

#endif							/* IDEMPOTENCY_WORKER_H */
