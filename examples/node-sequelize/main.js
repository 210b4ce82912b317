// Answer the requests of promises.pl.

import { createInterface } from 'node:readline';

import { Sequelize } from 'sequelize';

import { statusOf } from './idempotent.js';
import { definePayment, pay } from './payments.js';

const sequelize = new Sequelize(process.env.DATABASE_URL, { logging: false, pool: { max: 2 } });
definePayment(sequelize);
for await (const line of createInterface({ input: process.stdin })) {
  const [key, customer, amount] = line.split(' ');
  const [status, body] = await pay(sequelize, key, customer, { amount: Number(amount) })
    .catch((error) => [statusOf(error), { title: error.message }]);
  console.log(status, JSON.stringify(body));
}
await sequelize.close();
