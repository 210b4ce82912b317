// The service for promises.pl, with handlers that go wrong.

import 'reflect-metadata';

import { Body, Controller, HttpException, Module, Param, Post, Req, Res } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { Request, Response } from 'express';
import { Idempotent, Tx } from 'pg-idempotency/nestjs';
import type { EntityManager } from 'typeorm';

import { idempotency, Payments } from './payments.js';

@Controller('payments')
class Wrong extends Payments {
  @Post(':how')
  @Idempotent('payments')
  async wrong(
    @Tx() tx: EntityManager,
    @Req() request: Request,
    @Res({ passthrough: true }) response: Response,
    @Body() body: { amount: number },
    @Param('how') how: string,
  ) {
    const payment = await this.pay(tx, request, response, body);
    if (how === 'commit') await tx.query('COMMIT');
    if (how === 'caught') {
      await tx.query('SELECT 1/0').catch(() => {});
      response.status(409);
    }
    if (how === 'nothing') return void response.status(204);
    if (how === 'unavailable') throw new HttpException({ title: how }, 503);
    if (how === 'error') throw new Error('broken');
    return payment;
  }
}

@Module({ imports: [idempotency], controllers: [Payments, Wrong] })
class App {}

const app = await NestFactory.create(App, { logger: ['error'] });
await app.listen(process.env.PORT!, '127.0.0.1');
