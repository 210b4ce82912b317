// The payments service.

import { integer, pgTable, text } from 'drizzle-orm/pg-core';

import { idempotent } from './idempotent.js';

export const payments = pgTable('payments', {
  id: integer().primaryKey().generatedByDefaultAsIdentity(),
  customer: text().notNull(),
  amount: integer().notNull(),
});

export const pay = idempotent('payments', async (tx, customer, { amount }: { amount: number }) => {
  const [payment] = await tx.insert(payments).values({ customer, amount }).returning();
  return [201, payment];
});
