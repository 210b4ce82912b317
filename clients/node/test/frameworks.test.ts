// Each adapter of a framework, called with fetch.

import 'reflect-metadata';

import { once } from 'node:events';
import { request } from 'node:http';
import type { AddressInfo } from 'node:net';

import {
  Body, Controller, Delete, HttpCode, HttpException, Module, Post, Res, type INestApplication, type Type,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import express from 'express';
import fastify from 'fastify';
import type { PoolClient } from 'pg';
import { map } from 'rxjs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { Abort } from '../src/core.js';
import { idempotent as inExpress } from '../src/express.js';
import { idempotent as inFastify } from '../src/fastify.js';
import { Idempotent, IdempotencyModule, Tx } from '../src/nestjs.js';
import { database } from '../src/pg.js';
import { assertOneEffect, breakable } from '../src/testing.js';
import { newCustomer, paymentsOf, pool } from './database.js';

const db = breakable(database(pool));
const callerOf = (header: string | undefined) => header!.replace(/^Bearer /, '');
const insert = async (tx: PoolClient, customer: string, amount: number) =>
  (await tx.query('INSERT INTO payments (customer, amount) VALUES ($1, $2) RETURNING *', [customer, amount])).rows[0];

const expressService = async () => {
  const once_ = inExpress(db, { caller: (req) => callerOf(req.get('authorization')) });
  const server = express()
    .use(express.json())
    .post('/payments', once_('payments', async (req, tx) => {
      const made = await insert(tx, callerOf(req.get('authorization')), req.body.amount);
      return { status: 201, body: made, headers: { Location: `/payments/${made.id}` } };
    }))
    .post('/refused', once_('payments', async (req, tx) => {
      await insert(tx, callerOf(req.get('authorization')), 5);
      throw new Abort({ status: 402, body: { title: 'not enough money' } });
    }))
    .post('/unavailable', once_('payments', async () => ({ status: 503, body: {} })))
    .delete('/payments', once_('payments', async () => ({})))
    .listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { port: (server.address() as AddressInfo).port, close: async () => { server.close(); } };
};

const fastifyService = async () => {
  const once_ = inFastify(db, { caller: (request) => callerOf(request.headers.authorization) });
  const app = fastify();
  app.post('/payments', once_('payments', async (request, tx) => {
    const made = await insert(tx, callerOf(request.headers.authorization), (request.body as { amount: number }).amount);
    return { status: 201, body: made, headers: { Location: `/payments/${made.id}` } };
  }));
  app.post('/refused', once_('payments', async (request, tx) => {
    await insert(tx, callerOf(request.headers.authorization), 5);
    throw new Abort({ status: 402, body: { title: 'not enough money' } });
  }));
  app.post('/unavailable', once_('payments', async () => ({ status: 503, body: {} })));
  app.delete('/payments', once_('payments', async () => ({})));
  await app.listen({ port: 0, host: '127.0.0.1' });
  return { port: (app.server.address() as AddressInfo).port, close: () => app.close() };
};

const nestService = async (start: (app: Type) => Promise<INestApplication>) => {
  class Payments {
    async pay(tx: PoolClient, response: any, body: { amount: number }) {
      const made = await insert(tx, callerOf((response.req ?? response.request).headers.authorization), body.amount);
      response.header('Location', `/payments/${made.id}`);
      return made;
    }
    async refused(tx: PoolClient, response: any) {
      await this.pay(tx, response, { amount: 5 });
      throw new HttpException('not enough money', 402);
    }
    async unavailable() {
      throw new HttpException({}, 503);
    }
    async remove() {}
  }
  // The tests are compiled without the proposals that decorators of parameters need.
  const decorate = (name: keyof Payments, ...decorators: MethodDecorator[]) => {
    const descriptor = Object.getOwnPropertyDescriptor(Payments.prototype, name)!;
    for (const decorator of decorators) decorator(Payments.prototype, name, descriptor);
  };
  Tx()(Payments.prototype, 'pay', 0);
  Res({ passthrough: true })(Payments.prototype, 'pay', 1);
  Tx()(Payments.prototype, 'refused', 0);
  Res({ passthrough: true })(Payments.prototype, 'refused', 1);
  Body()(Payments.prototype, 'pay', 2);
  decorate('pay', Post('payments'), Idempotent('payments'));
  decorate('refused', Post('refused'), Idempotent('payments'));
  decorate('unavailable', Post('unavailable'), Idempotent('payments'));
  decorate('remove', Delete('payments'), HttpCode(204), Idempotent('payments'));
  Controller()(Payments);
  class App {}
  Module({
    imports: [IdempotencyModule.forRootAsync({
      useFactory: () => ({ database: db, caller: (request) => callerOf(request.headers.authorization) }),
    })],
    controllers: [Payments],
  })(App);
  const app = await start(App);
  app.useGlobalInterceptors({ intercept: (_, next) => next.handle().pipe(map((body) => body && { ...body, serialized: true })) });
  await app.listen(0, '127.0.0.1');
  return { port: (app.getHttpServer().address() as AddressInfo).port, close: () => app.close() };
};

afterAll(() => pool.end());

describe.each([
  ['Express', expressService],
  ['Fastify', fastifyService],
  ['NestJS', () => nestService((app) => NestFactory.create(app, { logger: false }))],
  ['NestJS on Fastify', () =>
    nestService((app) => NestFactory.create<NestFastifyApplication>(app, new FastifyAdapter(), { logger: false }))],
])('%s', (name, start) => {
  let service: Awaited<ReturnType<typeof start>>;
  const customer = newCustomer();
  beforeAll(async () => { service = await start(); });
  afterAll(() => service.close());

  const send = (key: string, { method = 'POST', path = '/payments', body = '{"amount": 5}' as string | undefined, type = 'application/json', headers = {} } = {}) =>
    fetch(`http://127.0.0.1:${service.port}${path}`, {
      method, body,
      headers: { ...(body !== undefined && { 'Content-Type': type }), Authorization: `Bearer ${customer}`, 'Idempotency-Key': key, ...headers },
    });

  test('has one effect, however often and whenever it is sent', async () => {
    await assertOneEffect({ send, effects: () => paymentsOf(customer), breakNext: db.breakNext });
  });

  test('replays Location and the very bytes', async () => {
    const key = crypto.randomUUID();
    const [first, second] = [await send(key), await send(key)];
    expect([first.status, second.status]).toEqual([201, 201]);
    expect(first.headers.get('location')).toMatch(/^\/payments\/\d+$/);
    for (const header of ['location', 'content-type']) expect(second.headers.get(header)).toBe(first.headers.get(header));
    expect(second.headers.get('content-type')).toMatch(/^application\/json/);
    expect(await second.text()).toBe(await first.text());
    expect([first, second].map(({ headers }) => headers.get('idempotent-replayed'))).toEqual([null, 'true']);
  });

  test.runIf(name.startsWith('NestJS'))('stores what other interceptors make of a result', async () => {
    const key = crypto.randomUUID();
    for (const response of [await send(key), await send(key)]) expect(await response.json()).toMatchObject({ serialized: true });
  });

  test('refuses the key for another path, query or body', async () => {
    const key = crypto.randomUUID();
    await send(key);
    for (const other of [{ path: '/unavailable' }, { path: '/payments?currency=EUR' }, { body: '{"amount": 6}' }]) {
      const response = await send(key, other);
      expect(response.status).toBe(422);
      expect(response.headers.get('content-type')).toMatch(/^application\/problem\+json/);
    }
  });

  test('sends 503 each time', async () => {
    const key = crypto.randomUUID();
    for (const response of [await send(key, { path: '/unavailable' }), await send(key, { path: '/unavailable' })]) {
      expect([response.status, response.headers.get('idempotent-replayed')]).toEqual([503, null]);
    }
  });

  test('replays a refusal, whose work is undone where it was thrown', async () => {
    const [key, before] = [crypto.randomUUID(), await paymentsOf(customer)];
    const [first, second] = [await send(key, { path: '/refused' }), await send(key, { path: '/refused' })];
    expect([first.status, second.status, second.headers.get('idempotent-replayed')]).toEqual([402, 402, 'true']);
    expect(await second.json()).toEqual(await first.json());
    expect(await paymentsOf(customer)).toBe(before);
  });

  test('answers without a body', async () => {
    const key = crypto.randomUUID();
    const remove = { method: 'DELETE', body: undefined };
    for (const response of [await send(key, remove), await send(key, remove)]) {
      expect([response.status, await response.text()]).toEqual([204, '']);
    }
  });

  test('refuses a second key, a body that nothing reads, and one that is no JSON of PostgreSQL', async () => {
    const key = crypto.randomUUID();
    const joined = request(`http://127.0.0.1:${service.port}/payments`, {
      method: 'POST', headers: { Authorization: `Bearer ${customer}`, 'Idempotency-Key': ['"one', 'two"'] },
    }).end();
    const [answer] = await once(joined, 'response');
    expect(answer.statusCode).toBe(400);
    answer.resume();
    expect([400, 415]).toContain((await send(key, { type: 'text/csv', body: 'amount\n5' })).status);
    expect((await send(key, { body: '{"amount": "\\u0000"}' })).status).toBe(400);
    expect((await send(key, { body: '{"amount": NaN}' })).status).toBe(400);
    const response = await fetch(`http://127.0.0.1:${service.port}/payments`, {
      method: 'POST', body: '{"amount": 5}', headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${customer}` },
    });
    expect(response.status).toBe(400);
  });
});
