//! REST as a client sees it, against a real node.

use crate::support::Server;
use api::{ApiConfig, RequestBounds, SettingsStatus};
use node::{Bounds, NodeOptions};
use serde_json::{Value, json};

async fn with_accounts() -> Server {
    let server = Server::start().await;
    let accounts = r#"{ "accounts": [
        { "id": "1", "ledger": 7, "code": 10 },
        { "id": "2", "ledger": 7, "code": 20, "flags": ["debits_must_not_exceed_credits"],
          "metadata": { "owner": "é", "n": 1.50 } },
        { "id": "3", "ledger": 7, "code": 20 } ] }"#;
    let answer = server.post("/v1/accounts", accounts).await.ok();
    for result in answer["results"].as_array().unwrap() {
        assert_eq!(result["result"], "created");
    }
    server
}

async fn transfer(server: &Server, transfer: Value) -> Value {
    let body = json!({ "transfers": [transfer] }).to_string();
    server.post("/v1/transfers", &body).await.ok()["results"][0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_is_answered_with_both_accounts_after_it() {
    let server = with_accounts().await;
    let amount = "340282366920938463463374607431768211450";
    let given = json!({ "id": 100, "debit_account_id": 1, "credit_account_id": "2", "amount": amount,
        "ledger": 7, "code": 1, "metadata": { "note": [1, 2] } });
    let result = transfer(&server, given.clone()).await;
    assert_eq!(result["result"], "created");
    assert_eq!(result["debit_account"]["debits_posted"], amount);
    assert_eq!(result["credit_account"]["credits_posted"], amount);
    assert_eq!(result["credit_account"]["debits_posted"], "0");
    assert!(result.get("id").is_none(), "the client knows its own id");

    let again = transfer(&server, given).await;
    assert_eq!(again["result"], "exists");
    assert_eq!(again["timestamp"], result["timestamp"]);

    let found = server
        .post("/v1/transfers/lookup", r#"{"ids":["100","101"]}"#)
        .await
        .ok();
    let found = found["transfers"].as_array().unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["amount"], amount);
    assert_eq!(found[0]["kind"], "transfer");
    assert_eq!(found[0]["metadata"], json!({ "note": [1, 2] }));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_a_result_and_the_other_events_go_on() {
    let server = with_accounts().await;
    let body = json!({ "transfers": [
        { "id": 1, "debit_account_id": 2, "credit_account_id": 1, "amount": 5, "ledger": 7, "code": 1 },
        { "id": 2, "debit_account_id": 1, "credit_account_id": 2, "amount": 5, "ledger": 7, "code": 1 },
        { "id": 3, "debit_account_id": 1, "credit_account_id": 9, "amount": 5, "ledger": 7, "code": 1 },
    ] });
    let answer = server.post("/v1/transfers", &body.to_string()).await.ok();
    let names: Vec<&str> = answer["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["result"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["exceeds_credits", "created", "credit_account_not_found"]);
    assert!(answer["results"][0].get("debit_account").is_none());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_makes_a_repeat_harmless() {
    let server = with_accounts().await;
    let body = json!({ "transfers": [
        { "debit_account_id": 1, "credit_account_id": 2, "amount": 5, "ledger": 7, "code": 1 },
        { "id": "77", "debit_account_id": 1, "credit_account_id": 3, "amount": 6, "ledger": 7, "code": 1 },
    ] })
    .to_string();
    let headers = [
        ("content-type", "application/json"),
        ("idempotency-key", "invoice 9"),
    ];
    let first = server
        .send("POST", "/v1/transfers", &headers, body.as_bytes())
        .await
        .ok();
    let second = server
        .send("POST", "/v1/transfers", &headers, body.as_bytes())
        .await
        .ok();
    let derived = wire::derive_id(ledger::ActorId(0), b"invoice 9", 0).to_string();
    assert_eq!(first["results"][0]["id"], derived);
    assert_eq!(first["results"][0]["result"], "created");
    for index in 0..2 {
        assert_eq!(second["results"][index]["result"], "exists");
        assert_eq!(
            second["results"][index]["timestamp"],
            first["results"][index]["timestamp"]
        );
    }
    let without_key = server.post("/v1/transfers", &body).await.ok();
    assert_eq!(without_key["results"][0]["result"], "id_must_not_be_zero");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_applied_as_a_whole_and_its_repeat_says_so() {
    let server = with_accounts().await;
    let transaction = |id: u32, credit: u32| {
        json!({ "id": id, "code": 5, "postings": [
            { "account_id": 1, "ledger": 7, "side": "debit", "amount": "10" },
            { "account_id": 2, "ledger": 7, "side": "credit", "amount": "4" },
            { "account_id": 3, "ledger": 7, "side": "credit", "amount": credit },
        ], "metadata": { "order": 1 } })
        .to_string()
    };
    let first = server.post("/v1/transactions", &transaction(50, 6)).await.ok();
    assert_eq!(first["result"], "committed");
    assert_eq!(first["transfers"].as_array().unwrap().len(), 2);
    let leg = wire::derive_leg_id(50, 1).to_string();
    assert_eq!(first["transfers"][1]["id"], leg);
    let again = server.post("/v1/transactions", &transaction(50, 6)).await.ok();
    assert_eq!(again["result"], "already_committed");
    for leg in 0..2 {
        let (then, now) = (&first["transfers"][leg], &again["transfers"][leg]);
        assert_eq!(now["result"], "exists", "transfer {leg}");
        assert_eq!(now["timestamp"], then["timestamp"], "transfer {leg}");
        assert_eq!(now["debit_account"]["debits_posted"], "10", "as it is now");
        assert_eq!(now["credit_account"], then["credit_account"], "transfer {leg}");
    }
    let problem = server
        .post("/v1/transactions", &transaction(51, 7))
        .await
        .problem(422);
    assert_eq!(problem["code"], "API-0008");

    let unnamed = transaction(51, 6).replace("\"id\":51,", "");
    assert_eq!(
        server.post("/v1/transactions", &unnamed).await.problem(422)["outcome"],
        "nothing_done"
    );

    let overdrawn = json!({ "id": 52, "code": 5, "postings": [
        { "account_id": 3, "ledger": 7, "side": "debit", "amount": "1" },
        { "account_id": 2, "ledger": 7, "side": "debit", "amount": "100" },
        { "account_id": 1, "ledger": 7, "side": "credit", "amount": "101" },
    ] });
    let refused = server.post("/v1/transactions", &overdrawn.to_string()).await.ok();
    assert_eq!(refused["result"], "exceeds_credits");
    assert_eq!(refused["failed_transfer"], 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_transaction_under_a_used_id_is_refused_however_much_of_it_is_the_same() {
    let server = with_accounts().await;
    let transaction = |amounts: &[(u32, &str, u32)]| {
        let postings: Vec<Value> = amounts
            .iter()
            .map(|(account, side, amount)| json!({ "account_id": account, "ledger": 7, "side": side, "amount": amount }))
            .collect();
        json!({ "id": 50, "code": 5, "postings": postings }).to_string()
    };
    let stored = transaction(&[(1, "debit", 10), (2, "credit", 4), (3, "credit", 6)]);
    let first = server.post("/v1/transactions", &stored).await.ok();
    assert_eq!(first["result"], "committed");
    for (other, index, result) in [
        (
            [(1, "debit", 1_000), (2, "credit", 4), (1, "credit", 996)].as_slice(),
            1,
            "exists_with_different_credit_account_id",
        ),
        (
            &[(1, "debit", 11), (2, "credit", 4), (3, "credit", 7)],
            1,
            "exists_with_different_amount",
        ),
        (
            &[
                (1, "debit", 11),
                (2, "credit", 4),
                (3, "credit", 6),
                (2, "credit", 1),
            ],
            1,
            "exists_with_different_flags",
        ),
        (
            &[(1, "debit", 4), (2, "credit", 4)],
            0,
            "exists_with_different_flags",
        ),
    ] {
        let answer = server.post("/v1/transactions", &transaction(other)).await.ok();
        assert_eq!(answer["result"], result, "{answer}");
        assert_eq!(answer["failed_transfer"], index, "{answer}");
        assert_eq!(answer["transfers"][index]["result"], result, "{answer}");
    }
    let balance = server.get("/v1/accounts/1/balance").await.ok();
    assert_eq!(balance["debits_posted"], "10", "nothing else moved");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_read_with_balances_now_and_at_any_time() {
    let server = with_accounts().await;
    let move_5 = |id: u32| json!({ "id": id, "debit_account_id": 1, "credit_account_id": 2, "amount": 5, "ledger": 7, "code": 1 });
    let first = transfer(&server, move_5(1)).await;
    transfer(&server, move_5(2)).await;

    let account = server.get("/v1/accounts/2").await.ok();
    assert_eq!(account["credits_posted"], "10");
    assert_eq!(account["flags"], json!(["debits_must_not_exceed_credits"]));
    let text = server.get("/v1/accounts/2").await;
    assert!(
        text.text().contains(r#""metadata":{"owner":"é","n":1.50}"#),
        "metadata is kept as given"
    );

    let at = first["timestamp"].as_str().unwrap();
    let then = server.get(&format!("/v1/accounts/2/balance?at={at}")).await.ok();
    assert_eq!(then["credits_posted"], "5");
    assert_eq!(then["timestamp"], at);
    assert_eq!(
        server.get("/v1/accounts/2/balance").await.ok()["credits_posted"],
        "10"
    );
    let before = server
        .get("/v1/accounts/2/balance?at=2001-01-01T00:00:00Z")
        .await
        .ok();
    assert_eq!(before["credits_posted"], "0");
    assert_eq!(
        server.get("/v1/accounts/99/balance").await.problem(404)["code"],
        "API-0007"
    );
    assert_eq!(
        server.get("/v1/accounts/99").await.problem(404)["code"],
        "API-0007"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accounts_transfers_come_page_by_page() {
    let server = with_accounts().await;
    for id in 1..=5 {
        let given = json!({ "id": id, "debit_account_id": 1, "credit_account_id": 2, "amount": id, "ledger": 7, "code": 1 });
        transfer(&server, given).await;
    }
    let mut seen = Vec::new();
    let mut target = "/v1/accounts/1/transfers?limit=2&order=oldest_first".to_owned();
    loop {
        let page = server.get(&target).await.ok();
        seen.extend(
            page["transfers"]
                .as_array()
                .unwrap()
                .iter()
                .map(|t| t["id"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page.get("next_page").and_then(Value::as_str) else {
            break;
        };
        target = format!("/v1/accounts/1/transfers?limit=2&order=oldest_first&page={next}");
    }
    assert_eq!(seen, ["1", "2", "3", "4", "5"]);
    let credits = server.get("/v1/accounts/1/transfers?debits=false").await.ok();
    assert_eq!(credits["transfers"], json!([]));
    let found = server
        .post("/v1/transfers/query", r#"{"ledger":7,"limit":1}"#)
        .await
        .ok();
    assert_eq!(found["transfers"][0]["id"], "5");
    let found = server
        .post("/v1/accounts/query", r#"{"code":20,"order":"oldest_first"}"#)
        .await
        .ok();
    assert_eq!(found["accounts"].as_array().unwrap().len(), 2);
    assert_eq!(
        server.get("/v1/accounts/99/transfers").await.problem(404)["code"],
        "API-0007"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_is_described_and_its_trial_balance_balances() {
    let server = with_accounts().await;
    let put = |body: &'static str| {
        let server = &server;
        async move {
            let headers = [("content-type", "application/json")];
            server
                .send("PUT", "/v1/ledgers/7", &headers, body.as_bytes())
                .await
                .ok()["result"]
                .clone()
        }
    };
    assert_eq!(
        put(r#"{"name":"Tenge","currency":"KZT","scale":2}"#).await,
        "described"
    );
    assert_eq!(
        put(r#"{"name":"Tenge","currency":"KZT","scale":2}"#).await,
        "unchanged"
    );
    assert_eq!(
        put(r#"{"name":"Tenge","currency":"KZT","scale":3}"#).await,
        "scale_must_not_change"
    );
    transfer(
        &server,
        json!({ "id": 1, "debit_account_id": 1, "credit_account_id": 2, "amount": 5, "ledger": 7, "code": 1 }),
    )
    .await;
    let trial = server.get("/v1/ledgers/7/trial-balance").await.ok();
    assert_eq!(trial["currency"], "KZT");
    assert_eq!(trial["totals"]["debits_posted"], "5");
    assert_eq!(trial["totals"]["credits_posted"], "5");
    assert_eq!(trial["by_code"].as_array().unwrap().len(), 2);
    let ledgers = server.get("/v1/ledgers").await.ok();
    assert_eq!(
        ledgers["ledgers"],
        json!([{ "ledger": 7, "name": "Tenge", "currency": "KZT", "scale": 2 }])
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_wrong_request_is_a_problem_document_that_names_the_fault() {
    let config = ApiConfig {
        max_request_bytes: 4_096,
        ..ApiConfig::default()
    };
    let server = Server::start_with(config, |_| {}).await;
    let problem = server
        .post("/v1/transfers", "{\n  \"transfers\": [}")
        .await
        .problem(400);
    assert_eq!(
        (problem["code"].as_str(), problem["line"].as_u64()),
        (Some("API-0002"), Some(2))
    );
    let problem = server
        .post("/v1/transfers", r#"{"transfers":[{"id":1,"amuont":2}]}"#)
        .await
        .problem(400);
    assert_eq!(problem["pointer"], "/transfers/0/amuont");
    let plain = server
        .send("POST", "/v1/transfers", &[("content-type", "text/plain")], b"{}")
        .await;
    assert_eq!(plain.problem(415)["code"], "API-0003");
    let large = format!("{{\"ids\":[{}1]}}", "1,".repeat(4_096));
    assert_eq!(
        server.post("/v1/transfers/lookup", &large).await.problem(413)["code"],
        "API-0004"
    );
    assert_eq!(server.get("/v2").await.problem(404)["code"], "API-0005");
    let wrong = server.send("DELETE", "/v1/transfers", &[], b"").await;
    assert_eq!(wrong.problem(405)["code"], "API-0006");
    assert_eq!(wrong.header("allow"), Some("POST"));
    let problem = server.get("/v1/accounts/x").await.problem(400);
    assert_eq!(problem["parameter"], "id");
    let problem = server.get("/v1/accounts/1?verbose=1").await.problem(400);
    assert_eq!(problem["parameter"], "verbose");
    let late = server
        .send("GET", "/v1/accounts/1", &[("request-timeout", "soon")], b"")
        .await;
    assert_eq!(late.problem(400)["header"], "Request-Timeout");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_carries_the_standard_headers() {
    let server = Server::start().await;
    for target in [
        "/healthz",
        "/readyz",
        "/metrics",
        "/openapi.json",
        "/v1/ledgers",
        "/nowhere",
        "/v1/accounts",
    ] {
        let answer = server.get(target).await;
        assert_eq!(
            answer.header("x-content-type-options"),
            Some("nosniff"),
            "{target}"
        );
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{target}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_readiness_metrics_and_the_description_are_served() {
    let server = Server::start().await;
    assert_eq!(server.get("/healthz").await.ok(), json!({ "status": "ok" }));
    assert_eq!(server.get("/readyz").await.ok()["ready"], true);
    assert_eq!(server.get("/openapi.json").await.ok()["openapi"], "3.1.0");
    let metrics = server.get("/metrics").await;
    assert!(
        metrics.text().contains(
            "shanraq_api_requests_total{protocol=\"rest\",operation=\"GET /healthz\",code=\"200\"} 1"
        )
    );
    let node = server.node.clone();
    tokio::task::spawn_blocking(move || node.stop()).await.unwrap();
    let refused = server.get("/readyz").await;
    assert_eq!(refused.problem(503)["code"], "API-0010");
    assert!(refused.header("retry-after").is_some());
    let refused = server
        .post("/v1/accounts", r#"{"accounts":[{"id":1,"ledger":1,"code":1}]}"#)
        .await;
    assert_eq!(refused.problem(503)["outcome"], "nothing_done");
    assert_eq!(server.get("/healthz").await.status, 200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn overload_is_429_with_a_delay_and_nothing_done() {
    let server = Server::start_with(ApiConfig::default(), |options| options.queue_requests_max = 0).await;
    let body = r#"{"accounts":[{"id":1,"ledger":1,"code":1},{"id":2,"ledger":1,"code":1}]}"#;
    let refused = server.post("/v1/accounts", body).await;
    let problem = refused.problem(429);
    assert_eq!(problem["outcome"], "nothing_done");
    assert!(problem["retry_after_ms"].as_u64().unwrap() > 0);
    assert!(refused.header("retry-after").is_some());
    let found = server.post("/v1/accounts/lookup", r#"{"ids":[1,2]}"#).await.ok();
    assert_eq!(found["accounts"], json!([]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bounds_that_are_changed_while_it_serves_count_from_the_next_request_on() {
    let config = ApiConfig::default();
    let mut bounds = Bounds::of(&NodeOptions::new("unused"));
    let server = Server::start_with(config.clone(), |_| {}).await;
    let account = r#"{"accounts":[{"id":1,"ledger":1,"code":1}]}"#;
    bounds.queue_requests_max = 0;
    bounds.overload_retry_ms = 700;
    server.node.set_bounds(&bounds);
    let problem = server.post("/v1/accounts", account).await.problem(429);
    assert_eq!(problem["retry_after_ms"], 700);
    bounds.queue_requests_max = 1;
    server.node.set_bounds(&bounds);
    let created = server.post("/v1/accounts", account).await.ok();
    assert_eq!(created["results"][0]["result"], "created");

    let five_seconds = [("request-timeout", "5s")];
    assert_eq!(
        server.send("GET", "/v1/ledgers", &five_seconds, b"").await.status,
        200
    );
    config.bounds.set(&RequestBounds {
        timeout_max_ms: 2_000,
        ..RequestBounds::default()
    });
    let refused = server.send("GET", "/v1/ledgers", &five_seconds, b"").await;
    assert!(
        refused.problem(400)["detail"]
            .as_str()
            .unwrap()
            .contains("2000ms")
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_tells_which_settings_are_applied_once_some_are_followed() {
    let config = ApiConfig::default();
    let server = Server::start_with(config.clone(), |_| {}).await;
    assert_eq!(server.get("/status").await.ok()["settings"], Value::Null);
    config.settings.set(SettingsStatus {
        version: Some(7),
        origin: "copy",
        problem: Some("CFG-0002".to_owned()),
    });
    let told = server.get("/status").await.ok();
    let expected = json!({ "version": "7", "origin": "copy", "problem": "CFG-0002" });
    assert_eq!(told["settings"], expected);
    server.stop().await;
}
