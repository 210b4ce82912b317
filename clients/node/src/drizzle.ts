// Drizzle, over node-postgres or postgres.js

import { sql, type SQL } from 'drizzle-orm';

import type { Database } from './core.js';

interface Drizzle {
  transaction(work: (tx: any) => Promise<any>): Promise<any>;
}
type Transaction<Db extends Drizzle> = Parameters<Parameters<Db['transaction']>[0]>[0];

const bound = (text: string, values: unknown[]): SQL =>
  sql.join(text.split(/\$(\d+)/).map((part, i) => (i % 2 ? sql`${values[Number(part) - 1]}` : sql.raw(part))));

export const database = <Db extends Drizzle>(db: Db): Database<Transaction<Db>> => (work) =>
  db.transaction((tx) => work(tx, async (text, values) => {
    const result = await tx.execute(bound(text, values));
    return result.rows ?? result;
  }));
