// The payments service.

import { DataTypes } from 'sequelize';

import { idempotent } from './idempotent.js';

export const definePayment = (sequelize) =>
  sequelize.define('Payment', {
    customer: DataTypes.TEXT,
    amount: DataTypes.INTEGER,
  }, { tableName: 'payments', timestamps: false });

export const pay = idempotent('payments', async (sequelize, transaction, customer, { amount }) => {
  const payment = await sequelize.models.Payment.create({ customer, amount }, { transaction });
  return [201, payment];
});
