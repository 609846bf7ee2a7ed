//! The figures that must not be exceeded: `recorded.txt`, a line for each case, and first who made them: the compiler, and the
//! widest vectors that valgrind knows of this processor's.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;

/// How much more than recorded is too much, by the same compiler on such a processor. Which code another one makes is not our
/// doing, nor which vectors there are: then only what is much more fails.
const MOST: f64 = 0.03;
const MOST_OTHERWISE: f64 = 0.25;

/// What is recorded.
pub struct Recorded {
    maker: String,
    cases: Vec<(String, f64)>,
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("bench/instructions/recorded.txt")
}

fn maker() -> anyhow::Result<String> {
    let output = Command::new("rustc").arg("--version").output().context("rustc does not run")?;
    #[cfg(target_arch = "x86_64")]
    let vectors = if std::arch::is_x86_feature_detected!("avx2") { "with AVX2" } else { "without AVX2" };
    #[cfg(not(target_arch = "x86_64"))]
    let vectors = std::env::consts::ARCH;
    Ok(format!("{}, {vectors}", String::from_utf8_lossy(&output.stdout).trim()))
}

impl Recorded {
    /// Records these instructions a packet.
    pub fn write(cases: &[(String, f64)]) -> anyhow::Result<()> {
        let lines: String = cases.iter().map(|(name, count)| format!("{count:.1} {name}\n")).collect();
        Ok(fs::write(path(), format!("{}\n{lines}", maker()?))?)
    }

    /// What has been recorded.
    pub fn read() -> anyhow::Result<Self> {
        let text = fs::read_to_string(path()).context("nothing is recorded: run this with --record")?;
        let mut lines = text.lines();
        let maker = lines.next().unwrap_or_default().to_owned();
        let case = |line: &str| {
            let (count, name) = line.split_once(' ').with_context(|| format!("\"{line}\" is no figure"))?;
            Ok((name.to_owned(), count.parse()?))
        };
        Ok(Self { maker, cases: lines.map(case).collect::<anyhow::Result<_>>()? })
    }

    /// Prints counted and recorded figures; answers whether none is too much more.
    pub fn holds(&self, counted: &[(String, f64)]) -> bool {
        let is_same = maker().is_ok_and(|maker| maker == self.maker);
        let most = if is_same { MOST } else { MOST_OTHERWISE };
        if !is_same {
            println!("recorded by {}, so {:.0} % more are let pass; --record anew", self.maker, most * 100.0);
        }
        println!("{:32} {:>12} {:>10}", "instructions a packet", "counted", "recorded");
        let mut holds = true;
        for (name, count) in counted {
            let recorded = self.cases.iter().find(|(own, _)| own == name).map(|(_, recorded)| *recorded);
            let fits = recorded.is_some_and(|recorded| *count <= recorded * (1.0 + most));
            let shown = recorded.map_or_else(|| "none".to_owned(), |recorded| format!("{recorded:.1}"));
            println!("{name:32} {count:>12.1} {shown:>10}{}", if fits { "" } else { "  too many" });
            holds &= fits;
        }
        holds
    }
}
