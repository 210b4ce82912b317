/*-------------------------------------------------------------------------
 *
 * carry.h
 *	  Carrying live keys from one store to the other.
 *
 *-------------------------------------------------------------------------
 */
#ifndef IDEMPOTENCY_CARRY_H
#define IDEMPOTENCY_CARRY_H

#include "store/distributed/distributed_table.h"

/*
 * Raise ACTIVE_SQL_TRANSACTION or OBJECT_IN_USE if the transaction can't carry
 * keys: it would miss some, or owns some.
 */
extern void check_carrying_is_possible(void);

/*
 * Both stores are locked against writers, and SPI is connected.  Raise
 * OBJECT_IN_USE for keys whose scopes name no tenant, and for those that both
 * stores have.
 */
extern void carry_to_distributed(const DistributedTable *table, bool from_workers);
extern void carry_to_local(const DistributedTable *table);

#endif							/* IDEMPOTENCY_CARRY_H */
