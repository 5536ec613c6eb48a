//! `docs/requirements.md` must list every promise with its state (pure). Owns: the list of ids.
//!
//! The document holds tables with the columns `id`, `state` and `shown by` (others may stand between). A row may stand
//! for several ids: `C1-C2`, `G5, G8`. The state is `works`, `partly` or `missing`; what works or partly works says
//! which command or test shows it.

use crate::markdown::table_rows;
use std::collections::BTreeMap;

/// How many promises each chapter has: A1 to A12, B1 to B20 … An id is never dropped.
const CHAPTERS: &[(char, u32)] = &[
    ('A', 12),
    ('B', 20),
    ('C', 12),
    ('D', 12),
    ('E', 12),
    ('F', 12),
    ('G', 12),
    ('H', 12),
    ('I', 12),
    ('J', 12),
    ('K', 8),
    ('L', 12),
];
const STATES: &[&str] = &["works", "partly", "missing"];

/// Which columns of a table hold what.
struct Columns {
    id: usize,
    state: usize,
    shown_by: usize,
}

/// Everything that is wrong with the document, each with its line.
pub fn problems(markdown: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let mut seen: BTreeMap<(char, u32), usize> = BTreeMap::new();
    let mut columns = None;
    for (line, cells) in table_rows(markdown) {
        if let Some(header) = header(&cells) {
            columns = Some(header);
            continue;
        }
        let Some(ids) = parse_ids(&cells[0]) else { continue };
        let Some(columns) = &columns else {
            problems.push(format!(
                "line {line}: no header with the columns id, state and shown by stands above"
            ));
            continue;
        };
        for id in ids {
            if let Some(first) = seen.insert(id, line) {
                problems.push(format!(
                    "line {line}: {}{} stands on line {first} already",
                    id.0, id.1
                ));
            }
        }
        problems.extend(
            row_problem(&cells, columns)
                .map(|problem| format!("line {line}: {}: {problem}", cells[columns.id])),
        );
    }
    for &(chapter, count) in CHAPTERS {
        let missing = (1..=count).filter(|number| !seen.contains_key(&(chapter, *number)));
        problems.extend(missing.map(|number| format!("{chapter}{number} is not there")));
    }
    let unknown = seen.iter().filter(|((chapter, number), _)| {
        !CHAPTERS
            .iter()
            .any(|(known, count)| known == chapter && (1..=*count).contains(number))
    });
    problems.extend(
        unknown.map(|((chapter, number), line)| format!("line {line}: {chapter}{number} is no known id")),
    );
    problems
}

fn header(cells: &[String]) -> Option<Columns> {
    let position = |name: &str| cells.iter().position(|cell| cell.eq_ignore_ascii_case(name));
    (position("id")? == 0).then_some(())?;
    Some(Columns {
        id: 0,
        state: position("state")?,
        shown_by: position("shown by")?,
    })
}

fn row_problem(cells: &[String], columns: &Columns) -> Option<String> {
    let state = cells.get(columns.state).map_or("", |cell| cell.trim_matches('`'));
    if !STATES.contains(&state) {
        return Some(format!(
            "the state is `{state}`, not one of {}",
            STATES.join(", ")
        ));
    }
    let shown_by = cells.get(columns.shown_by).map_or("", String::as_str);
    (state != "missing" && shown_by.is_empty()).then(|| format!("{state}, but nothing says what shows it"))
}

/// The ids that a cell stands for; `None` when it holds none.
fn parse_ids(cell: &str) -> Option<Vec<(char, u32)>> {
    let mut ids = Vec::new();
    for part in cell.split(',') {
        let part = part.trim().trim_matches('`');
        let (from, to) = part.split_once(['-', '–']).unwrap_or((part, part));
        let (from, to) = (parse_id(from)?, parse_id(to)?);
        if from.0 != to.0 {
            return None;
        }
        ids.extend((from.1..=to.1).map(|number| (from.0, number)));
    }
    Some(ids)
}

fn parse_id(text: &str) -> Option<(char, u32)> {
    let text = text.trim();
    let chapter = text.chars().next().filter(char::is_ascii_uppercase)?;
    Some((chapter, text[1..].parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> String {
        let mut text = String::from("| id | promise | state | shown by |\n| --- | --- | --- | --- |\n");
        for (chapter, count) in CHAPTERS {
            for number in 1..=*count {
                text.push_str(&format!("| {chapter}{number} | p | partly | `cargo test` |\n"));
            }
        }
        text
    }

    #[test]
    fn a_whole_document_has_no_problems() {
        assert_eq!(problems(&whole()), Vec::<String>::new());
    }

    #[test]
    fn a_dropped_id_is_named() {
        let text = whole().replace("| K8 | p | partly | `cargo test` |\n", "");
        assert_eq!(problems(&text), ["K8 is not there"]);
    }

    #[test]
    fn ranges_and_lists_stand_for_each_of_their_ids() {
        let text = whole()
            .replace("| C1 |", "| C1-C2 |")
            .replace("| C2 | p | partly | `cargo test` |\n", "");
        let text = text
            .replace("| G5 |", "| G5, G8 |")
            .replace("| G8 | p | partly | `cargo test` |\n", "");
        assert_eq!(problems(&text), Vec::<String>::new());
    }

    #[test]
    fn an_unknown_state_a_claim_without_proof_and_a_repeat_are_named() {
        let text = whole()
            .replace("| A1 | p | partly |", "| A1 | p | done |")
            .replace("| A2 | p | partly | `cargo test` |", "| A2 | p | works | |")
            .replace("| A4 |", "| A3 |");
        let found = problems(&text);
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(found[0].contains("the state is `done`"), "{found:?}");
        assert!(found[1].contains("nothing says what shows it"), "{found:?}");
        assert!(found[2].contains("A3 stands on line 5 already"), "{found:?}");
        assert!(found[3].contains("A4 is not there"), "{found:?}");
    }

    #[test]
    fn an_id_that_nobody_knows_is_named() {
        let found = problems(&(whole() + "| L13 | p | works | x |\n"));
        assert_eq!(found, ["line 151: L13 is no known id"]);
    }
}
