//! What a file names: every path in it, be it in a `use` tree, a type, an expression, an attribute or what a macro is handed,
//! counted from the crate's root; and whether anything in it is `unsafe`.

use std::collections::BTreeMap;

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Item, Path};

use super::source::{Source, is_test_module};

/// What a file names.
#[derive(Default)]
pub struct Named {
    /// The module that is looked at, from the crate's root.
    module: Vec<String>,
    /// Each path, and the line where it stands first. One that begins with `crate` counts from this crate's root.
    pub paths: BTreeMap<Vec<String>, usize>,
    /// Lines with the word `unsafe`.
    pub unsafe_lines: Vec<usize>,
}

/// A path that is being read.
#[derive(Default)]
struct Reading {
    names: Vec<String>,
    /// Two colons follow it.
    goes_on: bool,
    line: usize,
}

impl Named {
    /// What a file of the program names, its tests aside.
    pub fn read(source: &Source) -> Self {
        let mut named = Self { module: source.module.clone(), ..Self::default() };
        source.file.attrs.iter().for_each(|attribute| named.walk(attribute.to_token_stream(), &[]));
        named.walk_items(&source.file.items);
        named
    }

    /// What a text names that stands in this module.
    pub fn read_text(text: &str, module: &str) -> Self {
        let module = module.split("::").map(str::to_owned).collect();
        Self::read(&Source { name: String::new(), module, file: syn::parse_file(text).expect("Rust") })
    }

    fn walk_items(&mut self, items: &[Item]) {
        for item in items {
            match item {
                Item::Mod(module) if is_test_module(module) => {}
                Item::Mod(module) => {
                    self.module.push(module.ident.to_string());
                    module.content.iter().for_each(|(_, items)| self.walk_items(items));
                    self.module.pop();
                }
                other => self.walk(other.to_token_stream(), &[]),
            }
        }
    }

    /// Paths are names with two colons between them; `before` is the path before the braces of a `use` that these are in.
    fn walk(&mut self, tokens: TokenStream, before: &[String]) {
        let mut path = Reading::default();
        let mut tokens = tokens.into_iter().peekable();
        while let Some(token) = tokens.next() {
            match token {
                TokenTree::Ident(name) if name == "as" && !before.is_empty() => _ = tokens.next(),
                TokenTree::Ident(name) => {
                    let line = name.span().start().line;
                    if name == "unsafe" {
                        self.unsafe_lines.push(line);
                    }
                    if !path.goes_on {
                        self.end(&mut path);
                        path = Reading { names: before.to_vec(), goes_on: false, line };
                    }
                    path.names.push(name.to_string());
                    path.goes_on = false;
                    if name == "crate" && matches!(tokens.peek(), Some(TokenTree::Ident(next)) if next == "as") {
                        path.names.push("*".to_owned());
                    }
                    continue;
                }
                TokenTree::Punct(colon) if colon.as_char() == ':' && colon.spacing() == Spacing::Joint => {
                    tokens.next();
                    path.goes_on = !path.names.is_empty();
                    continue;
                }
                TokenTree::Punct(star) if star.as_char() == '*' && path.goes_on => path.names.push("*".to_owned()),
                TokenTree::Group(group) if path.goes_on && group.delimiter() == Delimiter::Brace => {
                    self.walk(group.stream(), &path.names);
                }
                TokenTree::Group(group) => self.walk(group.stream(), &[]),
                TokenTree::Literal(literal) => self.add_text(&literal.to_string(), literal.span().start().line),
                TokenTree::Punct(_) => {}
            }
            self.end(&mut path);
        }
        self.end(&mut path);
    }

    fn end(&mut self, path: &mut Reading) {
        let Reading { names, line, .. } = std::mem::take(path);
        if !names.is_empty() {
            self.add(&names, line);
        }
    }

    fn add(&mut self, path: &[String], line: usize) {
        let path = self.in_full(path);
        self.paths.entry(path).or_insert(line);
    }

    /// Paths that are given as text, as serde takes them.
    fn add_text(&mut self, literal: &str, line: usize) {
        let text = literal.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default();
        if let Some(path) = syn::parse_str::<Path>(text).ok().filter(|path| path.segments.len() > 1) {
            let names: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            self.add(&names, line);
        }
    }

    /// `self` and `super` are resolved, and the standard library's parts have one name.
    fn in_full(&self, path: &[String]) -> Vec<String> {
        let words = path.iter().take_while(|name| *name == "self" || *name == "super");
        let supers = words.clone().filter(|name| *name == "super").count();
        let rest = &path[words.count()..];
        if rest.len() < path.len() {
            let module = &self.module[..self.module.len().saturating_sub(supers)];
            return [&["crate".to_owned()], module, rest].concat();
        }
        match path {
            [first, rest @ ..] if first == "core" || first == "alloc" => [&["std".to_owned()], rest].concat(),
            _ => path.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        Named::read_text(text, "io::xsk")
            .paths
            .into_keys()
            .filter(|path| path.len() > 1)
            .map(|path| path.join("::"))
            .collect()
    }

    #[test]
    fn paths_are_seen_wherever_they_stand() {
        for (text, wanted) in [
            (
                "use crate::{config, model::{self, Set}, stats as s};",
                "crate::config crate::model crate::model::Set crate::model::self crate::stats",
            ),
            ("use std::{fs, io::{self as x, Read}};", "std::fs std::io std::io::Read std::io::self"),
            ("use crate::steer::*;", "crate::steer::*"),
            ("use crate as all;", "crate::*"),
            ("use super::super::DaemonError;", "crate::DaemonError"),
            ("use super::{memory, xsk::ring};", "crate::io crate::io::memory crate::io::xsk::ring"),
            (
                "fn f() -> core::time::Duration { crate::daemon::run(super::HEADROOM) }",
                "crate::daemon::run crate::io::HEADROOM std::time::Duration",
            ),
            (
                "fn f() { assert!(matches!(x, crate::cli::A | ::libc::B { .. }), \"{}\", std::env::var(y)); }",
                "crate::cli::A libc::B std::env::var",
            ),
            ("macro_rules! m { () => { $crate::worker::work() } }", "crate::worker::work"),
            (
                "struct S { a: ::std::fs::File, #[serde(with = \"crate::document::text\")] b: u8 }",
                "crate::document::text std::fs::File",
            ),
            ("#[cfg(test)] mod tests { use crate::daemon::run; }", ""),
            ("#[cfg(test)] fn f() { crate::daemon::run() }", "crate::daemon::run"),
            ("#[cfg(not(test))] mod x { use super::super::worker::Kit; }", "crate::io::worker::Kit"),
            ("mod before {} #[cfg(test)] mod tests {} fn f() { crate::steer::go() }", "crate::steer::go"),
        ] {
            assert_eq!(names(text).join(" "), wanted, "{text}");
        }
    }

    #[test]
    fn unsafe_is_seen_wherever_it_stands() {
        for text in [
            "fn f() { unsafe { g() } }",
            "unsafe fn f() {}",
            "unsafe impl Send for S {}",
            "unsafe trait T {}",
            "unsafe extern \"C\" { fn f(); }",
            "#[unsafe(no_mangle)] fn f() {}",
            "m! { x => unsafe { y } }",
            "type F = unsafe fn();",
        ] {
            assert_eq!(Named::read_text(text, "io").unsafe_lines, [1], "{text}");
        }
        assert!(
            Named::read_text("/// unsafe { }\nfn f() { g(\"unsafe\") } #[allow(unsafe_code)] fn h() {}", "io")
                .unsafe_lines
                .is_empty()
        );
    }
}
