//! The description of the REST interface, OpenAPI 3.1. Owns: its text. Written by hand, since the bodies are read by hand:
//! tests hold it against the fields that are read, the flags, the result codes and the routes that are counted.

use super::requests::{ACCOUNT, DESCRIPTION, POSTING, QUERY, TRANSACTION, TRANSFER};
use ledger::{CreateAccountResult, CreateTransferResult, DescribeLedgerResult, EVENTS_PER_REQUEST_MAX};
use serde_json::{Map, Value, json};
use std::sync::OnceLock;
use wire::flags;

/// Stands for a number that `serde_json` cannot hold, until the document is text.
const U128_MAX: &str = "@u128-max@";

/// The document.
pub(crate) fn text() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        document()
            .to_string()
            .replace(&format!("\"{U128_MAX}\""), &u128::MAX.to_string())
    })
}

pub(crate) fn document() -> Value {
    json!({
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": "Shanraq ledger",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
            "description": "A double-entry ledger. Amounts are in minor units of their ledger. 64- and 128-bit numbers are \
                decimal strings in answers, strings or integers in requests. A business refusal is a result, not an error; \
                errors are RFC 9457 problem documents.",
        },
        "servers": [{ "url": "/" }],
        "paths": paths(),
        "components": { "schemas": schemas(), "responses": problems(), "parameters": parameters() },
    })
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// Problems that every operation below `/v1` may answer with.
const COMMON: [u16; 5] = [400, 429, 500, 503, 504];
/// And those with a body.
const WITH_BODY: [u16; 2] = [413, 415];

/// One operation: `body` and `answer` name schemas.
struct Operation<'a> {
    id: &'a str,
    summary: &'a str,
    body: Option<&'a str>,
    answer: &'a str,
    parameters: &'a [&'a str],
    problems: &'a [u16],
}

impl Operation<'_> {
    fn value(&self) -> Value {
        let mut responses = Map::new();
        let content = json!({ "application/json": { "schema": reference(self.answer) } });
        responses.insert(
            "200".into(),
            json!({ "description": "Answered.", "content": content }),
        );
        let with_body: &[u16] = if self.body.is_some() { &WITH_BODY } else { &[] };
        for status in COMMON.iter().chain(with_body).chain(self.problems) {
            let name = format!("#/components/responses/Problem{status}");
            responses.insert(status.to_string(), json!({ "$ref": name }));
        }
        let names = self.parameters.iter().chain(&["RequestTimeout"]);
        let parameters: Vec<Value> = names
            .map(|name| json!({ "$ref": format!("#/components/parameters/{name}") }))
            .collect();
        let mut operation = json!({
            "operationId": self.id, "summary": self.summary, "parameters": parameters, "responses": responses,
        });
        if let Some(body) = self.body {
            let content = json!({ "application/json": { "schema": reference(body) } });
            operation["requestBody"] = json!({ "required": true, "content": content });
        }
        operation
    }
}

#[rustfmt::skip]
fn paths() -> Value {
    let op = |id, summary, body, answer, parameters, problems| {
        Operation { id, summary, body, answer, parameters, problems }.value()
    };
    let reports = json!({ "type": "object", "required": ["reports"],
        "properties": { "reports": { "type": "array", "items": { "type": "object" } } } });
    json!({
        "/v1/accounts": { "post": op("createAccounts", "Create accounts, in order; one result per account.",
            Some("CreateAccounts"), "AccountResults", &["IdempotencyKey"], &[]) },
        "/v1/transfers": { "post": op("createTransfers", "Create transfers, in order; one result per transfer.",
            Some("CreateTransfers"), "TransferResults", &["IdempotencyKey"], &[]) },
        "/v1/transactions": { "post": op("createTransaction", "Move money between any number of accounts, all or nothing.",
            Some("CreateTransaction"), "TransactionResult", &["IdempotencyKey"], &[422]) },
        "/v1/accounts/lookup": { "post": op("lookupAccounts", "Accounts by id, in the order asked; missing ones are left out.",
            Some("Lookup"), "AccountPage", &[], &[]) },
        "/v1/transfers/lookup": { "post": op("lookupTransfers", "Transfers by id, in the order asked; missing ones are left out.",
            Some("Lookup"), "TransferPage", &[], &[]) },
        "/v1/accounts/query": { "post": op("queryAccounts", "Accounts that match all conditions.",
            Some("QueryAccounts"), "AccountPage", &[], &[]) },
        "/v1/transfers/query": { "post": op("queryTransfers", "Transfers and expiries that match all conditions.",
            Some("QueryTransfers"), "TransferPage", &[], &[]) },
        "/v1/accounts/{id}": { "get": op("getAccount", "An account as it stands.",
            None, "Account", &["AccountId"], &[404]) },
        "/v1/accounts/{id}/transfers": { "get": op("getAccountTransfers", "Transfers and expiries of an account.",
            None, "TransferPage", &["AccountId", "Debits", "Credits", "UserData128", "UserData64", "UserData32", "Ledger",
                "Code", "TimestampMin", "TimestampMax", "Limit", "Order", "Page"], &[404]) },
        "/v1/accounts/{id}/balance": { "get": op("getAccountBalance", "An account's totals now, or as of any time.",
            None, "Balance", &["AccountId", "At"], &[404]) },
        "/v1/ledgers": { "get": op("listLedgers", "Every ledger that was described or has an account.",
            None, "Ledgers", &[], &[]) },
        "/v1/ledgers/{ledger}": { "put": op("describeLedger", "Give a ledger its name, currency and scale.",
            Some("DescribeLedger"), "DescribeLedgerResult", &["LedgerId"], &[]) },
        "/v1/ledgers/{ledger}/trial-balance": { "get": op("trialBalance", "The totals of a ledger at one consistent height.",
            None, "TrialBalance", &["LedgerId"], &[]) },
        "/healthz": { "get": plain("health", "Whether the process answers.", "application/json", reference("Health")) },
        "/readyz": { "get": {
            "operationId": "ready", "summary": "Whether requests are taken here, or with role=writer, whether this node writes, with role=reader, whether it reads its own state.",
            "parameters": [{ "$ref": "#/components/parameters/Role" }],
            "responses": {
                "200": { "description": "It does.", "content": { "application/json": { "schema": reference("Ready") } } },
                "400": { "$ref": "#/components/responses/Problem400" },
                "503": { "$ref": "#/components/responses/Problem503" },
            },
        } },
        "/status": { "get": plain("status", "How the node is, and who writes as far as it knows.", "application/json", reference("NodeStatus")) },
        "/cluster/handover": { "post": {
            "operationId": "handover", "summary": "The writer answers what it took in and gives its place up; its process starts anew.",
            "parameters": [{ "$ref": "#/components/parameters/To" }],
            "responses": {
                "200": { "description": "It has.", "content": { "application/json": { "schema": reference("NodeStatus") } } },
                "400": { "$ref": "#/components/responses/Problem400" },
                "404": { "$ref": "#/components/responses/Problem404" },
                "503": { "$ref": "#/components/responses/Problem503" },
                "504": { "$ref": "#/components/responses/Problem504" },
            },
        } },
        "/cluster/reports": { "get": {
            "operationId": "reports", "summary": "What the changes of the writer came to, the newest first.",
            "responses": {
                "200": { "description": "The last ones.", "content": { "application/json": { "schema": reports } } },
                "400": { "$ref": "#/components/responses/Problem400" },
                "404": { "$ref": "#/components/responses/Problem404" },
                "503": { "$ref": "#/components/responses/Problem503" },
            },
        } },
        "/cluster/reports/latest": { "get": {
            "operationId": "latestReport", "summary": "What the last change of the writer came to.",
            "responses": {
                "200": { "description": "The report.", "content": { "application/json": { "schema": { "type": "object" } } } },
                "400": { "$ref": "#/components/responses/Problem400" },
                "404": { "$ref": "#/components/responses/Problem404" },
                "503": { "$ref": "#/components/responses/Problem503" },
            },
        } },
        "/metrics": { "get": plain("metrics", "Metrics in Prometheus' text format.", "text/plain", json!({ "type": "string" })) },
        "/openapi.json": { "get": plain("openapi", "This document.", "application/json", json!({ "type": "object" })) },
    })
}

fn plain(id: &str, summary: &str, kind: &str, schema: Value) -> Value {
    let content = Map::from_iter([(kind.to_owned(), json!({ "schema": schema }))]);
    json!({
        "operationId": id, "summary": summary,
        "responses": { "200": { "description": "Answered.", "content": content } },
    })
}

const DECIMAL: &str = "^(0|[1-9][0-9]{0,38})$";
const DECIMAL_64: &str = "^(0|[1-9][0-9]{0,19})$";

/// A regular expression for exactly the decimals from 0 to `max`, so that what the document allows is accepted.
fn decimals_to(max: u128) -> String {
    let digits = max.to_string();
    let mut alternatives = vec![
        digits.clone(),
        "0".to_owned(),
        format!("[1-9][0-9]{{0,{}}}", digits.len() - 2),
    ];
    for (at, digit) in digits.bytes().enumerate() {
        let lowest = if at == 0 { b'1' } else { b'0' };
        if digit > lowest {
            let (prefix, rest) = (&digits[..at], digits.len() - at - 1);
            let (low, high) = (char::from(lowest), char::from(digit - 1));
            alternatives.push(format!("{prefix}[{low}-{high}][0-9]{{{rest}}}"));
        }
    }
    format!("^({})$", alternatives.join("|"))
}

/// A number in an answer.
fn out(bits: u32) -> Value {
    json!({ "type": "string", "pattern": if bits == 64 { DECIMAL_64 } else { DECIMAL } })
}

fn narrow(max: u32) -> Value {
    json!({ "type": "integer", "minimum": 0, "maximum": max })
}

/// The schema of a field in requests.
fn field_in(field: &str, flag_names: &[&str]) -> Value {
    match field {
        "ledger" | "user_data_32" | "timeout" => narrow(u32::MAX),
        "code" => narrow(u32::from(u16::MAX)),
        "scale" => narrow(u32::from(u8::MAX)),
        "flags" => json!({ "type": "array", "uniqueItems": true, "items": { "enum": flag_names } }),
        "metadata" => json!({
            "type": "object",
            "description": "At most 4096 bytes of JSON without white space between tokens, nested at most 32 deep."
        }),
        "side" => json!({ "enum": ["debit", "credit"] }),
        "order" => json!({ "enum": ["newest_first", "oldest_first"], "default": "newest_first" }),
        "name" | "currency" | "page" => json!({ "type": "string" }),
        "limit" => {
            json!({ "type": "integer", "minimum": 1, "maximum": EVENTS_PER_REQUEST_MAX, "default": 100 })
        }
        "timestamp_min" | "timestamp_max" => moment(),
        "user_data_64" | "timestamp" => reference("Uint64"),
        _ => reference("Uint128"),
    }
}

fn moment() -> Value {
    json!({
        "description": "Nanoseconds since 1970, or RFC 3339.",
        "anyOf": [reference("Uint64"), { "type": "string", "format": "date-time" }],
    })
}

/// An object of a request: unknown fields are refused.
fn object_in(fields: &[&str], required: &[&str], flag_names: &[&str]) -> Value {
    let properties: Map<String, Value> = fields
        .iter()
        .map(|field| ((*field).to_owned(), field_in(field, flag_names)))
        .collect();
    json!({ "type": "object", "additionalProperties": false, "required": required, "properties": properties })
}

/// An object of an answer.
fn object_out(required: &[(&str, Value)], optional: &[(&str, Value)]) -> Value {
    let names: Vec<&str> = required.iter().map(|(name, _)| *name).collect();
    let properties: Map<String, Value> = required
        .iter()
        .chain(optional)
        .map(|(name, schema)| ((*name).to_owned(), schema.clone()))
        .collect();
    json!({ "type": "object", "required": names, "properties": properties })
}

/// A query whose pages have tokens of a kind.
fn query(prefix: &str) -> Value {
    let mut schema = object_in(&QUERY, &[], &[]);
    schema["properties"]["page"] = page_token(prefix);
    schema
}

fn page_token(prefix: &str) -> Value {
    digits(&decimals_to(u128::from(u64::MAX)).replacen('^', &format!("^{prefix}[.]"), 1))
}

fn events(name: &str, schema: &str) -> Value {
    let list = json!({
        "type": "array", "minItems": 1, "maxItems": EVENTS_PER_REQUEST_MAX, "items": reference(schema)
    });
    let properties = Map::from_iter([(name.to_owned(), list)]);
    json!({ "type": "object", "additionalProperties": false, "required": [name], "properties": properties })
}

fn list(name: &str, schema: &str) -> Value {
    let items = json!({ "type": "array", "items": reference(schema) });
    object_out(&[(name, items)], &[])
}

fn page(name: &str, schema: &str) -> Value {
    let items = json!({ "type": "array", "items": reference(schema) });
    object_out(&[(name, items)], &[("next_page", json!({ "type": "string" }))])
}

fn totals() -> Vec<(&'static str, Value)> {
    [
        "debits_pending",
        "debits_posted",
        "credits_pending",
        "credits_posted",
    ]
    .map(|name| (name, out(128)))
    .to_vec()
}

fn with_totals(first: &[(&'static str, Value)]) -> Vec<(&'static str, Value)> {
    first.iter().cloned().chain(totals()).collect()
}

fn schemas() -> Value {
    let mut all = request_schemas();
    for (name, schema) in account_answers()
        .into_iter()
        .chain(transfer_answers())
        .chain(other_answers())
    {
        all.insert(name.to_owned(), schema);
    }
    Value::Object(all)
}

fn request_schemas() -> Map<String, Value> {
    let account_flags: Vec<&str> = flags::account_names().map(|(name, _)| name).collect();
    let transfer_flags: Vec<&str> = flags::transfer_names().map(|(name, _)| name).collect();
    let mut transaction = object_in(&TRANSACTION, &["postings"], &[]);
    transaction["properties"]["postings"] = json!({
        "type": "array", "minItems": 1, "maxItems": EVENTS_PER_REQUEST_MAX, "items": reference("Posting")
    });
    let uint = |max: u128| {
        let bound = u64::try_from(max).map_or(json!(U128_MAX), |max| json!(max));
        let integer = json!({ "type": "integer", "minimum": 0, "maximum": bound });
        json!({ "anyOf": [digits(&decimals_to(max)), integer] })
    };
    let named = [
        ("Uint64", uint(u128::from(u64::MAX))),
        ("Uint128", uint(u128::MAX)),
        ("NewAccount", object_in(&ACCOUNT, &[], &account_flags)),
        ("NewTransfer", object_in(&TRANSFER, &[], &transfer_flags)),
        ("Posting", object_in(&POSTING, &POSTING, &[])),
        ("CreateAccounts", events("accounts", "NewAccount")),
        ("CreateTransfers", events("transfers", "NewTransfer")),
        ("CreateTransaction", transaction),
        ("Lookup", events("ids", "Uint128")),
        ("QueryAccounts", query("a1")),
        ("QueryTransfers", query("t1")),
        ("DescribeLedger", object_in(&DESCRIPTION, &[], &[])),
    ];
    named
        .into_iter()
        .map(|(name, schema)| (name.to_owned(), schema))
        .collect()
}

fn flag_list(names: impl Iterator<Item = (&'static str, u16)>) -> Value {
    let names: Vec<&str> = names.map(|(name, _)| name).collect();
    json!({ "type": "array", "items": { "enum": names } })
}

fn account_answers() -> Vec<(&'static str, Value)> {
    let results: Vec<&str> = CreateAccountResult::ALL
        .iter()
        .map(|result| result.name())
        .collect();
    let account = with_totals(&[
        ("id", out(128)),
        ("user_data_128", out(128)),
        ("user_data_64", out(64)),
        ("user_data_32", narrow(u32::MAX)),
        ("ledger", narrow(u32::MAX)),
        ("code", narrow(u32::from(u16::MAX))),
        ("flags", flag_list(flags::account_names())),
        ("timestamp", out(64)),
    ]);
    vec![
        ("Totals", object_out(&totals(), &[])),
        (
            "Account",
            object_out(&account, &[("metadata", json!({ "type": "object" }))]),
        ),
        ("AccountPage", page("accounts", "Account")),
        ("AccountResults", list("results", "AccountResult")),
        (
            "AccountResult",
            object_out(
                &[("result", json!({ "enum": results })), ("timestamp", out(64))],
                &[("id", out(128))],
            ),
        ),
        (
            "Balance",
            object_out(
                &with_totals(&[("account_id", out(128)), ("timestamp", out(64))]),
                &[],
            ),
        ),
    ]
}

fn transfer_answers() -> Vec<(&'static str, Value)> {
    let results: Vec<&str> = CreateTransferResult::ALL
        .iter()
        .map(|result| result.name())
        .collect();
    let transaction_results: Vec<&str> = ["committed", "already_committed"]
        .into_iter()
        .chain(results.iter().copied())
        .collect();
    let both = [
        ("debit_account", reference("Totals")),
        ("credit_account", reference("Totals")),
    ];
    let transfer = [
        ("kind", json!({ "enum": ["transfer", "expiry"] })),
        ("id", out(128)),
        ("debit_account_id", out(128)),
        ("credit_account_id", out(128)),
        ("amount", out(128)),
        ("pending_id", out(128)),
        ("user_data_128", out(128)),
        ("user_data_64", out(64)),
        ("user_data_32", narrow(u32::MAX)),
        ("timeout", narrow(u32::MAX)),
        ("ledger", narrow(u32::MAX)),
        ("code", narrow(u32::from(u16::MAX))),
        ("flags", flag_list(flags::transfer_names())),
        ("timestamp", out(64)),
    ];
    let transfer: Vec<_> = transfer.into_iter().chain(both.clone()).collect();
    let result = [("result", json!({ "enum": results })), ("timestamp", out(64))];
    let optional: Vec<_> = both.into_iter().chain([("id", out(128))]).collect();
    let legs = json!({ "type": "array", "items": reference("TransferResult") });
    vec![
        (
            "Transfer",
            object_out(&transfer, &[("metadata", json!({ "type": "object" }))]),
        ),
        ("TransferPage", page("transfers", "Transfer")),
        ("TransferResults", list("results", "TransferResult")),
        ("TransferResult", object_out(&result, &optional)),
        (
            "TransactionResult",
            object_out(
                &[
                    ("result", json!({ "enum": transaction_results })),
                    ("id", out(128)),
                    ("transfers", legs),
                ],
                &[("failed_transfer", json!({ "type": "integer", "minimum": 0 }))],
            ),
        ),
    ]
}

fn other_answers() -> Vec<(&'static str, Value)> {
    let described: Vec<&str> = DescribeLedgerResult::ALL
        .iter()
        .map(|result| result.name())
        .collect();
    let ledger = [
        ("ledger", narrow(u32::MAX)),
        ("name", json!({ "type": "string" })),
        ("currency", json!({ "type": "string" })),
        ("scale", narrow(u32::from(u8::MAX))),
    ];
    let line = with_totals(&[("code", narrow(u32::from(u16::MAX))), ("accounts", out(64))]);
    let lines = json!({ "type": "array", "items": reference("TrialBalanceLine") });
    let trial = [
        ("height", out(64)),
        ("timestamp", out(64)),
        ("accounts", out(64)),
        ("totals", reference("Totals")),
        ("by_code", lines),
    ];
    let trial: Vec<_> = ledger.iter().cloned().chain(trial).collect();
    let ready = [
        ("ready", json!({ "type": "boolean" })),
        ("height", out(64)),
        ("indexed", out(64)),
        ("epoch", out(64)),
    ];
    let may_be_none = json!({ "type": ["string", "null"] });
    let settings = [
        ("version", json!({ "anyOf": [out(64), { "type": "null" }] })),
        (
            "origin",
            json!({ "type": "string", "enum": ["etcd", "copy", "file"] }),
        ),
        ("problem", may_be_none.clone()),
    ];
    let settings = json!({ "anyOf": [object_out(&settings, &[]), { "type": "null" }] });
    let node_status = [
        ("name", may_be_none.clone()),
        (
            "role",
            json!({ "type": "string", "enum": ["writer", "follower"] }),
        ),
        ("writer", may_be_none),
        ("epoch", out(64)),
        ("height", out(64)),
        ("indexed", out(64)),
        ("reason", json!({ "type": "string" })),
        ("process_id", json!({ "type": "integer" })),
        ("settings", settings),
    ];
    vec![
        ("NodeStatus", object_out(&node_status, &[])),
        ("Ledger", object_out(&ledger, &[])),
        ("Ledgers", list("ledgers", "Ledger")),
        (
            "DescribeLedgerResult",
            object_out(&[("result", json!({ "enum": described }))], &[]),
        ),
        ("TrialBalanceLine", object_out(&line, &[])),
        ("TrialBalance", object_out(&trial, &[])),
        ("Health", object_out(&[("status", json!({ "const": "ok" }))], &[])),
        ("Ready", object_out(&ready, &[])),
        ("Problem", problem()),
    ]
}

fn problem() -> Value {
    let text = json!({ "type": "string" });
    object_out(
        &[
            ("type", json!({ "type": "string", "format": "uri" })),
            ("title", text.clone()),
            ("status", json!({ "type": "integer" })),
            ("code", json!({ "type": "string", "pattern": "^API-[0-9]{4}$" })),
            ("detail", text.clone()),
            ("outcome", json!({ "enum": ["nothing_done", "unknown"] })),
        ],
        &[
            ("pointer", text.clone()),
            ("parameter", text.clone()),
            ("header", text),
            ("line", json!({ "type": "integer" })),
            ("column", json!({ "type": "integer" })),
            ("retry_after_ms", json!({ "type": "integer" })),
        ],
    )
}

const STATUSES: [(u16, &str); 10] = [
    (400, "The request is wrong; what is at fault is named."),
    (404, "It does not exist."),
    (
        405,
        "The path does not know the method; Allow names those that it knows.",
    ),
    (413, "The body is too large."),
    (415, "The body is not declared to be JSON."),
    (422, "The postings make no transaction."),
    (429, "Overloaded; nothing was done."),
    (500, "The node cannot answer."),
    (503, "No writes now, or storage is full; nothing was done."),
    (
        504,
        "The deadline passed; `outcome` says whether something may have been done.",
    ),
];

fn problems() -> Value {
    let content = json!({ "application/problem+json": { "schema": reference("Problem") } });
    let response = |(status, text): &(u16, &str)| {
        let mut response = json!({ "description": text, "content": content });
        if matches!(status, 429 | 503) {
            let seconds = json!({ "description": "Seconds.", "schema": { "type": "integer", "minimum": 1 } });
            response["headers"] = json!({ "Retry-After": seconds });
        }
        (format!("Problem{status}"), response)
    };
    Value::Object(STATUSES.iter().map(response).collect())
}

/// Numbers in parameters are digits, not JSON.
fn digits(pattern: &str) -> Value {
    json!({ "type": "string", "pattern": pattern })
}

#[rustfmt::skip]
fn parameters() -> Value {
    let parameter = |place: &str, name: &str, required: bool, schema: Value, text: &str| {
        json!({ "name": name, "in": place, "required": required, "schema": schema, "description": text })
    };
    let query = |name: &str, schema: Value| parameter("query", name, false, schema, "Zero means any.");
    let text = |place: &str, name: &str, schema: Value, text: &str| parameter(place, name, false, schema, text);
    json!({
        "AccountId": parameter("path", "id", true, digits(&decimals_to(u128::MAX)), "An account's id."),
        "LedgerId": parameter("path", "ledger", true, narrow(u32::MAX), "A ledger's id."),
        "At": text("query", "at", moment(), "After everything stamped at or before it; now, when left out."),
        "Role": text("query", "role", json!({ "type": "string", "enum": ["writer", "reader"] }), "What is asked for: to write, or to read what this node has."),
        "To": text("query", "to", json!({ "type": "string", "pattern": "^[a-z0-9-]{1,63}$" }), "Who is to follow; anyone, when left out."),
        "Debits": text("query", "debits", json!({ "type": "boolean", "default": true }), "Those that debit the account."),
        "Credits": text("query", "credits", json!({ "type": "boolean", "default": true }), "Those that credit the account."),
        "UserData128": query("user_data_128", digits(&decimals_to(u128::MAX))),
        "UserData64": query("user_data_64", digits(&decimals_to(u128::from(u64::MAX)))),
        "UserData32": query("user_data_32", narrow(u32::MAX)),
        "Ledger": query("ledger", narrow(u32::MAX)),
        "Code": query("code", narrow(u32::from(u16::MAX))),
        "TimestampMin": text("query", "timestamp_min", moment(), "Inclusive."),
        "TimestampMax": text("query", "timestamp_max", moment(), "Inclusive."),
        "Limit": text("query", "limit", field_in("limit", &[]), "How many at most."),
        "Order": text("query", "order", field_in("order", &[]), "Which come first."),
        "Page": text("query", "page", page_token("t1"), "`next_page` of the page before."),
        "IdempotencyKey": text("header", "Idempotency-Key",
            json!({ "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]([ -~]*[!-~])?$" }),
            "Makes the ids of events that name none, so that the same request again does nothing twice."),
        "RequestTimeout": text("header", "Request-Timeout",
            json!({ "type": "string", "pattern": "^(([1-9][0-9]?|[12][0-9]{2}|300)s?|([1-9][0-9]{0,4}|[12][0-9]{5}|300000)ms)$" }),
            "How long the client will wait: seconds (5 or 5s) or milliseconds (250ms)."),
    })
}

#[cfg(test)]
#[path = "openapi_tests.rs"]
mod tests;
