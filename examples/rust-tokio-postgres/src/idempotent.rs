use serde_json::{Value, json};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error, Transaction};

pub type Answer = (i32, Value);

/// Runs `work` once for each key of the scope; its answers are a status and a body.
///
/// Claim, work and answer are one transaction.  An error drops it, which rolls all
/// of it back, and a retry runs the work again.
pub async fn idempotent(
    client: &mut Client,
    key: &str,
    scope: &str,
    request: &Value,
    work: impl AsyncFnOnce(&Transaction<'_>) -> Result<Answer, Error>,
) -> Result<Answer, Error> {
    let transaction = client.transaction().await?;
    let claim = transaction
        .query_typed_one(
            "SELECT * FROM idempotency.claim($1, $2, $3)",
            &[(&key, Type::TEXT), (&scope, Type::TEXT), (request, Type::JSONB)],
        )
        .await?;
    if claim.get::<_, &str>("outcome") == "replay" {
        return Ok((claim.get("status_code"), claim.get("response")));
    }
    if !claim.get::<_, bool>("proceed") {
        return Ok((claim.get("status_code"), json!({"title": claim.get::<_, &str>("outcome")})));
    }

    let (status, body) = work(&transaction).await?;
    transaction
        .execute_typed(
            "SELECT idempotency.complete($1, $2, $3, status_code => $4)",
            &[(&key, Type::TEXT), (&scope, Type::TEXT), (&body, Type::JSONB), (&status, Type::INT4)],
        )
        .await?;
    transaction.commit().await?;
    Ok((status, body))
}

/// The HTTP status that the extension's SQLSTATEs end in.
pub fn status_of(error: &Error) -> i32 {
    let code = error.code().map_or("", |state| state.code());
    code.strip_prefix("IK").and_then(|status| status.parse().ok()).unwrap_or(500)
}
