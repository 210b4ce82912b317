// A payments service.

import express from 'express';
import pg from 'pg';
import { idempotent } from 'pg-idempotency/express';
import { database } from 'pg-idempotency/pg';

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL });
export const once = idempotent(database(pool), { caller: (req) => req.customer });

// Stands in for your authentication.
const authenticated = (req, res, next) => {
  req.customer = req.get('Authorization').replace(/^Bearer /, '');
  next();
};

export const pay = async (req, tx) => {
  const { rows: [payment] } = await tx.query(
    'INSERT INTO payments (customer, amount) VALUES ($1, $2) RETURNING *', [req.customer, req.body.amount]);
  return { status: 201, body: payment, headers: { Location: `/payments/${payment.id}` } };
};

export const app = express()
  .use(express.json(), authenticated)
  .post('/payments', once('payments', pay));

app.listen(process.env.PORT ?? 8080);
