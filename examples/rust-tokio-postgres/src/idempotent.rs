use serde_json::{Value, json};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error, Transaction};

pub type Answer = (i32, Value);

/// Runs `work` once for each key of the scope; its answers are a status and a body.
///
/// Claim, work and answer are one transaction.  An error, and an answer of 500 and
/// above, drops it, which undoes all of it, and a retry runs the work again.  The
/// request is compared: over HTTP, pass method, path, query and body.
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
            "SELECT * FROM idempotency.claim(key => $1, scope => $2, request => $3)",
            &[(&key, Type::TEXT), (&scope, Type::TEXT), (request, Type::JSONB)],
        )
        .await?;
    match claim.get("outcome") {
        "new" => {}
        "replay" => return Ok((claim.get("status_code"), claim.get("response"))),
        // A previous owner has committed a part of the work.
        "recovered" => return Ok((500, json!({"title": "claims of the scope have a lease"}))),
        outcome => return Ok((claim.get("status_code"), json!({ "title": outcome }))),
    }

    let (status, body) = work(&transaction).await?;
    if status >= 500 {
        return Ok((status, body));
    }
    transaction
        .execute_typed(
            "SELECT idempotency.complete(key => $1, scope => $2, response => $3, status_code => $4)",
            &[(&key, Type::TEXT), (&scope, Type::TEXT), (&body, Type::JSONB), (&status, Type::INT4)],
        )
        .await?;
    transaction.commit().await?;
    Ok((status, body))
}

/// The HTTP status of an error that the client has caused; any other error is the service's own.
pub fn status_of(error: &Error) -> i32 {
    match error.code().map_or("", |state| state.code()) {
        "IK400" => 400,
        "IK409" => 409,
        "IK412" => 412,
        "IK413" => 413,
        "IK422" => 422,
        _ => 500,
    }
}
