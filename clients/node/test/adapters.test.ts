// Each adapter of a database: one effect, and none after a failure.

import { inspect } from 'node:util';

import { PrismaPg } from '@prisma/adapter-pg';
import { drizzle } from 'drizzle-orm/node-postgres';
import { sql } from 'drizzle-orm';
import knexOf from 'knex';
import { Sequelize } from 'sequelize';
import { DataSource } from 'typeorm';
import { afterAll, describe, expect, test } from 'vitest';

import { type Answer, type Database, IdempotencyFault, type Incoming, respond } from '../src/core.js';
import { database as drizzleDatabase } from '../src/drizzle.js';
import { database as knexDatabase } from '../src/knex.js';
import { database as pgDatabase } from '../src/pg.js';
import { database as prismaDatabase } from '../src/prisma.js';
import { database as sequelizeDatabase } from '../src/sequelize.js';
import { database as typeormDatabase } from '../src/typeorm.js';
import { newCustomer, payment, paymentsOf, pool } from './database.js';
import { PrismaClient } from './generated/client.js';

const url = process.env.DATABASE_URL!;
const db = drizzle(pool);
const knex = knexOf({ client: 'pg', connection: url, pool: { min: 0, max: 2 } });
const dataSource = await new DataSource({ type: 'postgres', url, poolSize: 2 }).initialize();
const sequelize = new Sequelize(url, { logging: false, pool: { max: 2 } });
const prisma = new PrismaClient({ adapter: new PrismaPg({ connectionString: url, max: 2 }) });
afterAll(async () => {
  await Promise.all([knex.destroy(), dataSource.destroy(), sequelize.close(), prisma.$disconnect()]);
  await pool.end();
});

// The database under test, and the statement that a handler runs in its transaction.
type Run<Tx> = (tx: Tx, text: string) => Promise<unknown>;
type Then = (run: (text: string) => Promise<unknown>) => Promise<Answer | void>;
const subject = <Tx>(name: string, database: Database<Tx>, run: Run<Tx>) => ({
  name,
  send: (incoming: Incoming, caller: string, then: Then = async () => {}) =>
    respond(database, 'payments', null, incoming, { caller: () => caller }, async (tx): Promise<Answer> => {
      await run(tx, `INSERT INTO payments (customer, amount) VALUES ('${caller}', 5)`);
      return await then((text) => run(tx, text)) ?? { status: 201, body: { name, ünïcode: '✓' }, headers: { Location: '/here' } };
    }),
});

describe.each([
  subject('pg', pgDatabase(pool), (tx, text) => tx.query(text)),
  subject('drizzle', drizzleDatabase(db), (tx, text) => tx.execute(sql.raw(text))),
  subject('knex', knexDatabase(knex), (trx, text) => trx.raw(text)),
  subject('typeorm', typeormDatabase(dataSource), (manager, text) => manager.query(text)),
  subject('sequelize', sequelizeDatabase(sequelize), (transaction, text) => sequelize.query(text, { transaction })),
  subject('prisma', prismaDatabase(prisma), (tx, text) => tx.$executeRawUnsafe(text)),
])('$name', ({ send }) => {
  const customer = newCustomer();
  const incoming = () => payment(crypto.randomUUID(), 5);

  test('replays an answer, and refuses another request', async () => {
    const [first, before] = [incoming(), await paymentsOf(customer)];
    const answer = await send(first, customer);
    expect(answer).toMatchObject({ status: 201, headers: { location: '/here' } });
    expect(await send(first, customer)).toEqual({ ...answer, headers: { ...answer.headers, 'idempotent-replayed': 'true' } });
    expect((await send({ ...first, body: {} }, customer)).status).toBe(422);
    expect(await paymentsOf(customer)).toBe(before + 1);
  });

  test('sends a duplicate away while the first is at work', async () => {
    const first = incoming();
    const answer = await send(first, customer, async () => {
      expect(await send(first, customer)).toMatchObject({ status: 409, headers: { 'retry-after': '1' } });
    });
    expect(answer.status).toBe(201);
  });

  test('undoes the work after an exception, and runs it again', async () => {
    const [first, before] = [incoming(), await paymentsOf(customer)];
    await expect(send(first, customer, async () => { throw new Error('broken'); })).rejects.toThrow('broken');
    expect(await paymentsOf(customer)).toBe(before);
    expect((await send(first, customer)).status).toBe(201);
    expect(await paymentsOf(customer)).toBe(before + 1);
  });

  test('runs all of it again after a serialization failure', async () => {
    let tries = 0;
    const answer = await send(incoming(), customer, async (run) => {
      if (++tries < 2) await run(`DO 'BEGIN RAISE serialization_failure; END'`);
    });
    expect([answer.status, tries]).toEqual([201, 2]);
  });

  test('refuses what jsonb does not hold, and a bad key', async () => {
    expect((await send({ ...incoming(), body: { note: '\u0000' } }, customer)).status).toBe(400);
    const bad = await send({ ...incoming(), keys: ['k'.repeat(256)] }, customer);
    expect(bad.status).toBe(400);
    expect(JSON.parse(bad.text!).detail).toMatch(/key/i);
  });

  test('stores a refusal for which the handler has caught an error', async () => {
    const [first, before] = [incoming(), await paymentsOf(customer)];
    const refused = await send(first, customer, async (run) => {
      await run('SELECT 1/0').catch(() => {});
      return { status: 409, body: { title: 'taken' } };
    });
    expect(refused).toMatchObject({ status: 409, text: '{"title":"taken"}' });
    expect(await send(first, customer)).toEqual({ ...refused, headers: { ...refused.headers, 'idempotent-replayed': 'true' } });
    expect(await paymentsOf(customer)).toBe(before);
  });

  test('takes a commit of the handler for a fault', async () => {
    const before = await paymentsOf(customer);
    await expect(send(incoming(), customer, async (run) => { await run('COMMIT'); })).rejects.toThrow(IdempotencyFault);
    expect(await paymentsOf(customer)).toBe(before);
  });

  test('tells neither the request nor the answer with a fault', async () => {
    const fault = await send({ ...incoming(), body: { card: '4242' } }, customer, async (run) => {
      await run('ROLLBACK');
      return { status: 201, body: { card: '4242' } };
    }).catch((error) => error);
    expect(fault).toBeInstanceOf(IdempotencyFault);
    expect(fault.cause).toMatchObject({ code: 'IK404' });
    expect(inspect(fault, { depth: 10 })).not.toMatch('4242');
  });
});
