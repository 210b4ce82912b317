// Answer the requests of promises.pl.

import 'reflect-metadata';
import { createInterface } from 'node:readline';

import { DataSource } from 'typeorm';

import { statusOf } from './idempotent.js';
import { pay, Payment } from './payments.js';

const dataSource = await new DataSource({
  type: 'postgres',
  url: process.env.DATABASE_URL,
  entities: [Payment],
  poolSize: 2,
}).initialize();
for await (const line of createInterface({ input: process.stdin })) {
  const [key, customer, amount] = line.split(' ');
  const [status, body] = await pay(dataSource, key, customer, { amount: Number(amount) })
    .catch((error) => [statusOf(error), { title: error.message }]);
  console.log(status, JSON.stringify(body));
}
await dataSource.destroy();
