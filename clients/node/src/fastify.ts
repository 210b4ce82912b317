// Fastify

import type { FastifyReply, FastifyRequest } from 'fastify';

import { type Answer, type Database, type Options, respond } from './core.js';
import { incoming } from './http.js';

export const idempotent = <Tx>(database: Database<Tx>, options: Options<FastifyRequest>) =>
  <R extends FastifyRequest<any>>(operation: string, handler: (request: R, tx: Tx) => Promise<Answer>) =>
    async (request: R, reply: FastifyReply): Promise<FastifyReply> => {
      const { status, headers, text } = await respond(
        database, operation, request as FastifyRequest, incoming(request.raw, request.originalUrl, request.body), options,
        (tx) => handler(request, tx));
      return reply.code(status).headers(headers).send(text);
    };
