// TypeORM

import type { DataSource, EntityManager } from 'typeorm';

import type { Database } from './core.js';

export const database = (dataSource: DataSource): Database<EntityManager> => (work) =>
  dataSource.transaction((manager) => work(manager, (sql, values) => manager.query(sql, values)));
