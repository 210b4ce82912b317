// An HTTP request is carried out once for each Idempotency-Key: claim, work and
// answer are one transaction, and nothing is sent before it has committed.

export type Row = Record<string, any>;

/** Runs SQL with parameters $1, $2, .. in the transaction. */
export type Query = (sql: string, values: unknown[]) => Promise<Row[]>;

/**
 * Runs work in a new transaction: commits when it returns, rolls back when it
 * throws, and throws the same.
 */
export type Database<Tx> = <T>(work: (tx: Tx, query: Query) => Promise<T>) => Promise<T>;

/** A handler's return value. */
export interface Answer {
  /** 200 if left out, or 204 without a body. */
  status?: number;
  /** Sent as JSON; a string is sent unchanged if the headers have a Content-Type other than JSON. */
  body?: unknown;
  headers?: Record<string, string>;
}

/** A request, whatever framework has received it. */
export interface Incoming {
  method: string;
  /** Path and query. */
  url: string;
  /** The value of each Idempotency-Key header. */
  keys: string[];
  body: unknown;
  /** There is a body that has not been read, and can't be compared. */
  unread?: boolean;
}

/** The response. */
export interface Outgoing {
  status: number;
  headers: Record<string, string>;
  /** Undefined if there is no body. */
  text?: string;
}

export interface Options<Request> {
  /** The authenticated user, never taken from the body. */
  caller: (request: Request) => string | number | Promise<string | number>;
  /** How long an answer is remembered, e.g. '7 days'; the policy's or the database's default if left out. */
  ttl?: string;
  /**
   * How long a duplicate waits for the request that is being carried out, before
   * it is answered with 409. It holds a connection meanwhile, so the default is '0'.
   */
  wait?: string;
  /** The body that is compared; leave out what may change from one try to the next. */
  compare?: (request: Request) => unknown;
  /** Headers that are stored with the answer and sent again with a replay, in addition to Content-Type. The default is STORED_HEADERS. */
  storedHeaders?: string[];
}

export const STORED_HEADERS = ['content-language', 'content-location', 'etag', 'last-modified', 'link', 'location'];

/** A fault of the service, not of the request; see its cause. */
export class IdempotencyFault extends Error {
  override name = 'IdempotencyFault';
}

/** A handler throws it to undo its work; the answer is stored if it is under 500. */
export class Abort extends Error {
  override name = 'Abort';

  constructor(readonly answer: Answer, options?: ErrorOptions) {
    super(`answered with ${answer.status}`, options);
  }
}

/** An answer that rolls the transaction back. */
class Unstored extends Error {
  constructor(readonly outgoing: Outgoing) {
    super('rolled back');
  }
}

const CLAIM = `
  SELECT key, outcome, status_code, ceil(extract(epoch FROM retry_after))::integer AS retry_after,
         response -> 'headers' AS headers, response ->> 'body' AS body
    FROM idempotency.parse_header($1::text) AS key,
         idempotency.claim(key => key, scope => $2::text, request => $3::jsonb, wait => $4::interval, ttl => $5::interval)`;

const COMPLETE = `
  SELECT true AS completed
    FROM idempotency.complete(key => $1::text, scope => $2::text, response => $3::jsonb,
                              resource_id => $4::text, status_code => $5::integer)`;

// Serialization failures and deadlocks: the whole transaction is run again.
const AGAIN = new Set(['40001', '40P01']);
// A handler has caught an error of the database, or rolled back: its work is undone, but its refusal is stored.
const UNDONE = new Set(['25P02', 'IK404', 'PT404']);
// JSON that jsonb can't hold: \u0000, lone surrogates, numbers too large, nesting too deep.
const NOT_JSONB = new Set(['22P02', '22P05', '22021', '22003', '54001']);
const TITLES: Record<number, string> = {
  400: 'The request or its Idempotency-Key is not acceptable',
  409: 'A request with this Idempotency-Key is being carried out',
  412: 'The request is too old to be sent again',
  413: 'The answer is too large to be stored',
  422: 'The Idempotency-Key was used for a different request',
};

export const problem = (status: number, detail?: string, retryAfter?: number): Outgoing => ({
  status,
  headers: {
    'content-type': 'application/problem+json',
    ...(retryAfter !== undefined && { 'retry-after': String(retryAfter) }),
  },
  text: JSON.stringify({ title: TITLES[status], status, detail }),
});

interface DriverError {
  /** SQLSTATE, '' if there is none. */
  code: string;
  message: string;
  stack?: string;
}

/** The driver's error, which an ORM wraps in its own. */
export function databaseError(error: any): DriverError | undefined {
  if (error === null || typeof error !== 'object') return undefined;
  const wrapped = [error.meta?.driverAdapterError, error.cause, error.driverError, error.original]
    .map(databaseError).find((inner) => inner !== undefined);
  if (wrapped?.code) return wrapped;
  const code = error.originalCode ?? error.code;
  if (typeof code === 'string') return { code, message: error.originalMessage ?? error.message, stack: error.stack };
  return wrapped ?? { code: '', message: String(error.message), stack: error.stack };
}

/** Without the parameters: an ORM's error contains the request and the answer. */
const faultOf = (error: unknown) => {
  const { message, ...rest } = databaseError(error) ?? { code: '', message: String(error) };
  return new IdempotencyFault('the request was not carried out', { cause: Object.assign(new Error(message), rest) });
};

// An error of the extension that the client has caused is answered.
const refused = (claiming: boolean) => (error: unknown): never => {
  const { code, message } = databaseError(error) ?? { code: '', message: '' };
  const [, status] = /^(?:IK|PT)(400|409|412|413|422)$/.exec(code) ?? [];
  if (status) throw new Unstored(problem(Number(status), message, status === '409' ? 1 : undefined));
  if (claiming && NOT_JSONB.has(code)) throw new Unstored(problem(400, 'The body holds what JSON in PostgreSQL can\'t.'));
  throw faultOf(error);
};

const outgoing = ({ status, headers = {}, body }: Answer): Outgoing => {
  const lowerCased = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
  if (body === undefined) return { status: status ?? 204, headers: lowerCased };
  const type = lowerCased['content-type'] ??= 'application/json; charset=utf-8';
  const isText = typeof body === 'string' && !/\bjson\b/i.test(type);
  return { status: status ?? 200, headers: lowerCased, text: isText ? body : JSON.stringify(body) };
};

const compared = ({ method, url, keys, body, unread }: Incoming): string => {
  if (keys.length > 1) throw new Unstored(problem(400, 'There are several Idempotency-Key headers.'));
  if (unread) throw new Unstored(problem(400, 'The Content-Type of the body is not one that is read here.'));
  const [, path, query] = /^([^?]*)\??(.*)$/s.exec(url)!;
  try {
    return JSON.stringify(
      { method, path, query, body: body instanceof Uint8Array ? Buffer.from(body).toString('base64') : body ?? null },
      (_, value) => {
        if (typeof value === 'number' && !Number.isFinite(value)) throw new RangeError('not a number of JSON');
        return value;
      });
  } catch {
    // It is nested too deep, or has a number such as 1e999.
    throw new Unstored(problem(400, 'The body holds what JSON in PostgreSQL can\'t.'));
  }
};

/**
 * Answers the request with the handler's answer, which is stored, or with the stored
 * one. An answer of 500 and above, and anything thrown except an Abort, rolls the
 * work back and stores nothing, so that a retry runs the handler again.
 */
export async function respond<Tx, Request>(
  database: Database<Tx>,
  operation: string,
  request: Request,
  incoming: Incoming,
  options: Options<Request>,
  handler: (tx: Tx) => Promise<Answer>,
): Promise<Outgoing> {
  const caller = String(await options.caller(request) ?? '');
  if (caller === '') throw new IdempotencyFault('the caller of the request is unknown');
  const scope = `${operation}/${caller.replace(/[%/]/g, encodeURIComponent)}`;
  const body = options.compare ? options.compare(request) : incoming.body;
  const stored = ['content-type', ...options.storedHeaders ?? STORED_HEADERS].map((name) => name.toLowerCase());

  const once = (compare: string, work: (tx: Tx) => Promise<Answer>) => database(async (tx, query) => {
    const [claim] = await query(
      CLAIM, [incoming.keys[0] ?? null, scope, compare, options.wait ?? '0', options.ttl ?? null],
    ).catch(refused(true)) as [Row];
    if (claim.outcome === 'replay') {
      const { status_code: status, headers, body: text } = claim;
      return { status, headers: { ...headers, 'idempotent-replayed': 'true' }, text: text ?? undefined };
    }
    // A previous owner has committed a part of the work, which a handler of one
    // transaction neither knows nor may do again.
    if (claim.outcome === 'recovered') throw new IdempotencyFault(`claims of the scope "${scope}" have a lease`);
    if (claim.outcome !== 'new') return problem(claim.status_code, undefined, claim.retry_after ?? undefined);

    const answer = await work(tx);
    const out = outgoing(answer);
    if (out.status >= 500) throw new Unstored(out);
    const response = {
      headers: Object.fromEntries(Object.entries(out.headers).filter(([name]) => stored.includes(name))),
      body: out.text,
    };
    const id = (answer.body as Row | null | undefined)?.id;
    await query(COMPLETE, [claim.key, scope, JSON.stringify(response), id == null ? null : String(id), out.status])
      .catch((error) => {
        if (out.status >= 400 && UNDONE.has(databaseError(error)?.code ?? '')) throw new Abort(answer, { cause: error });
        return refused(false)(error);
      });
    return out;
  });

  let work = handler;
  for (let tries = 1; ; tries++) {
    try {
      return await once(compared({ ...incoming, body }), work);
    } catch (error) {
      if (error instanceof Unstored) return error.outgoing;
      if (error instanceof Abort) {
        // In a new transaction. In between the key is free: if another request
        // claims it, that one does the work, and its answer is sent here too.
        work = async () => error.answer;
        continue;
      }
      const code = databaseError(error)?.code ?? '';
      if (AGAIN.has(code) && tries < 3) continue;
      // A framework might take the code for an HTTP status, and send the message to the client.
      if (/^(?:IK|PT)\d{3}$/.test(code) && !(error instanceof IdempotencyFault)) throw faultOf(error);
      throw error;
    }
  }
}
