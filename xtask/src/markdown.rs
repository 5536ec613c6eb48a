//! Reading Markdown as far as the checks need it (pure): links, code in backticks, headings, tables. Fenced blocks are left out.

/// A piece of text and the line (from 1) that it stands on.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    pub line: usize,
    pub text: String,
}

/// The lines outside fenced code blocks, with their numbers.
fn prose(markdown: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fence: Option<&str> = None;
    markdown.lines().enumerate().filter_map(move |(index, line)| {
        let start = line.trim_start();
        let marker = ["```", "~~~"]
            .into_iter()
            .find(|marker| start.starts_with(marker));
        match (fence, marker) {
            (None, Some(marker)) => fence = Some(marker),
            (Some(open), Some(marker)) if open == marker => fence = None,
            (None, None) => return Some((index + 1, line)),
            _ => {}
        }
        None
    })
}

/// Targets of `[text](target)`, as written.
pub fn links(markdown: &str) -> Vec<Found> {
    let mut found = Vec::new();
    for (line, text) in prose(markdown) {
        let text = without_code(text);
        let mut rest = text.as_str();
        while let Some(start) = rest.find("](") {
            rest = &rest[start + 2..];
            let Some(end) = rest.find(')') else { break };
            // A title may follow the target.
            let target = rest[..end].split_whitespace().next().unwrap_or("");
            found.push(Found {
                line,
                text: target.trim_matches(['<', '>']).to_owned(),
            });
            rest = &rest[end..];
        }
    }
    found
}

/// What stands between single backticks.
pub fn code_spans(markdown: &str) -> Vec<Found> {
    prose(markdown)
        .flat_map(|(line, text)| {
            text.split('`').skip(1).step_by(2).map(move |span| Found {
                line,
                text: span.to_owned(),
            })
        })
        .collect()
}

/// The anchors that headings make.
pub fn anchors(markdown: &str) -> Vec<String> {
    prose(markdown)
        .filter(|(_, line)| line.starts_with('#'))
        .map(|(_, line)| slug(line.trim_start_matches('#').trim()))
        .collect()
}

/// The cells of every table row, separators left out.
pub fn table_rows(markdown: &str) -> Vec<(usize, Vec<String>)> {
    prose(markdown)
        .filter_map(|(line, text)| {
            let inner = text.trim().strip_prefix('|')?.strip_suffix('|')?;
            let cells: Vec<String> = inner.split('|').map(|cell| cell.trim().to_owned()).collect();
            let separator = cells
                .iter()
                .all(|cell| cell.chars().all(|c| c == '-' || c == ':'));
            (!separator).then_some((line, cells))
        })
        .collect()
}

fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("`")
}

fn slug(heading: &str) -> String {
    let kept = heading
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c })
        .flat_map(char::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_and_those_in_code_are_not() {
        let text = "a [b](c.md) and [d](<e.md> \"t\")\n`[x](y)`\n```\n[z](z.md)\n```\n[f](g.md#h)";
        let targets: Vec<_> = links(text).into_iter().map(|f| (f.line, f.text)).collect();
        assert_eq!(
            targets,
            [(1, "c.md".into()), (1, "e.md".into()), (6, "g.md#h".into())]
        );
    }

    #[test]
    fn code_spans_are_found_outside_fences() {
        let text = "see `crates/a` and `b`\n~~~\n`c`\n~~~\n";
        let spans: Vec<_> = code_spans(text).into_iter().map(|f| f.text).collect();
        assert_eq!(spans, ["crates/a", "b"]);
    }

    #[test]
    fn headings_give_the_anchors_that_links_name() {
        assert_eq!(
            anchors("# What it is: a `ledger`\ntext\n## Two words"),
            ["what-it-is-a-ledger", "two-words"]
        );
    }

    #[test]
    fn rows_of_tables_are_read_without_their_separators() {
        let rows = table_rows("| id | state |\n| --- | :-: |\n| A1 | works |\n");
        assert_eq!(
            rows,
            [
                (1, vec!["id".into(), "state".into()]),
                (3, vec!["A1".into(), "works".into()])
            ]
        );
    }
}
