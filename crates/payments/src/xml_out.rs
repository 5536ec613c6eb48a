//! Writes XML element by element. Owns: escaping, indentation, closing in order. Must not: know any message.

use std::io::{self, Write};

/// A writer of elements; characters that XML forbids are left out.
pub(crate) struct XmlWriter<W: Write> {
    out: W,
    open: Vec<&'static str>,
}

impl<W: Write> XmlWriter<W> {
    /// Writes the declaration and the root element with its namespace.
    pub(crate) fn document(out: W, namespace: &str) -> io::Result<Self> {
        let mut writer = Self {
            out,
            open: vec!["Document"],
        };
        writer
            .out
            .write_all(b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n")?;
        writer
            .out
            .write_all(format!("<Document xmlns=\"{namespace}\">\n").as_bytes())?;
        Ok(writer)
    }

    pub(crate) fn open(&mut self, name: &'static str) -> io::Result<()> {
        self.indent()?;
        writeln!(self.out, "<{name}>")?;
        self.open.push(name);
        Ok(())
    }

    pub(crate) fn close(&mut self) -> io::Result<()> {
        let name = self
            .open
            .pop()
            .ok_or_else(|| io::Error::other("no element is open"))?;
        self.indent()?;
        writeln!(self.out, "</{name}>")
    }

    /// An element that holds text only.
    pub(crate) fn leaf(&mut self, name: &str, text: &str) -> io::Result<()> {
        self.indent()?;
        write!(self.out, "<{name}>")?;
        self.escaped(text)?;
        writeln!(self.out, "</{name}>")
    }

    /// The same, when there is something to say.
    pub(crate) fn optional(&mut self, name: &str, text: Option<&str>) -> io::Result<()> {
        match text.filter(|text| !text.trim().is_empty()) {
            Some(text) => self.leaf(name, text),
            None => Ok(()),
        }
    }

    /// An amount with its currency.
    pub(crate) fn amount(&mut self, name: &str, currency: &str, text: &str) -> io::Result<()> {
        self.indent()?;
        write!(self.out, "<{name} Ccy=\"")?;
        self.escaped(currency)?;
        writeln!(self.out, "\">{text}</{name}>")
    }

    /// Leaves nested in one another, the innermost with text.
    pub(crate) fn nested(&mut self, names: &[&'static str], text: &str) -> io::Result<()> {
        let Some((last, outer)) = names.split_last() else {
            return Ok(());
        };
        for name in outer {
            self.open(name)?;
        }
        self.leaf(last, text)?;
        for _ in outer {
            self.close()?;
        }
        Ok(())
    }

    /// Closes all that is open and gives the writer back.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        while !self.open.is_empty() {
            self.close()?;
        }
        self.out.flush()?;
        Ok(self.out)
    }

    fn indent(&mut self) -> io::Result<()> {
        for _ in 0..self.open.len() {
            self.out.write_all(b"  ")?;
        }
        Ok(())
    }

    fn escaped(&mut self, text: &str) -> io::Result<()> {
        let mut from = 0;
        for (at, c) in text.char_indices() {
            let instead = match c {
                '<' => "&lt;",
                '>' => "&gt;",
                '&' => "&amp;",
                '"' => "&quot;",
                '\t' | '\n' => continue,
                c if c < ' ' || matches!(c, '\u{fffe}' | '\u{ffff}') => "",
                _ => continue,
            };
            self.out.write_all(&text.as_bytes()[from..at])?;
            self.out.write_all(instead.as_bytes())?;
            from = at + c.len_utf8();
        }
        self.out.write_all(&text.as_bytes()[from..])
    }
}

/// At most that many characters: the standard's types have bounds.
pub(crate) fn clip(text: &str, chars: usize) -> &str {
    text.char_indices().nth(chars).map_or(text, |(at, _)| &text[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_and_elements_close_in_order() {
        let mut xml = XmlWriter::document(Vec::new(), "urn:x").expect("memory");
        xml.open("A").expect("memory");
        xml.leaf("B", "a<b>&\"c\u{1}").expect("memory");
        xml.optional("C", Some(" ")).expect("memory");
        xml.amount("D", "EUR", "1.00").expect("memory");
        xml.nested(&["E", "F"], "x").expect("memory");
        let text = String::from_utf8(xml.finish().expect("memory")).expect("UTF-8");
        let expected = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Document xmlns=\"urn:x\">\n  <A>\n    \
                        <B>a&lt;b&gt;&amp;&quot;c</B>\n    <D Ccy=\"EUR\">1.00</D>\n    <E>\n      <F>x</F>\n    \
                        </E>\n  </A>\n</Document>\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn clipping_counts_characters_not_bytes() {
        assert_eq!(clip("äöü", 2), "äö");
        assert_eq!(clip("ab", 2), "ab");
    }
}
