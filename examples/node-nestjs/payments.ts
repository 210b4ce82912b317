// A payments service.

import type { Request, Response } from 'express';
import { Body, Controller, Module, Post, Req, Res } from '@nestjs/common';
import { Idempotent, IdempotencyModule, Tx } from 'pg-idempotency/nestjs';
import { database } from 'pg-idempotency/typeorm';
import { Column, DataSource, Entity, EntityManager, PrimaryGeneratedColumn } from 'typeorm';

@Entity('payments')
export class Payment {
  @PrimaryGeneratedColumn('identity') id!: number;
  @Column('text') customer!: string;
  @Column('integer') amount!: number;
}

// Stands in for your authentication.
const customerOf = (request: Request) => request.get('Authorization')!.replace(/^Bearer /, '');

@Controller('payments')
export class Payments {
  @Post()
  @Idempotent('payments')
  async pay(
    @Tx() tx: EntityManager,
    @Req() request: Request,
    @Res({ passthrough: true }) response: Response,
    @Body() { amount }: { amount: number },
  ) {
    const payment = await tx.save(tx.create(Payment, { customer: customerOf(request), amount }));
    response.location(`/payments/${payment.id}`);
    return payment;
  }
}

@Module({
  providers: [{
    provide: DataSource,
    useFactory: () =>
      new DataSource({ type: 'postgres', url: process.env.DATABASE_URL, entities: [Payment] }).initialize(),
  }],
  exports: [DataSource],
})
export class DatabaseModule {}

export const idempotency = IdempotencyModule.forRootAsync({
  imports: [DatabaseModule],
  inject: [DataSource],
  useFactory: (dataSource: DataSource) => ({ database: database(dataSource), caller: customerOf }),
});

@Module({ imports: [idempotency], controllers: [Payments] })
export class App {}
