// A wrapper of Express handlers that use node-postgres: once for each
// Idempotency-Key.

// Runs a handler once for each Idempotency-Key.  It is given the request and
// the client of the transaction, and returns a status and a body.
//
// Claim, work and answer are one transaction, and nothing is sent before it
// is committed.  An exception rolls all of it back, and a retry runs the
// handler again.
export const idempotent = (pool, operation, handler) => async (req, res) => {
  const scope = `${operation}/${req.customer}`;
  const client = await pool.connect();
  let answer;
  try {
    await client.query('BEGIN');
    const { rows: [claim] } = await client.query(
      `SELECT key, claim.* FROM idempotency.parse_header($1) AS key,
         idempotency.claim(key, $2, $3) AS claim`,
      [req.get('Idempotency-Key'), scope, JSON.stringify(req.body)]);

    if (claim.outcome === 'replay') {
      answer = [claim.status_code, claim.response];
    } else if (!claim.proceed) {
      answer = [claim.status_code, { title: claim.outcome }];
    } else {
      const [status, body] = answer = await handler(req, client);
      await client.query(
        'SELECT idempotency.complete($1, $2, $3, status_code => $4)',
        [claim.key, scope, JSON.stringify(body), status]);
    }
    await client.query('COMMIT');
    client.release();
  } catch (error) {
    // A client that can't roll back is no good to anybody.
    await client.query('ROLLBACK').then(() => client.release(), (broken) => client.release(broken));
    throw error;
  }
  res.status(answer[0]).json(answer[1]);
};

// Answers with the HTTP status that the extension's SQLSTATEs end in.
export const refused = (error, req, res, next) => {
  if (!error.code?.startsWith('IK')) return next(error);
  res.status(Number(error.code.slice(2))).json({ title: error.message });
};
