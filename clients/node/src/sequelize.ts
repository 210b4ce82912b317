// Sequelize

import { QueryTypes, type Sequelize, type Transaction } from 'sequelize';

import type { Database } from './core.js';

export const database = (sequelize: Sequelize): Database<Transaction> => (work) =>
  sequelize.transaction((transaction) => work(transaction, (sql, values) =>
    sequelize.query(sql, { bind: values, transaction, type: QueryTypes.SELECT })));
