// A wrapper of handlers that use Sequelize: once for each key.

import { QueryTypes } from 'sequelize';

// Runs a handler once for each key.  It is given the transaction, and returns
// a status and a body.
//
// Claim, work and answer are one transaction.  An exception rolls all of it
// back, and a retry runs the handler again.
export const idempotent = (operation, handler) => (sequelize, key, customer, request) =>
  sequelize.transaction(async (transaction) => {
    const scope = `${operation}/${customer}`;
    const query = (sql, bind) => sequelize.query(sql, { bind, transaction, type: QueryTypes.SELECT });

    const [claim] = await query(
      'SELECT * FROM idempotency.claim($key, $scope, $request)',
      { key, scope, request: JSON.stringify(request) });
    if (claim.outcome === 'replay') return [claim.status_code, claim.response];
    if (!claim.proceed) return [claim.status_code, { title: claim.outcome }];

    const [status, body] = await handler(sequelize, transaction, customer, request);
    await query(
      'SELECT idempotency.complete($key, $scope, $response, status_code => $status)',
      { key, scope, response: JSON.stringify(body), status });
    return [status, body];
  });

// The HTTP status that the extension's SQLSTATEs end in; the driver's error is
// Sequelize's error.original.
export const statusOf = ({ original }) =>
  original?.code?.startsWith('IK') ? Number(original.code.slice(2)) : 500;
