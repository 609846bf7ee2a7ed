//! Where the program under test and the project's files are.

use std::path::{Path, PathBuf};

/// A file or a directory of the project.
pub fn file(path: impl AsRef<Path>) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the testkit lies in the project");
    root.join(path)
}

/// The program under test: the one that `POINTSMAN` names, or the one that was built with the tests.
///
/// # Panics
///
/// Where neither is there.
pub fn pointsman() -> PathBuf {
    if let Some(named) = std::env::var_os("POINTSMAN") {
        return named.into();
    }
    // Tests and benches lie in target/PROFILE/deps, the program in target/PROFILE.
    let own = std::env::current_exe().expect("a process knows its program");
    let built =
        own.ancestors().skip(1).take(2).map(|directory| directory.join("pointsman")).find(|file| file.is_file());
    built.unwrap_or_else(|| panic!("pointsman is not built beside {}", own.display()))
}
