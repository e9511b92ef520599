//! A walk through the bank with the client that openapi-generator makes for Rust (see ../clients.md).
//!
//! walk http://127.0.0.1:5000 SYSTEM_PASSWORD

use std::time::{SystemTime, UNIX_EPOCH};

use fincore_client::apis::configuration::Configuration;
use fincore_client::apis::transactions_api::CreateTransferError;
use fincore_client::apis::{accounts_api, auth_api, statements_api, transactions_api, Error};
use fincore_client::models::{
    ClaimedStatement, CreateAccount, CreateTransfer, FundAccount, Login, Register, TransactionStatus,
};

const LARGE: i64 = 6_000_001_000; // more than 32 bits can hold

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [address, system_password]: [String; 2] = std::env::args().skip(1).collect::<Vec<_>>().try_into().unwrap();
    let anybody = Configuration { base_path: address, ..Configuration::default() };
    let email = format!("asha-{}@example.com", new_key());
    let password = "monsoon over the hills".to_string();
    auth_api::register(&anybody, Register::new("Asha Rao".into(), email.clone(), password.clone())).await?;
    let asha = log_in(&anybody, email, password).await?;
    let system = log_in(&anybody, "system@fincore.example".into(), system_password).await?;

    let payer = open_account(&asha, "Current").await?;
    let payee = open_account(&asha, "Savings").await?;
    transactions_api::fund_account(&system, FundAccount::new(payer.clone(), LARGE), Some(&new_key()), None).await?;

    for amount in 500..503 {
        let transfer = CreateTransfer::new(payer.clone(), payee.clone(), amount);
        let posted = transactions_api::create_transfer(&asha, transfer, Some(&new_key()), None).await?;
        assert_eq!(posted.transaction.status, TransactionStatus::Completed);
    }
    println!("Transferred.");
    let too_much = CreateTransfer::new(payer.clone(), payee, 2 * LARGE);
    match transactions_api::create_transfer(&asha, too_much, Some(&new_key()), None).await {
        // Which status is the first that fits the body: all refusals are problems of one shape.
        Err(Error::ResponseError(refused)) => match refused.entity {
            Some(CreateTransferError::Status400(problem)) => println!("Declined: {} - {}", problem.code, problem.detail),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }

    let (mut seen, mut cursor) = (0, None::<String>);
    loop {
        let page = transactions_api::list_transactions(
            &asha, Some(2), cursor.as_deref(), None, None, None, None, None, None,
        ).await?;
        seen += page.transactions.len();
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    println!("In the history: {seen}");

    let statement = statements_api::get_statement(&asha, &payer, None, None).await?;
    let claimed: ClaimedStatement = serde_json::from_value(serde_json::to_value(&statement)?)?;
    let verdict = statements_api::verify_statement(&asha, claimed).await?;
    println!("The statement is genuine: {} Credits: {}", verdict.genuine, statement.total_credits);
    let pdf = statements_api::get_statement_pdf(&asha, &payer, None, None).await?.bytes().await?;
    println!("And as a file it begins with {}", std::str::from_utf8(&pdf[..4])?);
    println!("Left: {}", accounts_api::get_balance(&asha, &payer, None).await?.balance);
    Ok(())
}

async fn log_in(bank: &Configuration, email: String, password: String) -> Result<Configuration, Box<dyn std::error::Error>> {
    let session = auth_api::login(bank, Login::new(email, password)).await?;
    Ok(Configuration { bearer_access_token: Some(session.token), ..bank.clone() })
}

async fn open_account(bank: &Configuration, name: &str) -> Result<String, Box<dyn std::error::Error>> {
    let account = CreateAccount { name: Some(Some(name.into())), ..CreateAccount::new() };
    Ok(accounts_api::create_account(bank, account, None).await?.account.id)
}

/// A key that nobody has used: the time in nanoseconds does here; take a random UUID.
fn new_key() -> String {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos().to_string()
}
