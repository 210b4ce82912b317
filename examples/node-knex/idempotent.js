// A wrapper of handlers that use Knex: once for each key.

// Runs a handler once for each key.  It is given the transaction, and returns
// a status and a body.
//
// Claim, work and answer are one transaction.  An exception rolls all of it
// back, and a retry runs the handler again.
export const idempotent = (operation, handler) => (knex, key, customer, request) =>
  knex.transaction(async (trx) => {
    const scope = `${operation}/${customer}`;
    const { rows: [claim] } = await trx.raw(
      'SELECT * FROM idempotency.claim(?, ?, ?)',
      [key, scope, JSON.stringify(request)]);
    if (claim.outcome === 'replay') return [claim.status_code, claim.response];
    if (!claim.proceed) return [claim.status_code, { title: claim.outcome }];

    const [status, body] = await handler(trx, customer, request);
    await trx.raw(
      'SELECT idempotency.complete(?, ?, ?, status_code => ?)',
      [key, scope, JSON.stringify(body), status]);
    return [status, body];
  });

// The HTTP status that the extension's SQLSTATEs end in.
export const statusOf = (error) =>
  error.code?.startsWith('IK') ? Number(error.code.slice(2)) : 500;
