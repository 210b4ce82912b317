// Answer the requests of promises.pl.

import { createInterface } from 'node:readline';

import Knex from 'knex';

import { statusOf } from './idempotent.js';
import { pay } from './payments.js';

const knex = Knex({ client: 'pg', connection: process.env.DATABASE_URL, pool: { min: 0, max: 2 } });
for await (const line of createInterface({ input: process.stdin })) {
  const [key, customer, amount] = line.split(' ');
  const [status, body] = await pay(knex, key, customer, { amount: Number(amount) })
    .catch((error) => [statusOf(error), { title: error.message }]);
  console.log(status, JSON.stringify(body));
}
await knex.destroy();
