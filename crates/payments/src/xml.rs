//! A cursor over XML elements (pure). Owns: well-formedness, bounds, lines and paths for messages.
//! Must not: know any message. Document types and entities of the file's own are refused, so that nothing expands.

use crate::{Located, PaymentsError};
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::ResolveResult;
use quick_xml::reader::NsReader;

/// Elements may nest this deep.
const DEPTH_MAX: usize = 40;
/// One element's text may have this many bytes.
const TEXT_BYTES_MAX: usize = 64 * 1024;

/// Reads elements in order; every error names the line and the path.
pub(crate) struct Cursor<'a> {
    reader: NsReader<&'a [u8]>,
    text: &'a str,
    counted: usize,
    line: u64,
    path: String,
    /// Length of `path` before each open element.
    open: Vec<usize>,
    /// Elements in other namespaces are not the message's: `SplmtryData` may hold anything.
    namespace: Option<String>,
}

/// An element that was just opened.
pub(crate) struct Tag<'a>(BytesStart<'a>);

impl Tag<'_> {
    /// Without its prefix.
    pub(crate) fn name(&self) -> &str {
        self.0.local_name().into_inner()
    }

    /// The value of an attribute by its name without prefix; all of them were checked when the tag was opened.
    pub(crate) fn attribute(&self, name: &str) -> Option<String> {
        let found = self
            .0
            .attributes()
            .flatten()
            .find(|a| a.key.local_name().into_inner() == name)?;
        found
            .normalized_value(quick_xml::XmlVersion::Implicit1_0)
            .ok()
            .map(|value| value.trim().to_owned())
    }
}

enum Node<'a> {
    Open(Tag<'a>),
    Close,
    Text(String),
    End,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let mut reader = NsReader::from_str(text);
        reader.config_mut().expand_empty_elements = true;
        reader.config_mut().check_comments = true;
        Self {
            reader,
            text,
            counted: 0,
            line: 1,
            path: String::new(),
            open: Vec::new(),
            namespace: None,
        }
    }

    /// The line reached, from 1.
    pub(crate) fn line(&mut self) -> u64 {
        let at = usize::try_from(self.reader.buffer_position())
            .unwrap_or(usize::MAX)
            .min(self.text.len());
        if at > self.counted {
            let between = &self.text.as_bytes()[self.counted..at];
            self.line += between.iter().filter(|byte| **byte == b'\n').count() as u64;
            self.counted = at;
        }
        self.line
    }

    /// The path reached.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Numbers the open element in the path, from 1.
    pub(crate) fn number(&mut self, number: usize) {
        use std::fmt::Write;
        // Writing to a String cannot fail.
        let _ = write!(self.path, "[{number}]");
    }

    /// From now on only elements of this namespace are visited.
    pub(crate) fn keep_to(&mut self, namespace: Option<String>) {
        self.namespace = namespace;
    }

    /// The namespace of an element that was just opened.
    pub(crate) fn namespace_of(&self, tag: &Tag<'_>) -> Option<String> {
        match self.reader.resolver().resolve_element(tag.0.name()).0 {
            ResolveResult::Bound(namespace) => Some(namespace.0.to_owned()),
            ResolveResult::Unbound | ResolveResult::Unknown(_) => None,
        }
    }

    fn is_ours(&self, tag: &Tag<'_>) -> bool {
        let Some(wanted) = self.namespace.as_deref() else {
            return true;
        };
        let found = self.reader.resolver().resolve_element(tag.0.name()).0;
        matches!(found, ResolveResult::Bound(namespace) if namespace.0 == wanted)
    }

    pub(crate) fn malformed(&mut self, text: impl Into<String>) -> PaymentsError {
        let line = self.line();
        PaymentsError::Xml(Located::new(line, self.path.as_str(), text))
    }

    pub(crate) fn content(&mut self, text: impl Into<String>) -> PaymentsError {
        let line = self.line();
        PaymentsError::Content(Located::new(line, self.path.as_str(), text))
    }

    /// The same, about a child that is closed by now.
    pub(crate) fn content_in(&mut self, child: &str, text: &str) -> PaymentsError {
        let line = self.line();
        PaymentsError::Content(Located::new(line, format!("{}/{child}", self.path), text))
    }

    /// As [`Cursor::children`]; a second child of one of the names in `once` refuses the file, since which of the
    /// two was meant is not ours to guess.
    pub(crate) fn children_once(
        &mut self,
        once: &[&str],
        mut visit: impl FnMut(&mut Self, &Tag<'a>) -> Result<(), PaymentsError>,
    ) -> Result<(), PaymentsError> {
        let mut seen: u32 = 0;
        assert!(once.len() <= 32, "more names than bits");
        self.children(|cur, tag| {
            if let Some(at) = once.iter().position(|name| *name == tag.name()) {
                if seen & (1 << at) != 0 {
                    return Err(cur.content("occurs twice"));
                }
                seen |= 1 << at;
            }
            visit(cur, tag)
        })
    }

    /// Skips the open element; an element within it that `barred` holds for refuses the file.
    pub(crate) fn skip_without(
        &mut self,
        barred: impl Fn(&Self, &Tag<'a>) -> bool,
        why: &str,
    ) -> Result<(), PaymentsError> {
        let depth = self.open.len();
        while self.open.len() >= depth {
            if let Node::Open(tag) = self.next()?
                && barred(self, &tag)
            {
                return Err(self.malformed(why));
            }
        }
        Ok(())
    }

    /// Visits each child of the open element (of the file, when none is open) and closes the element. What a
    /// visit leaves unread is skipped.
    pub(crate) fn children(
        &mut self,
        mut visit: impl FnMut(&mut Self, &Tag<'a>) -> Result<(), PaymentsError>,
    ) -> Result<(), PaymentsError> {
        let depth = self.open.len();
        loop {
            match self.next()? {
                Node::Open(tag) => {
                    let foreign = !self.is_ours(&tag);
                    if !foreign {
                        visit(self, &tag)?;
                    }
                    while self.open.len() > depth {
                        self.next()?;
                    }
                }
                Node::Close | Node::End => return Ok(()),
                Node::Text(text) if text.trim().is_empty() => {}
                Node::Text(_) => return Err(self.malformed("text between elements")),
            }
        }
    }

    /// The text of the open element, without blanks around it, and closes the element.
    pub(crate) fn text(&mut self) -> Result<String, PaymentsError> {
        let mut whole = String::new();
        loop {
            match self.next()? {
                Node::Text(part) => {
                    if whole.is_empty() {
                        whole = part;
                    } else {
                        whole.push_str(&part);
                    }
                    if whole.len() > TEXT_BYTES_MAX {
                        return Err(self.malformed(format!("more than {TEXT_BYTES_MAX} bytes of text")));
                    }
                }
                Node::Close => break,
                Node::Open(_) => return Err(self.malformed("an element where text is expected")),
                Node::End => return Err(self.malformed("the file ends here")),
            }
        }
        let trimmed = whole.trim();
        if trimmed.len() == whole.len() {
            Ok(whole)
        } else {
            Ok(trimmed.to_owned())
        }
    }

    /// Puts the text of the open element where it belongs; a second one is refused.
    pub(crate) fn text_into(&mut self, place: &mut Option<String>) -> Result<(), PaymentsError> {
        if place.is_some() {
            return Err(self.content("occurs twice"));
        }
        let path = self.path.len();
        let text = self.text()?;
        debug_assert!(self.path.len() < path);
        // An empty element says no more than a missing one.
        if !text.is_empty() {
            *place = Some(text);
        }
        Ok(())
    }

    /// The text of the open element, or of its one child of those names.
    pub(crate) fn text_or_child(&mut self, names: &[&str]) -> Result<String, PaymentsError> {
        let depth = self.open.len();
        let mut whole = String::new();
        let mut has_child = false;
        loop {
            match self.next()? {
                Node::Text(part) => whole.push_str(&part),
                Node::Open(tag) if names.contains(&tag.name()) && !has_child && whole.trim().is_empty() => {
                    has_child = true;
                    whole = self.text()?;
                }
                Node::Open(_) => return Err(self.malformed("an element that is not expected here")),
                Node::Close if self.open.len() < depth => return Ok(whole.trim().to_owned()),
                Node::Close => {}
                Node::End => return Err(self.malformed("the file ends here")),
            }
            if whole.len() > TEXT_BYTES_MAX {
                return Err(self.malformed(format!("more than {TEXT_BYTES_MAX} bytes of text")));
            }
        }
    }

    /// Bytes of text read so far.
    pub(crate) fn position(&self) -> u64 {
        self.reader.buffer_position()
    }

    fn next(&mut self) -> Result<Node<'a>, PaymentsError> {
        loop {
            let event = match self.reader.read_event() {
                Ok(event) => event,
                Err(error) => return Err(self.malformed(error.to_string())),
            };
            match event {
                Event::Start(start) => return self.open(start).map(Node::Open),
                Event::End(_) => {
                    let Some(length) = self.open.pop() else {
                        return Err(self.malformed("an end tag without its start"));
                    };
                    self.path.truncate(length);
                    return Ok(Node::Close);
                }
                Event::Text(text) => return self.checked(text.xml10_content().into_owned()).map(Node::Text),
                Event::CData(text) => return self.checked(text.xml10_content().into_owned()).map(Node::Text),
                Event::GeneralRef(reference) => {
                    let name = reference.xml10_content();
                    let resolved = match name.as_ref() {
                        "lt" => Some('<'),
                        "gt" => Some('>'),
                        "amp" => Some('&'),
                        "quot" => Some('"'),
                        "apos" => Some('\''),
                        _ => reference.resolve_char_ref().ok().flatten(),
                    };
                    let Some(character) = resolved else {
                        return Err(self.malformed(format!("entity &{name}; is not allowed")));
                    };
                    return self.checked(character.to_string()).map(Node::Text);
                }
                Event::DocType(_) => {
                    return Err(self.malformed("a document type (DTD) is not allowed in a payment file"));
                }
                Event::Eof if self.open.is_empty() => return Ok(Node::End),
                Event::Eof => return Err(self.malformed("the file ends before this element does")),
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::Empty(_) => {}
            }
        }
    }

    fn open(&mut self, start: BytesStart<'a>) -> Result<Tag<'a>, PaymentsError> {
        if self.open.len() == DEPTH_MAX {
            return Err(self.malformed(format!("elements nest more than {DEPTH_MAX} deep")));
        }
        if start.attributes_raw().len() > TEXT_BYTES_MAX || start.name().0.len() > 256 {
            return Err(self.malformed("a start tag that is too long"));
        }
        self.open.push(self.path.len());
        if !self.path.is_empty() {
            self.path.push('/');
        }
        self.path.push_str(start.local_name().into_inner());
        if let ResolveResult::Unknown(prefix) = self.reader.resolver().resolve_element(start.name()).0 {
            return Err(self.malformed(format!("the prefix {prefix:?} is not declared")));
        }
        for attribute in start.attributes() {
            let checked = attribute
                .map_err(|error| error.to_string())
                .and_then(|attribute| {
                    attribute
                        .normalized_value(quick_xml::XmlVersion::Implicit1_0)
                        .map(drop)
                        .map_err(|error| error.to_string())
                });
            if let Err(error) = checked {
                return Err(self.malformed(error));
            }
        }
        Ok(Tag(start))
    }

    /// XML forbids control characters, written out or as references.
    fn checked(&mut self, text: String) -> Result<String, PaymentsError> {
        let forbidden =
            |c: char| (c < ' ' && !matches!(c, '\t' | '\n' | '\r')) || matches!(c, '\u{fffe}' | '\u{ffff}');
        match text.chars().find(|c| forbidden(*c)) {
            None => Ok(text),
            Some(c) => Err(self.malformed(format!("character U+{:04X} is not allowed in XML", u32::from(c)))),
        }
    }
}
