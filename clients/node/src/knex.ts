// Knex

import type { Knex } from 'knex';

import type { Database } from './core.js';

export const database = (knex: Knex): Database<Knex.Transaction> => (work) =>
  knex.transaction((trx) => work(trx, async (sql, values) => {
    const bindings: any[] = [];
    const text = sql.replace(/\$(\d+)/g, (_, n) => {
      bindings.push(values[n - 1]);
      return '?';
    });
    return (await trx.raw(text, bindings)).rows;
  }));
