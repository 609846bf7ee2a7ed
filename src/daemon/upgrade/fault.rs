//! Failures on demand, for tests: at a step that the environment names. They are in debug builds, and in others that ask for
//! the feature `faults`, which no released build does.

/// Fails, dies or falls silent, where `POINTSMAN_UPGRADE_FAULT` is this step with `:fail`, `:die`, `:hang` or `:stop`.
#[cfg(any(debug_assertions, feature = "faults"))]
pub fn at(step: &str) -> Result<(), String> {
    let wanted = std::env::var("POINTSMAN_UPGRADE_FAULT").unwrap_or_default();
    match wanted.split_once(':') {
        Some((at, "fail")) if at == step => Err(format!("it was asked to fail at {step}")),
        Some((at, "die")) if at == step => {
            _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            Ok(())
        }
        // All its threads stand still, workers too.
        Some((at, "stop")) if at == step => {
            _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP);
            Ok(())
        }
        Some((at, "hang")) if at == step => loop {
            std::thread::park();
        },
        _ => Ok(()),
    }
}

/// Does nothing.
#[cfg(not(any(debug_assertions, feature = "faults")))]
pub fn at(_: &str) -> Result<(), String> {
    Ok(())
}
