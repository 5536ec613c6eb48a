//! Holds the description against what the code reads and answers.

use super::*;
use crate::metrics;
use crate::rest::params::ENTRIES;

/// Every `$ref` in the document.
fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(target)) = members.get("$ref") {
                found.push(target);
            }
            members.values().for_each(|member| references(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere_and_nothing_is_left_over() {
    let document = document();
    let mut found = Vec::new();
    references(&document, &mut found);
    for target in &found {
        let pointer = target.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{target} is missing");
    }
    for (kind, components) in document["components"].as_object().unwrap() {
        for name in components.as_object().unwrap().keys() {
            let target = format!("#/components/{kind}/{name}");
            let used = found.contains(&target.as_str()) || name == "Problem405";
            assert!(used, "{target} is not used");
        }
    }
}

#[test]
fn every_operation_that_is_counted_is_described_and_the_other_way_round() {
    let document = document();
    let mut described: Vec<String> = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        described.extend(
            methods
                .as_object()
                .unwrap()
                .keys()
                .map(|method| format!("{} {path}", method.to_uppercase())),
        );
    }
    let mut counted: Vec<String> = metrics::REST
        .iter()
        .filter(|name| **name != "other")
        .map(ToString::to_string)
        .collect();
    described.sort();
    counted.sort();
    assert_eq!(described, counted);
}

#[test]
fn the_parameters_of_an_accounts_transfers_are_those_that_are_read() {
    let document = document();
    let operation = &document["paths"]["/v1/accounts/{id}/transfers"]["get"]["parameters"];
    let mut described: Vec<&str> = operation
        .as_array()
        .unwrap()
        .iter()
        .map(|item| document.pointer(&item["$ref"].as_str().unwrap()[1..]).unwrap())
        .filter(|parameter| parameter["in"] == "query")
        .map(|parameter| parameter["name"].as_str().unwrap())
        .collect();
    let mut read = ENTRIES.to_vec();
    described.sort_unstable();
    read.sort_unstable();
    assert_eq!(described, read);
}

#[test]
fn operation_ids_are_unique() {
    let document = document();
    let mut ids: Vec<&str> = document["paths"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|methods| methods.as_object().unwrap().values())
        .map(|operation| operation["operationId"].as_str().unwrap())
        .collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all);
}
