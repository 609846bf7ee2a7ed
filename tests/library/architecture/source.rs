//! The program's files as a compiler finds them: from `lib.rs` and `main.rs` down every `mod`, parsed. Only what is compiled
//! for tests alone is left out: a module marked `#[cfg(test)]`, whether its body stands inline or in a file.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use syn::punctuated::Punctuated;
use syn::{Attribute, File, Item, ItemMod, Meta, Token};

/// A file, and which module it is.
pub struct Source {
    /// From `src`, such as `io/xsk/ring.rs`.
    pub name: String,
    /// From the crate's root, such as `io`, `xsk`, `ring`.
    pub module: Vec<String>,
    /// What stands in it.
    pub file: File,
}

/// All files of the program.
pub struct Program {
    /// Those that are read.
    pub sources: Vec<Source>,
    /// Names of those that are tests.
    pub tests: BTreeSet<String>,
}

impl Program {
    /// Reads it.
    pub fn read() -> Self {
        let mut program = Self { sources: Vec::new(), tests: BTreeSet::new() };
        program.add(&root().join("lib.rs"), Vec::new());
        program.add(&root().join("main.rs"), Vec::new());
        program
    }

    fn add(&mut self, path: &Path, module: Vec<String>) {
        let file = parse(path);
        let beside = directory_of_modules(path);
        self.follow(&file.items, &beside, &module, false);
        self.sources.push(Source { name: name(path), module, file });
    }

    /// Follows the modules that are declared here; `beside`: where their files lie.
    fn follow(&mut self, items: &[Item], beside: &Path, module: &[String], is_test: bool) {
        for declared in items.iter().filter_map(|item| if let Item::Mod(item) = item { Some(item) } else { None }) {
            let is_test = is_test || is_test_module(declared);
            let own_name = declared.ident.to_string();
            let own = [module, std::slice::from_ref(&own_name)].concat();
            match &declared.content {
                Some((_, items)) => self.follow(items, &beside.join(own_name), &own, is_test),
                None if is_test => self.add_test(&file_of(declared, beside)),
                None => self.add(&file_of(declared, beside), own),
            }
        }
    }

    fn add_test(&mut self, path: &Path) {
        self.tests.insert(name(path));
        self.follow(&parse(path).items, &directory_of_modules(path), &[], true);
    }
}

/// Whether a module is compiled for tests alone.
pub fn is_test_module(module: &ItemMod) -> bool {
    module.attrs.iter().any(is_for_tests)
}

fn is_for_tests(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg") && attribute.parse_args::<Meta>().is_ok_and(|meta| needs_test(&meta))
}

/// `test`, or `all(test, ..)`.
fn needs_test(meta: &Meta) -> bool {
    match meta {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) if list.path.is_ident("all") => list
            .parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)
            .is_ok_and(|all| all.iter().any(needs_test)),
        _ => false,
    }
}

fn file_of(module: &ItemMod, beside: &Path) -> PathBuf {
    let name = module.ident.to_string();
    assert!(!module.attrs.iter().any(|attribute| attribute.path().is_ident("path")), "mod {name} has a #[path]");
    let flat = beside.join(format!("{name}.rs"));
    if flat.exists() { flat } else { beside.join(name).join("mod.rs") }
}

/// Where the files of the modules lie that a file declares.
fn directory_of_modules(path: &Path) -> PathBuf {
    let directory = path.parent().expect("a file is in a directory");
    let is_crate = directory == root() && (path.ends_with("lib.rs") || path.ends_with("main.rs"));
    if is_crate || path.ends_with("mod.rs") { directory.to_owned() } else { path.with_extension("") }
}

/// The program's directory.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn name(path: &Path) -> String {
    path.strip_prefix(root()).expect("below src").display().to_string()
}

fn parse(path: &Path) -> File {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names of all files that lie there, declared or not.
pub fn all_files() -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    let mut directories = vec![root()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display())) {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                files.insert(name(&path));
            }
        }
    }
    files
}
