// The payments service.

export const pay = async (req, client) => {
  const { rows: [payment] } = await client.query(
    'INSERT INTO payments (customer, amount) VALUES ($1, $2) RETURNING *',
    [req.customer, req.body.amount]);
  return [201, payment];
};
