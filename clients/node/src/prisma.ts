// Prisma

import type { Database, Row } from './core.js';

interface Prisma {
  $transaction(work: (tx: any) => Promise<any>, options?: { maxWait?: number; timeout?: number }): Promise<any>;
}
// The generated client's Prisma.TransactionClient.
type Transaction<Client extends Prisma> = Parameters<Parameters<Client['$transaction']>[0]>[0];

/** The options are those of an interactive transaction: by default it may take five seconds. */
export const database = <Client extends Prisma>(
  prisma: Client,
  options?: { maxWait?: number; timeout?: number },
): Database<Transaction<Client>> => (work) =>
  prisma.$transaction(
    (tx) => work(tx, (sql, values) => tx.$queryRawUnsafe(sql, ...values) as Promise<Row[]>),
    options,
  );
