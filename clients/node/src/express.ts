// Express 4 and 5

import type { Request, RequestHandler } from 'express';

import { type Answer, type Database, type Options, respond } from './core.js';
import { incoming } from './http.js';

/**
 * Wraps handlers, and is not a middleware: the commit has to come before the answer,
 * and a middleware of Express can't run between the two.
 */
export const idempotent = <Tx>(database: Database<Tx>, options: Options<Request>) =>
  (operation: string, handler: (req: Request, tx: Tx) => Promise<Answer>): RequestHandler => (req, res, next) => {
    const answered = async () => {
      const { status, headers, text } = await respond(
        database, operation, req, incoming(req, req.originalUrl, req.body), options, (tx) => handler(req, tx));
      res.status(status).set(headers);
      if (text === undefined) res.end();
      else res.send(text);
    };
    answered().catch(next);
  };
