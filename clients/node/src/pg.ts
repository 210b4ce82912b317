// node-postgres

import type { Pool, PoolClient } from 'pg';

import type { Database } from './core.js';

export const database = (pool: Pool): Database<PoolClient> => async (work) => {
  const client = await pool.connect();
  // A connection that breaks between two queries is reported by the next one;
  // without a listener the event would end the process.
  const ignore = () => {};
  client.on('error', ignore);
  const release = (error?: Error) => {
    client.off('error', ignore);
    client.release(error);
  };
  try {
    await client.query('BEGIN');
    const result = await work(client, async (sql, values) => (await client.query(sql, values)).rows);
    await client.query('COMMIT');
    release();
    return result;
  } catch (error) {
    // A client that can't roll back must not be used again.
    await client.query('ROLLBACK').then(() => release(), release);
    throw error;
  }
};
