//! Reads a tree of named values strictly: every problem at once, each with its path, and no key ignored.
//!
//! JSON and TOML are read alike: TOML is turned into the same tree, with the line of each path kept aside.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::Serialize;
use serde_json::Number;

mod tree;

pub use self::tree::Tree;

/// What is said of a key that an object has more than once: nobody can know which value was meant.
pub const TWICE: &str = "this key is there twice";

/// One thing to mend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Where: such as `services[0].endpoints[2].address`; empty for the document as a whole.
    pub path: String,
    /// The line, where the document has lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// What is wrong and what is allowed.
    pub reason: String,
}

impl Problem {
    /// A problem, in words that a line of a terminal or a log can show.
    pub fn new(path: &str, line: Option<usize>, reason: &str) -> Self {
        Self { path: shown_text(path), line, reason: shown_text(reason) }
    }

    /// The same of a document without lines.
    pub fn at(path: &str, reason: &str) -> Self {
        Self::new(path, None, reason)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.reason)
    }
}

/// All that is to be mended in a document; never empty in an `Err`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            write!(f, "{}{problem}", if i == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Problems of one document that are named; of a document with more, something else is wrong.
const MOST_PROBLEMS: usize = 1_000;

/// Collects problems while a document is read.
#[derive(Debug, Default)]
pub struct Collector {
    problems: RefCell<Vec<Problem>>,
    /// How many there were beside these.
    more: Cell<usize>,
    /// The text, where it has lines: they are looked for only where something is to be mended.
    toml: Option<String>,
}

impl Collector {
    /// Notes a problem.
    pub fn add(&self, path: impl Into<String>, reason: impl Into<String>) {
        if self.problems.borrow().len() >= MOST_PROBLEMS {
            return self.more.set(self.more.get() + 1);
        }
        self.problems.borrow_mut().push(Problem::at(&path.into(), &reason.into()));
    }

    /// How many problems have been noted.
    pub fn count(&self) -> usize {
        self.problems.borrow().len() + self.more.get()
    }

    /// All that has been noted, of a document of which a part is used all the same.
    pub fn into_problems(self) -> Problems {
        let mut problems = self.problems.into_inner();
        if let Some(lines) = self.toml.filter(|_| !problems.is_empty()).map(|text| lines_of(&text)) {
            problems.iter_mut().for_each(|problem| problem.line = lines.get(&problem.path).copied());
        }
        problems.sort_by_key(|problem| problem.line);
        if self.more.get() > 0 {
            problems.push(Problem::at("", &format!("and {} more", self.more.get())));
        }
        Problems(problems)
    }

    /// `value`, if there was no problem.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Problems> {
        match value {
            Some(value) if self.count() == 0 => Ok(value),
            _ => Err(self.into_problems()),
        }
    }
}

/// Parses TOML into a tree and a collector that knows its lines.
pub fn parse_toml(text: &str) -> Result<(Tree<'static>, Collector), Problems> {
    let table = toml::de::DeTable::parse(text).map_err(|error| {
        let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        // The parser does not name it, though it knows where it is.
        let key = error.span().and_then(|span| text.get(span)).filter(|_| error.message() == "duplicate key");
        Problems(vec![Problem::new(key.unwrap_or_default(), line, key.map_or(error.message(), |_| TWICE))])
    })?;
    Ok((toml_table(table.get_ref()), Collector { toml: Some(text.to_owned()), ..Collector::default() }))
}

fn toml_table(table: &toml::de::DeTable<'_>) -> Tree<'static> {
    let members = table.iter().map(|(key, value)| (key.get_ref().to_string().into(), toml_value(value.get_ref())));
    Tree::Table(members.collect())
}

fn toml_value(value: &toml::de::DeValue<'_>) -> Tree<'static> {
    use toml::de::DeValue;
    match value {
        DeValue::String(text) => Tree::Text(text.to_string().into()),
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .map_or_else(|_| Tree::Text(integer.as_str().to_owned().into()), |integer| Tree::Number(integer.into())),
        DeValue::Float(float) => {
            float.as_str().parse().ok().and_then(Number::from_f64).map_or(Tree::Null, Tree::Number)
        }
        DeValue::Boolean(truth) => Tree::Bool(*truth),
        DeValue::Datetime(moment) => Tree::Text(moment.to_string().into()),
        DeValue::Array(items) => Tree::List(items.iter().map(|item| toml_value(item.get_ref())).collect()),
        DeValue::Table(table) => toml_table(table),
    }
}

/// The line of each path of a TOML document, paths as problems show them.
fn lines_of(text: &str) -> HashMap<String, usize> {
    let mut lines = Lines {
        ends: text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect(),
        known: HashMap::new(),
    };
    if let Ok(table) = toml::de::DeTable::parse(text) {
        lines.note_table(table.get_ref(), "");
    }
    lines.known
}

struct Lines {
    /// Where lines end, in bytes from the start.
    ends: Vec<usize>,
    known: HashMap<String, usize>,
}

impl Lines {
    fn note(&mut self, path: &str, offset: usize) {
        self.known.insert(shown_text(path), self.ends.partition_point(|end| *end < offset) + 1);
    }

    fn note_table(&mut self, table: &toml::de::DeTable<'_>, path: &str) {
        for (key, value) in table {
            let path = member_path(path, key.get_ref());
            self.note(&path, key.span().start);
            self.note_within(value.get_ref(), &path);
        }
    }

    fn note_within(&mut self, value: &toml::de::DeValue<'_>, path: &str) {
        match value {
            toml::de::DeValue::Table(table) => self.note_table(table, path),
            toml::de::DeValue::Array(items) => {
                for (i, item) in items.iter().enumerate() {
                    let path = format!("{path}[{i}]");
                    self.note(&path, item.span().start);
                    self.note_within(item.get_ref(), &path);
                }
            }
            _ => {}
        }
    }
}

fn member_path(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// One value and where it stands.
#[derive(Clone, Debug)]
pub struct Node<'a> {
    /// As in [`Problem::path`].
    pub path: String,
    value: &'a Tree<'a>,
    collector: &'a Collector,
}

impl<'a> Node<'a> {
    /// The whole document.
    pub fn root(value: &'a Tree<'a>, collector: &'a Collector) -> Self {
        Self { path: String::new(), value, collector }
    }

    /// The same, whose problems another collector gets.
    pub fn noted_by<'b>(&self, collector: &'b Collector) -> Node<'b>
    where
        'a: 'b,
    {
        Node { path: self.path.clone(), value: self.value, collector }
    }

    /// Notes a problem here.
    pub fn refuse(&self, reason: impl Into<String>) {
        self.collector.add(self.path.clone(), reason);
    }

    fn expected<T>(&self, what: &str) -> Option<T> {
        self.refuse(format!("{} is not {what}", shown(self.value)));
        None
    }

    /// A table, with the only keys it may have, each of them once.
    pub fn table(&self, keys: &[&str]) -> Option<Table<'a>> {
        let Tree::Table(members) = self.value else { return self.expected("a table of names and values") };
        for (key, _) in members.iter().filter(|(key, _)| !keys.contains(&key.as_ref())) {
            let known = if keys.is_empty() {
                "none is known here".to_owned()
            } else {
                format!("known are: {}", keys.join(", "))
            };
            self.collector.add(member_path(&self.path, key), format!("unknown key; {known}"));
        }
        for key in keys.iter().filter(|key| members.iter().filter(|(known, _)| known == **key).nth(1).is_some()) {
            self.collector.add(member_path(&self.path, key), TWICE);
        }
        Some(Table { path: self.path.clone(), tree: self.value, collector: self.collector })
    }

    /// A list of at most so many of something.
    pub fn list(&self, most: usize, what: &str) -> Option<Vec<Node<'a>>> {
        let Tree::List(items) = self.value else { return self.expected("a list") };
        if items.len() > most {
            self.refuse(format!("{} {what}; at most {most} are allowed", items.len()));
            return None;
        }
        let node = |(i, value)| Node { path: format!("{}[{i}]", self.path), value, collector: self.collector };
        Some(items.iter().enumerate().map(node).collect())
    }

    /// A string.
    pub fn text(&self) -> Option<&'a str> {
        self.value.as_text().or_else(|| self.expected("a string"))
    }

    /// A string that is not empty, has at most `most` bytes and no control characters.
    pub fn name(&self, most: usize) -> Option<String> {
        let text = self.text()?;
        if text.is_empty() || text.len() > most || text.chars().any(char::is_control) {
            return self.expected(&format!("a name of 1 to {most} bytes without control characters"));
        }
        Some(text.to_owned())
    }

    /// A whole number in a range.
    pub fn integer(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let number = if let Tree::Number(number) = self.value { number.as_u64() } else { None };
        let number = number.filter(|number| range.contains(number));
        number.or_else(|| self.expected(&format!("a whole number {}..{}", range.start(), range.end())))
    }

    /// `true` or `false`.
    pub fn boolean(&self) -> Option<bool> {
        if let Tree::Bool(truth) = self.value { Some(*truth) } else { self.expected("true or false") }
    }

    /// A string in another type's notation; its error says what is allowed.
    pub fn parsed<T: FromStr<Err: fmt::Display>>(&self) -> Option<T> {
        let text = self.text()?;
        text.parse().map_err(|error| self.refuse(format!("{} is {error}", shown(self.value)))).ok()
    }

    /// One of several words.
    pub fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Option<T> {
        let chosen = self.value.as_text().and_then(|text| choices.iter().find(|(word, _)| *word == text));
        let words = || choices.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
        chosen.map(|(_, value)| *value).or_else(|| self.expected(&format!("one of {}", words())))
    }

    /// Whether it is a string.
    pub fn is_text(&self) -> bool {
        self.value.as_text().is_some()
    }
}

/// A table being read.
#[derive(Debug)]
pub struct Table<'a> {
    path: String,
    tree: &'a Tree<'a>,
    collector: &'a Collector,
}

impl<'a> Table<'a> {
    /// The value of a key, if it is there.
    pub fn get(&self, key: &str) -> Option<Node<'a>> {
        let value = self.tree.get(key).filter(|value| **value != Tree::Null)?;
        Some(Node { path: member_path(&self.path, key), value, collector: self.collector })
    }

    /// The value of a key that must be there.
    pub fn require(&self, key: &str) -> Option<Node<'a>> {
        let node = self.get(key);
        if node.is_none() {
            self.collector.add(member_path(&self.path, key), "missing");
        }
        node
    }
}

/// A text as a line of a terminal or a log can show it: what would break the line, or be obeyed, as an escape.
fn shown_text(text: &str) -> String {
    let escaped = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escaped).collect()
}

/// A value as an error shows it, cut where it is long.
fn shown(value: &Tree<'_>) -> String {
    match value {
        Tree::List(_) => "a list".to_owned(),
        Tree::Table(_) => "a table".to_owned(),
        scalar => {
            let text = scalar.to_value().to_string();
            if text.chars().count() > 60 { text.chars().take(57).chain("...".chars()).collect() } else { text }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_found_with_its_line() {
        let (tree, collector) = parse_toml("[a]\nb = 1\nc = \"x\"\n[[d]]\ne = true\n").expect("TOML");
        let root = Node::root(&tree, &collector);
        let table = root.table(&["a", "d"]).expect("a table");
        let a = table.get("a").and_then(|a| a.table(&["b"])).expect("a table");
        assert_eq!(a.require("b").and_then(|b| b.integer(2..=3)), None);
        let items = table.get("d").and_then(|d| d.list(9, "entries")).expect("a list");
        assert_eq!(items[0].table(&["e"]).and_then(|t| t.get("e")?.text()), None);
        assert!(a.require("f").is_none());
        let problems = collector.finish(Some(())).expect_err("four problems").to_string();
        let expected = "a.f: missing\nline 2: a.b: 1 is not a whole number 2..3\n\
            line 3: a.c: unknown key; known are: b\nline 5: d[0].e: true is not a string";
        assert_eq!(problems, expected);
    }

    #[test]
    fn broken_toml_says_where() {
        let problems = parse_toml("a = 1\nb = = 2\n").expect_err("broken");
        assert_eq!(problems.0[0].line, Some(2));
    }

    /// A document that somebody else has written must not move the cursor of who reads what is wrong with it.
    #[test]
    fn a_problem_is_one_line_without_anything_that_a_terminal_obeys() {
        let (tree, collector) = parse_toml("\"a\\n\\u001b[2J\" = 1\n").expect("TOML");
        let root = Node::root(&tree, &collector);
        root.table(&["b"]).expect("a table");
        root.refuse("\u{7}\r");
        let problems = collector.finish(Some(())).expect_err("two problems").to_string();
        assert_eq!(problems, "\\u{7}\\r\nline 1: a\\n\\u{1b}[2J: unknown key; known are: b");
    }

    #[test]
    fn long_values_are_cut() {
        assert!(shown(&Tree::Text("é".repeat(1000).into())).chars().count() <= 60);
    }
}
