// For an application's own tests: does a retry of this request have one effect?

import assert from 'node:assert/strict';

import { newKey } from './client.js';
import type { Database } from './core.js';

/** The same database; breakNext() makes the next transaction fail when its work is done. */
export function breakable<Tx>(database: Database<Tx>): Database<Tx> & { breakNext: () => void } {
  let armed = false;
  const broken: Database<Tx> = (work) => database(async (tx, query) => {
    const result = await work(tx, query);
    if (armed) {
      armed = false;
      throw new Error('broken before the commit, as the test has asked');
    }
    return result;
  });
  return Object.assign(broken, { breakNext: () => { armed = true; } });
}

export interface Subject {
  /** Sends the request with the header Idempotency-Key: KEY. */
  send: (key: string) => Promise<Response>;
  /** Counts the effects of the request. */
  effects: () => Promise<number>;
  /** That of the breakable() database that the application uses. */
  breakNext: () => void;
}

const read = async (response: Response) => ({
  status: response.status,
  location: response.headers.get('location'),
  body: await response.text(),
  replayed: response.headers.get('idempotent-replayed') === 'true',
});

/** Sends the request twice, several times in parallel, and once more after a rollback; each has one effect. */
export async function assertOneEffect({ send, effects, breakNext }: Subject): Promise<void> {
  const before = await effects();
  const sent = async (key: string) => read(await send(key));

  let key = newKey();
  const first = await sent(key);
  assert.ok(first.status < 500 && !first.replayed, `the first request is answered with ${first.status}`);
  assert.deepEqual(await sent(key), { ...first, replayed: true }, 'a second request is replayed');
  assert.equal(await effects(), before + 1, 'two requests with one key have one effect');

  key = newKey();
  const parallel = await Promise.all(Array.from({ length: 4 }, () => send(key)));
  for (const response of parallel) {
    const busy = response.status === 409 && response.headers.has('retry-after');
    assert.ok(busy || response.status === first.status, `a parallel request is answered with ${response.status}`);
  }
  const after = await sent(key);
  assert.deepEqual([after.status, after.replayed], [first.status, true], 'after parallel requests there is an answer');
  assert.equal(await effects(), before + 2, 'parallel requests with one key have one effect');

  key = newKey();
  breakNext();
  assert.ok((await sent(key)).status >= 500, 'a request that is rolled back is answered with 5xx');
  assert.equal(await effects(), before + 2, 'a request that is rolled back has no effect');
  const again = await sent(key);
  assert.deepEqual([again.status, again.replayed], [first.status, false], 'a rollback frees the key');
  assert.equal(await effects(), before + 3, 'the retry after a rollback has one effect');
}
