// A wrapper of handlers that use Drizzle: once for each key.

import { DrizzleQueryError, sql } from 'drizzle-orm';
import type { NodePgDatabase } from 'drizzle-orm/node-postgres';

type Transaction = Parameters<Parameters<NodePgDatabase['transaction']>[0]>[0];
type Answer = [status: number, body: unknown];
type Claim = { outcome: string; proceed: boolean; status_code: number; response: unknown };

// Runs a handler once for each key.  It is given the transaction, and returns
// a status and a body.
//
// Claim, work and answer are one transaction.  An exception rolls all of it
// back, and a retry runs the handler again.
export const idempotent = <Request>(
  operation: string,
  handler: (tx: Transaction, customer: string, request: Request) => Promise<Answer>,
) => (db: NodePgDatabase, key: string, customer: string, request: Request) =>
  db.transaction(async (tx): Promise<Answer> => {
    const scope = `${operation}/${customer}`;
    const { rows: [claim] } = await tx.execute<Claim>(
      sql`SELECT * FROM idempotency.claim(${key}, ${scope}, ${JSON.stringify(request)})`);
    if (claim.outcome === 'replay') return [claim.status_code, claim.response];
    if (!claim.proceed) return [claim.status_code, { title: claim.outcome }];

    const [status, body] = await handler(tx, customer, request);
    await tx.execute(
      sql`SELECT idempotency.complete(${key}, ${scope}, ${JSON.stringify(body)}, status_code => ${status})`);
    return [status, body];
  });

// The HTTP status that the extension's SQLSTATEs end in; the driver's error is
// the cause of Drizzle's.
export const statusOf = (error: unknown) => {
  const code = error instanceof DrizzleQueryError && (error.cause as { code?: string }).code;
  return code && code.startsWith('IK') ? Number(code.slice(2)) : 500;
};
