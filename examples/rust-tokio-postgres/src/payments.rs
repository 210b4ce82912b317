use serde_json::json;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use crate::idempotent::{Answer, idempotent};

pub async fn pay(client: &mut Client, key: &str, customer: &str, amount: i32) -> Result<Answer, Error> {
    let scope = format!("payments/{customer}");
    idempotent(client, key, &scope, &json!({ "amount": amount }), async |transaction| {
        let payment = transaction
            .query_typed_one(
                "INSERT INTO payments (customer, amount) VALUES ($1, $2) RETURNING to_jsonb(payments)",
                &[(&customer, Type::TEXT), (&amount, Type::INT4)],
            )
            .await?;
        Ok((201, payment.get(0)))
    })
    .await
}
