// Answer the requests of promises.pl.

import { createInterface } from 'node:readline';

import { PrismaPg } from '@prisma/adapter-pg';

import { PrismaClient } from './generated/client.js';
import { statusOf } from './idempotent.js';
import { pay } from './payments.js';

const prisma = new PrismaClient({
  adapter: new PrismaPg({ connectionString: process.env.DATABASE_URL, max: 2 }),
});
for await (const line of createInterface({ input: process.stdin })) {
  const [key, customer, amount] = line.split(' ');
  const [status, body] = await pay(prisma, key, customer, { amount: Number(amount) })
    .catch((error) => [statusOf(error), { title: error.message }]);
  console.log(status, JSON.stringify(body));
}
await prisma.$disconnect();
