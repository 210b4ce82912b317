// Answer the requests of promises.pl.

import { createInterface } from 'node:readline';

import { drizzle } from 'drizzle-orm/node-postgres';
import pg from 'pg';

import { statusOf } from './idempotent.js';
import { pay } from './payments.js';

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 2 });
const db = drizzle(pool);
for await (const line of createInterface({ input: process.stdin })) {
  const [key, customer, amount] = line.split(' ');
  const [status, body] = await pay(db, key, customer, { amount: Number(amount) })
    .catch((error) => [statusOf(error), { title: error.message }]);
  console.log(status, JSON.stringify(body));
}
await pool.end();
