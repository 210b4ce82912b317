//! Answers the requests of promises.pl.

use std::io::{self, BufRead};

use serde_json::json;
use tokio_postgres::NoTls;

mod idempotent;
mod payments;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (mut client, connection) = tokio_postgres::connect(&std::env::var("DATABASE_URL")?, NoTls).await?;
    tokio::spawn(connection);

    for line in io::stdin().lock().lines() {
        let line = line?;
        let [key, customer, amount] = line.split(' ').collect::<Vec<_>>()[..] else {
            return Err("this is no request".into());
        };
        let answer = payments::pay(&mut client, key, customer, amount.parse()?).await;
        let (status, body) =
            answer.unwrap_or_else(|error| (idempotent::status_of(&error), json!({"title": error.to_string()})));
        println!("{status} {body}");
    }
    Ok(())
}
