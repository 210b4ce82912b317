// The helper for tests has to fail if a service does not keep its promise.

import { createServer } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';

import { afterAll, expect, test } from 'vitest';

import { respond } from '../src/core.js';
import { incoming } from '../src/http.js';
import { database } from '../src/pg.js';
import { assertOneEffect, breakable } from '../src/testing.js';
import { newCustomer, paymentsOf, pool } from './database.js';

afterAll(() => pool.end());

// A service that makes the payment in its transaction, or outside it.
const check = async (outside: boolean, wrapped: boolean) => {
  const customer = newCustomer();
  const db = breakable(database(pool));
  const pay = 'INSERT INTO payments (customer, amount) VALUES ($1, 5)';
  const server = createServer((request, response) => {
    const answered = wrapped
      ? respond(db, 'payments', null, incoming(request, request.url!, undefined), { caller: () => customer }, async (tx) => {
        await (outside ? pool : tx).query(pay, [customer]);
        return { status: 201, body: { paid: true } };
      })
      : pool.query(pay, [customer]).then(() => ({ status: 201, headers: {}, text: '{}' }));
    answered.then(
      ({ status, headers, text }) => response.writeHead(status, headers).end(text),
      () => response.writeHead(500).end());
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  try {
    await assertOneEffect({
      send: (key) => fetch(url, { method: 'POST', headers: { 'Idempotency-Key': key } }),
      effects: () => paymentsOf(customer),
      breakNext: db.breakNext,
    });
  } finally {
    server.close();
  }
};

test('a service with one effect passes', () => check(false, true));

test('a service that has forgotten its wrapper fails', async () => {
  await expect(check(false, false)).rejects.toThrow(/a second request is replayed/);
});

test('a service that works outside its transaction fails', async () => {
  await expect(check(true, true)).rejects.toThrow(/a request that is rolled back has no effect/);
});
