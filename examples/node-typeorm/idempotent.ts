// A wrapper of handlers that use TypeORM: once for each key.

import { type DataSource, type EntityManager, QueryFailedError } from 'typeorm';

type Answer = [status: number, body: unknown];

// Runs a handler once for each key.  It is given the transaction's manager,
// and returns a status and a body.
//
// Claim, work and answer are one transaction.  An exception rolls all of it
// back, and a retry runs the handler again.
export const idempotent = <Request>(
  operation: string,
  handler: (manager: EntityManager, customer: string, request: Request) => Promise<Answer>,
) => (dataSource: DataSource, key: string, customer: string, request: Request) =>
  dataSource.transaction(async (manager): Promise<Answer> => {
    const scope = `${operation}/${customer}`;
    const [claim] = await manager.query(
      'SELECT * FROM idempotency.claim($1, $2, $3)',
      [key, scope, JSON.stringify(request)]);
    if (claim.outcome === 'replay') return [claim.status_code, claim.response];
    if (!claim.proceed) return [claim.status_code, { title: claim.outcome }];

    const [status, body] = await handler(manager, customer, request);
    await manager.query(
      'SELECT idempotency.complete($1, $2, $3, status_code => $4)',
      [key, scope, JSON.stringify(body), status]);
    return [status, body];
  });

// The HTTP status that the extension's SQLSTATEs end in.
export const statusOf = (error: unknown) => {
  const code = error instanceof QueryFailedError && error.driverError.code;
  return code && code.startsWith('IK') ? Number(code.slice(2)) : 500;
};
