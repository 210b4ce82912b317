// The service for promises.pl, with handlers that go wrong.

import { app, once, pay } from './payments.js';

const wrong = {
  commit: (tx) => tx.query('COMMIT'),
  caught: (tx) => tx.query('SELECT 1/0').catch(() => ({ status: 409 })),
  nothing: () => ({ status: 204, body: undefined }),
  unavailable: () => ({ status: 503 }),
  error: () => { throw new Error('broken'); },
};

app.post('/payments/:how', once('payments', async (req, tx) => {
  const answer = await pay(req, tx);
  return { ...answer, ...await wrong[req.params.how](tx) };
}));
