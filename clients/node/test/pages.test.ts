// The JavaScript of the pages is run unchanged.

import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';

import { expect, test } from 'vitest';

import { newCustomer, paymentsOf } from './database.js';

const PACKAGE = 'clients/node/README.md';
const shown = Object.fromEntries(['README.md', PACKAGE, 'doc/clients.md'].map((page) => [
  page, [...readFileSync(`../../../${page}`, 'utf8').matchAll(/^```js\n(.*?)^```$/gms)].map(([, block]) => block!),
]));

const blockOf = (page: string, part: string) => {
  const found = shown[page]!.filter((block) => block.includes(part));
  expect(found.length).toBe(1);
  return found[0]!;
};

/** The output of a program that has the package installed. */
const outputOf = async (program: string) =>
  (await promisify(execFile)(process.execPath, ['--input-type=module', '-e', program])).stdout.trim();

const service = (customer: string, handler: string) => `
  import express from 'express';
  import pg from 'pg';
  const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL });
  const app = express().use(express.json(), (req, res, next) => { req.user = { id: '${customer}' }; next(); });
  const server = app.listen(0);
  const url = 'http://localhost:' + server.address().port + '/payments';
  const [headers, body] = [{ 'content-type': 'application/json' }, '{"amount": 5}'];
  ${handler}
  server.close();
  await pool.end();`;

test('there is no other block', () => {
  expect(Object.values(shown).map((blocks) => blocks.length)).toEqual([1, 3, 1]);
});

test.each(['README.md', PACKAGE])('the service of %s pays once', async (page) => {
  const customer = newCustomer();
  expect(await outputOf(service(customer, `
    ${blockOf(page, 'app.post')}
    for (let i = 0; i < 2; i++) {
      const answer = await fetch(url, { method: 'POST', body, headers: { ...headers, 'idempotency-key': '"k"' } });
      console.log(answer.status, answer.headers.get('location').replace(/\\d+/, 'ID'), answer.headers.get('idempotent-replayed'));
    }`))).toBe('201 /payments/ID null\n201 /payments/ID true');
  expect(await paymentsOf(customer)).toBe(1);
});

test.each([PACKAGE, 'doc/clients.md'])('the caller of %s sends again with one key', async (page) => {
  expect(await outputOf(service('nobody', `
    const keys = [];
    app.post('/payments', (req, res) => {
      keys.push(req.get('idempotency-key'));
      res.status(keys.length === 1 ? 503 : 201).end();
    });
    ${blockOf(page, 'fetchOnce')}
    console.log(response.status, keys.length, keys.every((sent) => sent === '"' + key + '"'));`))).toBe('201 2 true');
});

test('one effect is asserted', async () => {
  const customer = newCustomer();
  await outputOf(service(customer, `
    import { idempotent } from 'pg-idempotency/express';
    import { database } from 'pg-idempotency/pg';
    let pay;
    app.post('/payments', (req, res, next) => (pay ??= idempotent(db, { caller: () => '${customer}' })('payments', async (req, tx) => {
      await tx.query('INSERT INTO payments (customer, amount) VALUES ($1, 5)', ['${customer}']);
      return { status: 201, body: {} };
    }))(req, res, next));
    ${blockOf(PACKAGE, 'assertOneEffect')}`));
  expect(await paymentsOf(customer)).toBe(3);
});
