//! `make demo`, with the program that is under test.

use std::process::Command;

use testkit::skipped;

#[test]
fn no_request_of_the_demo_fails() {
    if skipped() {
        return;
    }
    let output = Command::new("demo/demo").arg(env!("CARGO_BIN_EXE_pointsman")).output().expect("bash is there");
    let words = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{words}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(words.contains("no request failed"), "{words}");
    for name in ["ep0", "ep1", "ep2"] {
        assert!(words.contains(&format!("    {name} ")), "{name} has answered nothing: {words}");
    }
}
