// The service for promises.pl, with handlers that go wrong.

import { sql } from 'drizzle-orm';

import { app, once, pay, type Payment } from './payments.js';

app.post('/payments/:how', once('payments', async (request: Payment, tx) => {
  const answer = await pay(request, tx);
  switch (request.params.how) {
    case 'commit': await tx.execute(sql`COMMIT`); break;
    case 'caught':
      await tx.execute(sql`SELECT 1/0`).catch(() => {});
      return { status: 409, body: {} };
    case 'nothing': return {};
    case 'unavailable': return { status: 503 };
    case 'error': throw new Error('broken');
  }
  return answer;
}));
await app.listen({ port: Number(process.env.PORT), host: '127.0.0.1' });
