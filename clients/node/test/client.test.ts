import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { once } from 'node:events';

import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';

import { fetchOnce, newKey } from '../src/client.js';

// A service that answers each request with the next of these, and repeats the last one.
type Reply = (request: IncomingMessage, response: ServerResponse) => void;
let replies: Reply[];
let seen: { key: unknown; body: string }[];
let server: Server;
let url: string;
const answer = (status: number, headers = {}) => (_: IncomingMessage, response: ServerResponse) => {
  response.writeHead(status, headers).end();
};
const hangUp: Reply = (request) => request.socket.destroy();
const silence: Reply = () => {};

beforeAll(async () => {
  server = createServer(async (request, response) => {
    let body = '';
    for await (const part of request) body += part;
    seen.push({ key: request.headers['idempotency-key'], body });
    (replies.length > 1 ? replies.shift()! : replies[0]!)(request, response);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});
beforeEach(() => { seen = []; });

const pay = (options = {}, init = {}) =>
  fetchOnce(url, { method: 'POST', body: 'five', ...init }, { pause: 5, timeout: 300, deadline: 5000, ...options });

test('a request is sent again with the same key and body until there is an answer', async () => {
  replies = [answer(503), hangUp, silence, answer(429), answer(500), answer(201)];
  expect((await pay()).status).toBe(201);
  expect(seen).toHaveLength(6);
  expect(new Set(seen.map(({ key, body }) => `${key} ${body}`)).size).toBe(1);
});

test('a key of the caller is sent as a string of RFC 9651', async () => {
  replies = [answer(201)];
  await pay({ key: 'order "7"' });
  expect(seen[0]!.key).toBe('"order \\"7\\""');
});

test.each([200, 400, 401, 409, 422])('%i is the answer', async (status) => {
  replies = [answer(status), answer(201)];
  expect((await pay()).status).toBe(status);
  expect(seen).toHaveLength(1);
});

test.each([409, 429, 503])('%i is tried again when Retry-After has passed', async (status) => {
  replies = [answer(status, { 'Retry-After': '1' }), answer(201)];
  const start = performance.now();
  expect((await pay()).status).toBe(201);
  expect(performance.now() - start).toBeGreaterThan(990);
});

test('a deadline after which the key is forgotten is refused', async () => {
  await expect(pay({ deadline: 86_400_000 })).rejects.toThrow(RangeError);
  await expect(pay({ deadline: 5000, ttl: 5000 })).rejects.toThrow(RangeError);
});

test('the last answer is returned when the deadline is near', async () => {
  replies = [answer(503)];
  expect((await pay({ deadline: 1000, pause: 100 })).status).toBe(503);
  expect(seen.length).toBeGreaterThan(1);
});

test('nothing is sent again that would come after the deadline', async () => {
  replies = [answer(409, { 'Retry-After': '60' })];
  expect((await pay()).status).toBe(409);
  expect(seen).toHaveLength(1);
});

test('the last error is thrown when the deadline is near', async () => {
  replies = [hangUp];
  await expect(pay({ deadline: 500, pause: 100 })).rejects.toThrow(/fetch failed/);
  replies = [silence];
  await expect(pay({ deadline: 300, timeout: 150, pause: 100 })).rejects.toMatchObject({ name: 'TimeoutError' });
});

test('the caller can end it, also in a pause', async () => {
  replies = [answer(503, { 'Retry-After': '3' })];
  await expect(pay({}, { signal: AbortSignal.timeout(100) })).rejects.toMatchObject({ name: 'TimeoutError' });
  expect(seen).toHaveLength(1);
});

test.each([
  ['stream', () => ({ body: new Blob(['five']).stream(), duplex: 'half' })],
  ['form', () => {
    const body = new FormData();
    body.set('amount', '5');
    return { body };
  }],
])('a %s is sent with the same bytes each time', async (_, init) => {
  replies = [answer(503), answer(201)];
  expect((await pay({}, init())).status).toBe(201);
  expect(seen[0]!.body).toMatch(/five|amount/);
  expect(seen[1]).toEqual(seen[0]);
});

test('what no retry will mend is not sent again', async () => {
  await expect(fetchOnce('http://', {})).rejects.toThrow(TypeError);
  await expect(pay({}, { method: 'GET' })).rejects.toThrow(TypeError);
});

test('a new key is a UUIDv7 of this moment', () => {
  const key = newKey();
  expect(key).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  expect(Math.abs(parseInt(key.replace('-', '').slice(0, 12), 16) - Date.now())).toBeLessThan(5000);
  expect(newKey()).not.toBe(newKey());
});
