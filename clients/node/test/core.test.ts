import type { PoolClient } from 'pg';
import { afterAll, beforeEach, describe, expect, test } from 'vitest';

import { Abort, type Answer, IdempotencyFault, type Incoming, type Options, respond } from '../src/core.js';
import { database } from '../src/pg.js';
import { newCustomer, payment, paymentsOf, pool } from './database.js';

let customer: string;
let key: string;
beforeEach(() => {
  customer = newCustomer();
  key = crypto.randomUUID();
});
afterAll(() => pool.end());

const insert = async (tx: PoolClient, amount = 5) =>
  (await tx.query('INSERT INTO payments (customer, amount) VALUES ($1, $2) RETURNING *', [customer, amount])).rows[0];

const pay = async (tx: PoolClient): Promise<Answer> => ({ status: 201, body: await insert(tx) });

const send = (incoming: Incoming, handler: (tx: PoolClient) => Promise<Answer> = pay, options: Partial<Options<unknown>> = {}) =>
  respond(database(pool), 'payments', null, incoming, { caller: () => customer, ...options }, handler);

describe('a duplicate', () => {
  test('is answered with the same status, headers and bytes', async () => {
    const handler = async (tx: PoolClient) =>
      ({ status: 202, body: { z: 1, a: await insert(tx) }, headers: { Location: '/payments/1', 'X-Trace': 'one' } });
    const first = await send(payment(key, 5), handler);
    expect(first).toMatchObject({ status: 202, headers: { location: '/payments/1', 'x-trace': 'one' } });
    const { 'x-trace': _, ...stored } = first.headers;
    expect(await send(payment(key, 5), handler))
      .toEqual({ status: 202, headers: { ...stored, 'idempotent-replayed': 'true' }, text: first.text });
    expect(await paymentsOf(customer)).toBe(1);
  });

  test('repeats the headers that are asked for', async () => {
    const handler = async () => ({ body: 'one', headers: { 'Content-Type': 'text/plain', 'X-Trace': 'one', Location: '/' } });
    const options = { storedHeaders: ['X-Trace'] };
    await send(payment(key, 5), handler, options);
    expect(await send(payment(key, 5), handler, options)).toEqual(
      { status: 200, headers: { 'content-type': 'text/plain', 'x-trace': 'one', 'idempotent-replayed': 'true' }, text: 'one' });
  });

  test('in the middle of the work is asked to come back', async () => {
    let [started, finish] = [() => {}, () => {}];
    const inside = new Promise<void>((resolve) => { started = resolve; });
    const gate = new Promise<void>((resolve) => { finish = resolve; });
    const first = send(payment(key, 5), async (tx) => {
      started();
      await gate;
      return pay(tx);
    });
    await inside;
    const sent = performance.now();
    expect(await send(payment(key, 5))).toMatchObject({ status: 409, headers: { 'retry-after': '1' } });
    expect(performance.now() - sent).toBeLessThan(2000);
    finish();
    expect((await first).status).toBe(201);
    expect(await paymentsOf(customer)).toBe(1);
  });

  test('may wait for the answer', async () => {
    const answers = await Promise.all([1, 2].map(() => send(payment(key, 5), pay, { wait: '30 s' })));
    expect(answers.map(({ status }) => status)).toEqual([201, 201]);
    expect(answers[0]!.text).toBe(answers[1]!.text);
    expect(await paymentsOf(customer)).toBe(1);
  });

  test.each([
    ['another body', (key: string) => payment(key, 6)],
    ['another path', (key: string) => payment(key, 5, '/accounts/1/payments')],
    ['another query', (key: string) => payment(key, 5, '/payments?currency=EUR')],
    ['another method', (key: string) => ({ ...payment(key, 5), method: 'PUT' })],
  ])('with %s is refused', async (_, other) => {
    await send(payment(key, 5));
    expect((await send(other(key))).status).toBe(422);
    expect((await send(payment(key, 5))).headers['idempotent-replayed']).toBe('true');
    expect(await paymentsOf(customer)).toBe(1);
  });

  test('of a caller below another one is another request', async () => {
    const [below, above] = [`${customer}/1`, customer];
    customer = below;
    await send(payment(key, 5));
    const { rows } = await pool.query('SELECT scope FROM idempotency.lookup(key => $1, scope => $2)', [key, `payments/${above}%2F1`]);
    expect(rows).toHaveLength(1);
  });

  test('of another caller is another request', async () => {
    await send(payment(key, 5));
    const [one, other] = [customer, newCustomer()];
    customer = other;
    expect((await send(payment(key, 5))).headers['idempotent-replayed']).toBeUndefined();
    expect([await paymentsOf(one), await paymentsOf(other)]).toEqual([1, 1]);
  });

  test('may differ in what is not compared', async () => {
    const at = (sent: string) => ({ ...payment(key, 5), body: { amount: 5, sent } });
    const options = { compare: () => ({ amount: 5 }) };
    await send(at('12:00'), pay, options);
    expect((await send(at('12:01'), pay, options)).status).toBe(201);
    expect(await paymentsOf(customer)).toBe(1);
  });
});

describe('what a handler does', () => {
  test('a refusal under 500 is stored, and what was done before it', async () => {
    const handler = async (tx: PoolClient) => ({ status: 402, body: { declined: await insert(tx) } });
    const first = await send(payment(key, 5), handler);
    expect(first.status).toBe(402);
    expect(await send(payment(key, 5))).toMatchObject({ status: 402, text: first.text });
    expect(await paymentsOf(customer)).toBe(1);
  });

  test('an answer of 500 and above is sent, not stored, and undoes the work', async () => {
    const handler = async (tx: PoolClient) => ({ status: 503, body: { tried: await insert(tx) }, headers: { 'Retry-After': '7' } });
    expect(await send(payment(key, 5), handler)).toMatchObject({ status: 503, headers: { 'retry-after': '7' } });
    expect(await paymentsOf(customer)).toBe(0);
    const second = await send(payment(key, 5));
    expect(second.status).toBe(201);
    expect(second.headers['idempotent-replayed']).toBeUndefined();
  });

  test('an Abort undoes the work, and its answer is stored', async () => {
    const handler = async (tx: PoolClient): Promise<Answer> => {
      await insert(tx);
      throw new Abort({ status: 402, body: { title: 'not enough money' } });
    };
    const first = await send(payment(key, 5), handler);
    expect(first.status).toBe(402);
    expect(await send(payment(key, 5))).toEqual({ ...first, headers: { ...first.headers, 'idempotent-replayed': 'true' } });
    expect(await paymentsOf(customer)).toBe(0);
  });

  test('an Abort of 500 and above is not stored', async () => {
    expect((await send(payment(key, 5), async () => { throw new Abort({ status: 503 }); })).status).toBe(503);
    expect((await send(payment(key, 5))).status).toBe(201);
  });

  test('an exception undoes the work and frees the key', async () => {
    await expect(send(payment(key, 5), async (tx) => {
      await insert(tx);
      throw new Error('broken');
    })).rejects.toThrow('broken');
    expect(await paymentsOf(customer)).toBe(0);
    expect((await send(payment(key, 5))).status).toBe(201);
  });

  test('a rollback in between is a fault, and frees the key', async () => {
    await expect(send(payment(key, 5), async (tx) => {
      const body = await insert(tx);
      await tx.query('ROLLBACK');
      return { status: 201, body };
    })).rejects.toThrow(IdempotencyFault);
    expect(await paymentsOf(customer)).toBe(0);
    expect((await send(payment(key, 5))).status).toBe(201);
  });

  test('a refusal after a rollback in between is stored', async () => {
    const refused = await send(payment(key, 5), async (tx) => {
      await insert(tx);
      await tx.query('ROLLBACK');
      return { status: 402 };
    });
    expect(refused.status).toBe(402);
    expect((await send(payment(key, 5))).status).toBe(402);
    expect(await paymentsOf(customer)).toBe(0);
  });

  test('a commit in between is a fault, and has no effect', async () => {
    await expect(send(payment(key, 5), async (tx) => {
      const body = await insert(tx);
      await tx.query('COMMIT');
      return { status: 201, body };
    })).rejects.toThrow(IdempotencyFault);
    expect(await paymentsOf(customer)).toBe(0);
    expect((await send(payment(key, 5))).status).toBe(201);
    expect(await paymentsOf(customer)).toBe(1);
  });

  test('an error that it has swallowed is no success', async () => {
    await expect(send(payment(key, 5), async (tx) => {
      await tx.query('SELECT 1/0').catch(() => {});
      return { status: 201, body: {} };
    })).rejects.toMatchObject({ cause: { code: '25P02' } });
    expect((await send(payment(key, 5))).status).toBe(201);
  });

  test.each(['40001', '40P01'])('after %s all of it is run again', async (code) => {
    let tries = 0;
    const answer = await send(payment(key, 5), async (tx) => {
      const body = await insert(tx);
      if (++tries < 3) await tx.query(`DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '${code}'; END $$`);
      return { status: 201, body };
    });
    expect([answer.status, tries, await paymentsOf(customer)]).toEqual([201, 3, 1]);
  });

  test('an error of the extension in its own statements is no answer', async () => {
    const fault = send(payment(key, 5), async (tx) => {
      await tx.query(`SELECT idempotency.complete(key => 'never claimed')`);
      return {};
    });
    await expect(fault).rejects.toThrow(/^the request was not carried out$/);
  });
});

describe('an answer', () => {
  test.each([
    ['without a body', {}, 204, undefined],
    ['null', { body: null }, 200, 'null'],
    ['an array', { body: [1, 2] }, 200, '[1,2]'],
    ['with what jsonb does not hold', { body: 'a\u0000b' }, 200, '"a\\u0000b"'],
    ['a string', { body: 'done' }, 200, '"done"'],
    ['a text', { body: 'done', headers: { 'content-type': 'text/plain' } }, 200, 'done'],
  ])('may be %s', async (_, answer, status, text) => {
    const first = await send(payment(key, 5), async () => answer);
    expect(first).toMatchObject({ status });
    expect(first.text).toBe(text);
    const second = await send(payment(key, 5));
    expect([second.status, second.text, second.headers['content-type']]).toEqual([status, text, first.headers['content-type']]);
  });

  test('that is too large is refused with 413, and nothing is done', async () => {
    const answer = await send(payment(key, 5), async (tx) => ({ status: 201, body: [await insert(tx), 'x'.repeat(2 ** 21)] }));
    expect(answer.status).toBe(413);
    expect(await paymentsOf(customer)).toBe(0);
  });
});

describe('a request', () => {
  test('without a body has one effect', async () => {
    const incoming = { method: 'DELETE', url: '/payments/1', keys: [key], body: undefined };
    await send(incoming);
    expect((await send(incoming)).headers['idempotent-replayed']).toBe('true');
    expect(await paymentsOf(customer)).toBe(1);
  });

  test('by bytes is compared by bytes', async () => {
    const incoming = (text: string) => ({ ...payment(key, 5), body: Buffer.from(text) });
    await send(incoming('one'));
    expect((await send(incoming('one'))).status).toBe(201);
    expect((await send(incoming('two'))).status).toBe(422);
  });

  test.each([
    ['\\u0000', { note: '\u0000' }],
    ['half a surrogate pair', { note: '\ud800' }],
    ['a number without bound', { amount: Infinity }],
    ['fifty thousand brackets', JSON.parse('['.repeat(50_000) + ']'.repeat(50_000))],
  ])('with %s is refused with 400', async (_, body) => {
    expect((await send({ ...payment(key, 5), body })).status).toBe(400);
    expect((await send(payment(key, 5))).status).toBe(201);
  });

  test.each([
    ['no key', []],
    ['an empty key', ['']],
    ['a key that is too long', ['k'.repeat(256)]],
    ['two keys', ['"one"', '"two"']],
    ['half a key', ['"one']],
  ])('with %s is refused with 400', async (_, keys) => {
    expect((await send({ ...payment(key, 5), keys })).status).toBe(400);
    expect(await paymentsOf(customer)).toBe(0);
  });

  test.each(['', undefined, null])('of nobody (%j) is a fault', async (nobody) => {
    await expect(send(payment(key, 5), pay, { caller: () => nobody as string })).rejects.toThrow(IdempotencyFault);
  });

  test('of a caller with a number has one effect', async () => {
    const options = { caller: () => 7 };
    await send(payment(key, 5), pay, options);
    expect((await send(payment(key, 5), pay, options)).headers['idempotent-replayed']).toBe('true');
  });

  test('whose key a lease of somebody else has left is a fault', async () => {
    const request = { method: 'POST', path: '/payments', query: '', body: { amount: 5 } };
    await pool.query(
      `SELECT idempotency.claim(key => $1, scope => $2, request => $3, lease => '1 ms')`,
      [key, `payments/${customer}`, JSON.stringify(request)]);
    await pool.query('SELECT pg_sleep(0.01)');
    await expect(send(payment(key, 5))).rejects.toThrow(/lease/);
    expect(await paymentsOf(customer)).toBe(0);
  });
});
