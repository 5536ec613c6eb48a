//! Measures single transfers from many callers at once, node and client in one process.
//!
//! `cargo run --release -p client --example calls -- [callers] [seconds]`

use api::ApiConfig;
use client::{Client, Options};
use ledger::{Account, AccountId, Amount, Code, CreateTransferResult, LedgerId, Transfer, TransferId};
use node::{Node, NodeOptions};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

const ACCOUNTS: u64 = 8_000;

fn argument(at: usize, default: u64) -> u64 {
    std::env::args()
        .nth(at)
        .map_or(default, |text| text.parse().expect("a number is needed"))
}

fn transfer(i: u64) -> Transfer {
    Transfer {
        id: TransferId(u128::from(i) + 1),
        debit_account_id: AccountId(u128::from(i * 7 % ACCOUNTS) + 1),
        credit_account_id: AccountId(u128::from((i * 7 + 1) % ACCOUNTS) + 1),
        amount: Amount(1),
        ledger: LedgerId(1),
        code: Code(1),
        ..Transfer::default()
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (callers, seconds) = (argument(1, 1_024), argument(2, 5));
    for shared_requests in [1, 2, 4] {
        let directory = tempfile::tempdir()?;
        let node = Node::open(&NodeOptions::new(directory.path()), |_, _| {})?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let served = node.clone();
        tokio::spawn(api::serve(
            served,
            listener,
            ApiConfig::default(),
            std::future::pending(),
        ));
        let options = Options {
            shared_requests,
            ..Options::default()
        };
        let client = Client::connect_with(&endpoint, options).await?;
        let account = |id| Account {
            id: AccountId(u128::from(id)),
            ledger: LedgerId(1),
            code: Code(1),
            ..Account::default()
        };
        client
            .submit_accounts((1..=ACCOUNTS).map(account).collect())
            .await?;
        let next = Arc::new(AtomicU64::new(0));
        let before = node.status().height;
        let begun = Instant::now();
        let until = begun + Duration::from_secs(seconds);
        let calls: Vec<_> = (0..callers)
            .map(|_| {
                let (client, next) = (client.clone(), next.clone());
                tokio::spawn(async move {
                    while Instant::now() < until {
                        let asked = transfer(next.fetch_add(1, Ordering::Relaxed));
                        let reply = client.transfer(asked).await.expect("the node answers");
                        assert_eq!(reply.result, CreateTransferResult::Created);
                    }
                })
            })
            .collect();
        for call in calls {
            call.await?;
        }
        let (done, took) = (next.load(Ordering::Relaxed), begun.elapsed().as_secs_f64());
        let blocks = node.status().height.0 - before.0;
        let rate = done as f64 / took;
        println!(
            "{{\"callers\":{callers},\"shared_requests\":{shared_requests},\"transfers\":{done},\"blocks\":{blocks},\"per_second\":{rate:.0}}}"
        );
        tokio::task::spawn_blocking(move || node.stop()).await?;
    }
    Ok(())
}
