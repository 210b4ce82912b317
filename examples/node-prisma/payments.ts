// The payments service.

import { idempotent } from './idempotent.js';

export const pay = idempotent('payments', async (tx, customer, { amount }: { amount: number }) =>
  [201, await tx.payment.create({ data: { customer, amount } })]);
