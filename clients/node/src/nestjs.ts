// NestJS, on Express or Fastify
//
//   @Post()
//   @Idempotent('payments')
//   pay(@Tx() tx: EntityManager, @Body() body: Payment) { .. }
//
// A handler sets status and headers as in Nest: @HttpCode(), @Header(), @Res({ passthrough: true }).

import {
  createParamDecorator, HttpException, Inject, SetMetadata,
  type CallHandler, type DynamicModule, type ExecutionContext, type FactoryProvider, type NestInterceptor,
} from '@nestjs/common';
import { APP_INTERCEPTOR } from '@nestjs/core';
import { from, lastValueFrom, type Observable } from 'rxjs';

import { Abort, STORED_HEADERS, type Database, type Options, respond } from './core.js';
import { incoming } from './http.js';

const SETTINGS = Symbol('idempotency');
const OPERATION = Symbol('idempotency.operation');
const TRANSACTION = Symbol('idempotency.transaction');

export interface Settings extends Options<any> {
  database: Database<any>;
}

/** To be imported once. */
export class IdempotencyModule {
  static forRootAsync(
    { imports, ...settings }: Pick<DynamicModule, 'imports'> & Pick<FactoryProvider<Settings>, 'inject' | 'useFactory'>,
  ): DynamicModule {
    const providers = [{ provide: SETTINGS, ...settings }, { provide: APP_INTERCEPTOR, useClass: IdempotencyInterceptor }];
    return { module: IdempotencyModule, imports, providers };
  }
}

// A global one, so that the stored answer is the result as other interceptors return
// it: a ClassSerializerInterceptor, for example, removes secrets.
class IdempotencyInterceptor implements NestInterceptor {
  constructor(private readonly settings: Settings) {}

  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const operation = Reflect.getMetadata(OPERATION, context.getHandler());
    return operation === undefined ? next.handle() : from(this.answered(operation, context, next));
  }

  private async answered(operation: string, context: ExecutionContext, next: CallHandler) {
    const request = context.switchToHttp().getRequest();
    const response = context.switchToHttp().getResponse();
    const { database, ...options } = this.settings;
    const answer = await respond(
      database, operation, request,
      incoming(request.raw ?? request, request.originalUrl, request.body), options,
      async (tx) => {
        request[TRANSACTION] = tx;
        const body = await lastValueFrom(next.handle(), { defaultValue: undefined }).catch(refusal);
        const headers = ['content-type', ...options.storedHeaders ?? STORED_HEADERS]
          .map((name) => [name, response.getHeader(name)])
          .filter(([, value]) => value !== undefined);
        return { status: response.statusCode, body, headers: Object.fromEntries(headers) };
      });
    response.status(answer.status);
    for (const [name, value] of Object.entries(answer.headers)) response.header(name, value);
    return answer.text;
  }
}

// An exception under 500 is an answer: it is stored in the form that Nest gives it.
const refusal = (error: unknown): never => {
  if (!(error instanceof HttpException) || error.getStatus() >= 500) throw error;
  const [status, body] = [error.getStatus(), error.getResponse()];
  throw new Abort({ status, body: typeof body === 'string' ? { statusCode: status, message: body } : body }, { cause: error });
};

Inject(SETTINGS)(IdempotencyInterceptor, undefined, 0);

export const Idempotent = (operation: string) => SetMetadata(OPERATION, operation);

/** The transaction, as the database of the settings provides it. */
export const Tx = createParamDecorator((_: unknown, context: ExecutionContext) =>
  context.switchToHttp().getRequest()[TRANSACTION]);
