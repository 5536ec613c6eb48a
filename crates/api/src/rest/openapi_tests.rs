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

#[test]
fn the_text_is_json_with_exact_bounds() {
    let parsed: Value = serde_json::from_str(text()).unwrap();
    assert!(!text().contains(U128_MAX));
    assert!(text().contains(&format!("\"maximum\":{}", u128::MAX)));
    assert_eq!(parsed["openapi"], "3.1.0");
}

/// Matches one of the alternatives of [`decimals_to`]: digits, classes and repeats.
fn matches(pattern: &str, text: &str) -> bool {
    let inner = pattern.strip_prefix("^(").unwrap().strip_suffix(")$").unwrap();
    inner.split('|').any(|alternative| {
        let (mut rest, mut text) = (alternative, text.as_bytes());
        while let Some(first) = rest.bytes().next() {
            let (low, high) = if first == b'[' {
                (rest.as_bytes()[1], rest.as_bytes()[3])
            } else {
                (first, first)
            };
            rest = &rest[if first == b'[' { 5 } else { 1 }..];
            let (mut least, mut most) = (1, 1);
            if let Some(counts) = rest.strip_prefix('{') {
                let (counts, after) = counts.split_once('}').unwrap();
                let (from, to) = counts.split_once(',').unwrap_or((counts, counts));
                (least, most, rest) = (from.parse().unwrap(), to.parse().unwrap(), after);
            }
            let count = text
                .iter()
                .take(most)
                .take_while(|b| (low..=high).contains(b))
                .count();
            if count < least {
                return false;
            }
            text = &text[count..];
        }
        text.is_empty()
    })
}

#[test]
fn the_pattern_of_a_number_allows_what_is_read_and_nothing_else() {
    for max in [1_090u128, u128::from(u64::MAX), u128::MAX] {
        let pattern = decimals_to(max);
        for number in [
            0,
            1,
            9,
            10,
            99,
            999,
            1_000,
            1_089,
            max / 10,
            max / 2,
            max - 1,
            max,
        ] {
            let expected = number <= max;
            assert_eq!(
                matches(&pattern, &number.to_string()),
                expected,
                "{number} of {max}"
            );
        }
        let above = format!("{}", max - 1).replacen('1', "9", 1);
        let too_large = above.parse::<u128>().is_ok_and(|n| n > max) || above.parse::<u128>().is_err();
        assert_eq!(matches(&pattern, &above), !too_large, "{above} of {max}");
        for text in ["", "00", "01", "1x", &format!("{max}0")] {
            assert!(!matches(&pattern, text), "{text} of {max}");
        }
    }
    assert!(!matches(
        &decimals_to(u128::MAX),
        "340282366920938463463374607431768211456"
    ));
    assert!(!matches(
        &decimals_to(u128::from(u64::MAX)),
        "18446744073709551616"
    ));
}
