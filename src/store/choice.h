/*-------------------------------------------------------------------------
 *
 * choice.h
 *	  Which of the two stores is in use.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_CHOICE_H
#define IDEMPOTENCY_CHOICE_H

/* Whether the distributed store is in use in this database. */
extern bool distributed_store_in_use(void);

/*
 * Check that claims may be made in the store in use: raises
 * OBJECT_NOT_IN_PREREQUISITE_STATE if another node could make the same claim.
 */
extern void check_claims_admitted(void);

/*
 * Raise T_R_SERIALIZATION_FAILURE if the local store is no longer in use.
 * Called before a write to it, when a leaf is locked against distribute().
 */
extern void check_local_store_in_use(void);

#endif							/* IDEMPOTENCY_CHOICE_H */
