// The service for promises.pl, with handlers that go wrong.

import { app, once, pay } from './payments.js';

app.post('/payments/:how', once('payments', async (req, tx) => {
  const answer = await pay(req, tx);
  switch (req.params.how) {
    case 'commit': await tx.$executeRaw`COMMIT`; break;
    case 'caught':
      await tx.$executeRaw`SELECT 1/0`.catch(() => {});
      return { status: 409, body: {} };
    case 'nothing': return {};
    case 'unavailable': return { status: 503 };
    case 'error': throw new Error('broken');
  }
  return answer;
}));
app.listen(Number(process.env.PORT), '127.0.0.1');
