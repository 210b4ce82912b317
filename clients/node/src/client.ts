// The caller's side: one key for one action, kept over all retries.

export interface RetryOptions {
  /** The action's key; a new one by default. If the action outlives the process, store the key, e.g. in the order's row. */
  key?: string;
  /** Milliseconds after which nothing is sent again; has to be less than the ttl. */
  deadline?: number;
  /** Milliseconds for which the server remembers keys. */
  ttl?: number;
  /** Milliseconds for one try. */
  timeout?: number;
  /** Milliseconds: the upper bounds of the first pause, and of all pauses. After the pause, more than `pause` must be left of the deadline for another try. */
  pause?: number;
  longestPause?: number;
  fetch?: typeof globalThis.fetch;
}

/** A UUIDv7: keys that are generated one after the other are adjacent in an index. */
export function newKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  new DataView(bytes.buffer).setUint32(0, Math.floor(Date.now() / 2 ** 16));
  new DataView(bytes.buffer).setUint16(4, Date.now() % 2 ** 16);
  bytes[6] = 0x70 | (bytes[6]! & 0x0f);
  bytes[8] = 0x80 | (bytes[8]! & 0x3f);
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}

const retryAfter = (response: Response): number | undefined => {
  const value = response.headers.get('retry-after');
  if (value === null) return undefined;
  const wait = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Number.isNaN(wait) ? undefined : Math.max(wait, 0);
};

// 409 without Retry-After is an answer of the application; 400 and 422 would be the same again.
const isFinal = (response: Response) =>
  !(response.status >= 500 || response.status === 429 || (response.status === 409 && retryAfter(response) !== undefined));

/**
 * Sends a request until there is an answer to it: again after a time-out, a broken
 * connection, 429, 5xx, and 409 with Retry-After. Returns the last response, or
 * throws the last error, once the deadline forbids another try.
 */
export async function fetchOnce(
  url: string | URL,
  init: RequestInit = {},
  {
    key = newKey(), deadline = 60_000, ttl = 86_400_000, timeout = 10_000, pause = 200, longestPause = 10_000, fetch = globalThis.fetch,
  }: RetryOptions = {},
): Promise<Response> {
  if (deadline >= ttl) throw new RangeError('after its ttl a key is forgotten, and the request would be done again');
  // Throws if no retry can succeed; and a form, or a stream, has the same bytes each time.
  const request = new Request(url, init);
  const body = request.body && await request.arrayBuffer();
  const headers = new Headers(request.headers);
  headers.set('Idempotency-Key', `"${key.replace(/["\\]/g, '\\$&')}"`);

  const end = Date.now() + deadline;
  for (let tries = 0; ; tries++) {
    const limit = AbortSignal.timeout(Math.max(Math.min(timeout, end - Date.now()), 1));
    const signal = init.signal ? AbortSignal.any([init.signal, limit]) : limit;
    let response: Response | undefined;
    let failure: unknown;
    try {
      response = await fetch(url, { ...init, headers, body, signal });
      if (isFinal(response)) return response;
    } catch (error) {
      failure = error;
    }

    const jitter = Math.random() * Math.min(longestPause, pause * 2 ** tries);
    const wait = ((response && retryAfter(response)) ?? 0) + jitter;
    if (Date.now() + wait + pause > end) {
      if (response) return response;
      throw failure;
    }
    await response?.body?.cancel();
    await sleep(wait, init.signal ?? undefined); // throws if the caller has ended it
  }
}

const sleep = (milliseconds: number, signal?: AbortSignal) =>
  new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', stop);
      resolve();
    }, milliseconds);
    const stop = () => {
      clearTimeout(timer);
      reject(signal!.reason);
    };
    if (signal?.aborted) stop();
    else signal?.addEventListener('abort', stop, { once: true });
  });
