// Reads Node's own request, which every framework has.

import type { IncomingMessage } from 'node:http';

import type { Incoming } from './core.js';

const isEmpty = (body: unknown) =>
  body === undefined || body === null || (typeof body === 'object' && Object.keys(body).length === 0);

export function incoming(raw: IncomingMessage, url: string, body: unknown): Incoming {
  const sent = raw.headers['transfer-encoding'] !== undefined || Number(raw.headers['content-length'] ?? 0) > 0;
  // Node joins repeated headers, so that a comma within quotes can't be distinguished from one between two headers.
  const keys = raw.rawHeaders.filter((_, i) => i % 2 === 1 && raw.rawHeaders[i - 1]!.toLowerCase() === 'idempotency-key');
  return { method: raw.method!, url, keys, body, unread: sent && isEmpty(body) && !raw.readableDidRead };
}
