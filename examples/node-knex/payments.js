// The payments service.

import { idempotent } from './idempotent.js';

export const pay = idempotent('payments', async (trx, customer, { amount }) => {
  const [payment] = await trx('payments').insert({ customer, amount }).returning('*');
  return [201, payment];
});
