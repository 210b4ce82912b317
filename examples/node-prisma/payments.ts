// A payments service.

import { PrismaPg } from '@prisma/adapter-pg';
import express, { type Request } from 'express';
import { idempotent } from 'pg-idempotency/express';
import { database } from 'pg-idempotency/prisma';

import { type Prisma, PrismaClient } from './generated/client.js';

const prisma = new PrismaClient({ adapter: new PrismaPg({ connectionString: process.env.DATABASE_URL }) });

// Stands in for your authentication.
const customerOf = (req: Request) => req.get('Authorization')!.replace(/^Bearer /, '');

export const once = idempotent(database(prisma), { caller: customerOf });

export const pay = async (req: Request, tx: Prisma.TransactionClient) => {
  const payment = await tx.payment.create({ data: { customer: customerOf(req), amount: req.body.amount } });
  return { status: 201, body: payment, headers: { Location: `/payments/${payment.id}` } };
};

export const app = express();
app.use(express.json());
app.post('/payments', once('payments', pay));
