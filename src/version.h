/*-------------------------------------------------------------------------
 *
 * version.h
 *	  Whether this library can serve the extension as it is installed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_VERSION_H
#define IDEMPOTENCY_VERSION_H

/* As in idempotency.control. */
#define LIBRARY_VERSION		"1.0"

/*
 * Raises OBJECT_NOT_IN_PREREQUISITE_STATE if the extension in this database is
 * of a later version than the library.  Returns its schema; false if the
 * extension is not installed.
 */
extern bool check_installed_version(Oid *schema);

#endif							/* IDEMPOTENCY_VERSION_H */
