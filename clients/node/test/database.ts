// Helpers of the tests, which use the payments of examples/schema.sql.

import pg from 'pg';

import type { Incoming } from '../src/core.js';

export const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 8 });

export const paymentsOf = async (customer: string): Promise<number> =>
  (await pool.query('SELECT count(*)::integer FROM payments WHERE customer = $1', [customer])).rows[0].count;

/** A customer that no other test has. */
export const newCustomer = () => `customer-${crypto.randomUUID()}`;

export const payment = (key: string, amount: number, url = '/payments'): Incoming =>
  ({ method: 'POST', url, keys: [key], body: { amount } });
