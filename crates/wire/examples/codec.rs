//! Measures what a transfer costs on the wire: request decoded, reply encoded, each with its conversion.
//!
//! `cargo run --release -p wire --example codec`

use ledger::{
    AccountId, Amount, Balances, Code, CreateTransferResult, LedgerId, TimestampNs, Transfer, TransferId,
    TransferReply,
};
use prost::Message;
use std::hint::black_box;
use std::time::Instant;
use wire::convert::{result_from_wire, result_to_wire, transfer_from_wire, transfer_to_wire};
use wire::v1;

const EVENTS: u64 = 8_190;
const ROUNDS: u64 = 200;

fn transfer(i: u64) -> Transfer {
    Transfer {
        id: TransferId(u128::from(i).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835) >> 1),
        debit_account_id: AccountId(u128::from(i % 10_000 + 1)),
        credit_account_id: AccountId(u128::from(i * 7 % 10_000 + 1)),
        amount: Amount(u128::from(i % 100_000 + 1)),
        ledger: LedgerId(1),
        code: Code(10),
        ..Transfer::default()
    }
}

fn reply(i: u64) -> TransferReply {
    let balances = Balances {
        debits_posted: Amount(u128::from(i) * 1_000_003),
        credits_posted: Amount(u128::from(i) * 999_983),
        ..Balances::default()
    };
    TransferReply {
        result: CreateTransferResult::Created,
        timestamp: TimestampNs(1_769_860_800_000_000_000 + i),
        debit: balances,
        credit: balances,
    }
}

fn measure(name: &str, bytes: usize, mut work: impl FnMut()) {
    work();
    let begun = Instant::now();
    for _ in 0..ROUNDS {
        work();
    }
    let ns = begun.elapsed().as_nanos() as f64 / (ROUNDS * EVENTS) as f64;
    let each = bytes as f64 / EVENTS as f64;
    println!("{{\"what\":\"{name}\",\"ns_per_transfer\":{ns:.1},\"bytes_per_transfer\":{each:.1}}}");
}

fn main() {
    let transfers: Vec<Transfer> = (1..=EVENTS).map(transfer).collect();
    let replies: Vec<TransferReply> = (1..=EVENTS).map(reply).collect();
    let request = || v1::CreateTransfersRequest {
        transfers: transfers.iter().map(transfer_to_wire).collect(),
    };
    let answer = || v1::CreateTransfersReply {
        results: replies.iter().map(result_to_wire).collect(),
    };
    let request_bytes = request().encode_to_vec();
    let answer_bytes = answer().encode_to_vec();
    measure(
        "client: convert and encode a request",
        request_bytes.len(),
        || {
            black_box(request().encode_to_vec());
        },
    );
    measure(
        "server: decode and convert a request",
        request_bytes.len(),
        || {
            let read = v1::CreateTransfersRequest::decode(&request_bytes[..]).expect("it was just encoded");
            let all: Vec<Transfer> = read
                .transfers
                .iter()
                .map(|wire| transfer_from_wire(wire).expect("it is in range"))
                .collect();
            black_box(all);
        },
    );
    measure("server: convert and encode a reply", answer_bytes.len(), || {
        black_box(answer().encode_to_vec());
    });
    measure("client: decode and convert a reply", answer_bytes.len(), || {
        let read = v1::CreateTransfersReply::decode(&answer_bytes[..]).expect("it was just encoded");
        let all: Vec<TransferReply> = read
            .results
            .iter()
            .map(|wire| result_from_wire(wire).expect("it is known"))
            .collect();
        black_box(all);
    });
}
