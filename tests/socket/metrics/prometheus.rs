//! A real Prometheus, and its promtool. Never the system's own.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use testkit::{Namespace, Process, SOON, wait_until};

/// Whether Prometheus is there; it says so where it is not.
pub fn is_missing() -> bool {
    ["prometheus", "promtool"].iter().any(|program| testkit::skipped_without(program, "prometheus"))
}

/// A file that is shipped.
pub fn shipped(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conf").join(name).display().to_string()
}

/// Runs promtool with something to read; answers what it says where it finds a fault.
pub fn promtool(words: &[&str], input: &str) -> Result<(), String> {
    let mut command = Command::new("promtool");
    command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(input.as_bytes()).map_err(|error| error.to_string())?;
    drop(stdin);
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    let said = [output.stdout, output.stderr].concat();
    // It ends well, but grumbles, where a metric has no help or a wrong name.
    if output.status.success() && (said.is_empty() || words[1] != "metrics") {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&said).into_owned())
}

/// A running Prometheus that scrapes the daemon in its namespace, killed when dropped.
pub struct Prometheus<'a> {
    namespace: &'a Namespace,
    process: Process,
    _directory: TempDir,
}

impl<'a> Prometheus<'a> {
    /// Starts it with the shipped rules, and waits until it has scraped.
    pub fn start(namespace: &'a Namespace) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let file = |name: &str| directory.path().join(name).display().to_string();
        let config = format!(
            "global: {{ scrape_interval: 250ms, evaluation_interval: 500ms }}\nrule_files: ['{}']\nscrape_configs:\n\
             - {{ job_name: pointsman, static_configs: [ {{ targets: ['127.0.0.1:9750'] }} ] }}\n",
            shipped("prometheus-rules.yml")
        );
        fs::write(file("prometheus.yml"), config).expect("the directory is the test's own");
        let process = namespace.spawn(&[
            "prometheus",
            "--web.listen-address=127.0.0.1:9090",
            &format!("--config.file={}", file("prometheus.yml")),
            &format!("--storage.tsdb.path={}", file("data")),
        ]);
        let prometheus = Self { namespace, process, _directory: directory };
        let ready = wait_until(2 * SOON, || {
            prometheus.query("up{job=\"pointsman\"} == 1").is_ok_and(|found| !found.is_empty())
        });
        assert!(ready, "Prometheus does not scrape: {}", prometheus.process.log());
        prometheus
    }

    /// What a query finds now.
    pub fn query(&self, query: &str) -> Result<Vec<Value>, String> {
        let answer = self.get(&["--get", "--data-urlencode", &format!("query={query}")], "query")?;
        Ok(answer["result"].as_array().cloned().unwrap_or_default())
    }

    /// What one of its addresses below `/api/v1/` answers.
    pub fn get(&self, words: &[&str], path: &str) -> Result<Value, String> {
        let url = format!("http://127.0.0.1:9090/api/v1/{path}");
        let output = self.namespace.try_run(&[&["curl", "--silent", "--max-time", "10", &url], words].concat());
        let mut answer: Value = serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
        if answer["status"] == "success" { Ok(answer["data"].take()) } else { Err(answer.to_string()) }
    }
}
