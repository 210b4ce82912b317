// A payments service.

import { drizzle, type NodePgDatabase } from 'drizzle-orm/node-postgres';
import { integer, pgTable, text } from 'drizzle-orm/pg-core';
import fastify, { type FastifyRequest } from 'fastify';
import { database } from 'pg-idempotency/drizzle';
import { idempotent } from 'pg-idempotency/fastify';

export const payments = pgTable('payments', {
  id: integer().primaryKey().generatedByDefaultAsIdentity(),
  customer: text().notNull(),
  amount: integer().notNull(),
});

// Stands in for your authentication.
const customerOf = (request: FastifyRequest) => request.headers.authorization!.replace(/^Bearer /, '');

export const once = idempotent(database(drizzle(process.env.DATABASE_URL!)), { caller: customerOf });

type Transaction = Pick<NodePgDatabase, 'insert' | 'execute'>;
export type Payment = FastifyRequest<{ Body: { amount: number }; Params: { how?: string } }>;

export const pay = async (request: Payment, tx: Transaction) => {
  const [payment] = await tx.insert(payments)
    .values({ customer: customerOf(request), amount: request.body.amount }).returning();
  return { status: 201, body: payment, headers: { Location: `/payments/${payment!.id}` } };
};

export const app = fastify();
app.post('/payments', once('payments', pay));
