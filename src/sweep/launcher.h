/*-------------------------------------------------------------------------
 *
 * launcher.h
 *	  Sweeping in the background.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_LAUNCHER_H
#define IDEMPOTENCY_LAUNCHER_H

/*
 * Have the launcher started with the server.  Does nothing if a session loads
 * the library: only the postmaster can register the launcher.
 */
extern void register_launcher(void);

#endif							/* IDEMPOTENCY_LAUNCHER_H */
