// A wrapper of handlers that use Prisma: once for each key.

import { Prisma, type PrismaClient } from './generated/client.js';

type Answer = [status: number, body: unknown];
type Claim = { outcome: string; proceed: boolean; status_code: number; response: unknown };

// Runs a handler once for each key.  It is given the transaction, and returns
// a status and a body.
//
// Claim, work and answer are one transaction.  An exception rolls all of it
// back, and a retry runs the handler again.
export const idempotent = <Request>(
  operation: string,
  handler: (tx: Prisma.TransactionClient, customer: string, request: Request) => Promise<Answer>,
) => (prisma: PrismaClient, key: string, customer: string, request: Request) =>
  prisma.$transaction(async (tx): Promise<Answer> => {
    const scope = `${operation}/${customer}`;
    // Prisma can't read a column of type interval, so not *.
    const [claim] = await tx.$queryRaw<[Claim]>`
      SELECT outcome, proceed, status_code, response FROM idempotency.claim(${key}, ${scope}, ${JSON.stringify(request)})`;
    if (claim.outcome === 'replay') return [claim.status_code, claim.response];
    if (!claim.proceed) return [claim.status_code, { title: claim.outcome }];

    const [status, body] = await handler(tx, customer, request);
    await tx.$executeRaw`
      SELECT idempotency.complete(${key}, ${scope}, ${JSON.stringify(body)}, status_code => ${status})`;
    return [status, body];
  }, { timeout: 15_000 }); // a claim waits for up to five seconds of it

// The HTTP status that the extension's SQLSTATEs end in; the driver's error is
// inside Prisma's.
export const statusOf = (error: unknown) => {
  const meta = error instanceof Prisma.PrismaClientKnownRequestError && error.meta;
  const code = meta && (meta.driverAdapterError as { cause: { originalCode?: string } })?.cause.originalCode;
  return code && code.startsWith('IK') ? Number(code.slice(2)) : 500;
};
