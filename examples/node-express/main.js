// The application around payments.js.

import express from 'express';
import pg from 'pg';

import { idempotent, refused } from './idempotent.js';
import { pay } from './payments.js';

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 4 });

// Stands in for the middleware that knows who is calling.
const authenticated = (req, res, next) => {
  req.customer = req.get('Authorization').replace(/^Bearer /, '');
  next();
};

express()
  .use(express.json(), authenticated)
  .post('/payments', idempotent(pool, 'payments', pay))
  .use(refused)
  .listen(process.env.PORT, '127.0.0.1');
