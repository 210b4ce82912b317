// The payments service.

import { Column, Entity, PrimaryGeneratedColumn } from 'typeorm';

import { idempotent } from './idempotent.js';

@Entity('payments')
export class Payment {
  @PrimaryGeneratedColumn('identity')
  id!: number;

  @Column('text')
  customer!: string;

  @Column('integer')
  amount!: number;
}

export const pay = idempotent('payments', async (manager, customer, { amount }: { amount: number }) => {
  const payment = await manager.save(manager.create(Payment, { customer, amount }));
  return [201, payment];
});
