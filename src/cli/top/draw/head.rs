//! The first lines: what node this is, what is in force, and what is wrong.

use ratatui::text::Line;
use serde_json::Value;

use super::style::said;
use crate::cli::colour::Tone;
use crate::cli::table::shorten;
use crate::cli::top::shown::Shown;
use crate::cli::top::view::View;
use crate::cli::words::{count, duration, number, plain, quoted, shown as escaped};

/// In columns.
const LONGEST_REVISION: usize = 24;

/// Two lines, and one more where something is wrong.
pub fn lines(shown: &Shown, view: &View) -> Vec<Line<'static>> {
    let mut lines = vec![node(shown, view), set(shown)];
    lines.extend(trouble(shown));
    lines
}

fn node(shown: &Shown, view: &View) -> Line<'static> {
    let node = &shown.picture.node;
    let (state, tone) = if node["draining"] == true { ("draining", Tone::Notice) } else { ("forwarding", Tone::Good) };
    let mode = node["mode"].as_str().map_or(String::new(), |mode| format!(", {}", escaped(mode)));
    let still = if view.is_paused { "  PAUSED" } else { "" };
    Line::from(vec![
        said(shown.time.clone(), Tone::Faint),
        said(still, Tone::Notice),
        said(format!("  {}", plain(&node["node"])), Tone::Heading),
        said(format!(", {state}"), tone),
        said(format!("  {} as generation {}", revision(node), plain(&node["generation"])), Tone::Plain),
        said(format!("  up for {}", duration(number(&node["uptime"]))), Tone::Plain),
        said(format!("  {} on {}{mode}", plain(&node["driver"]), plain(&node["interface"])), Tone::Plain),
    ])
}

fn set(shown: &Shown) -> Line<'static> {
    let picture = &shown.picture;
    let sum = |number: fn(&crate::cli::top::picture::Service) -> u64| picture.services.iter().map(number).sum::<u64>();
    let (active, draining, down) = (
        sum(|service| service.states.active),
        sum(|service| service.states.draining),
        sum(|service| service.states.down),
    );
    let handovers = sum(|service| service.is_handover_open.into());
    let if_any = |number: u64, tone| if number > 0 { tone } else { Tone::Plain };
    Line::from(vec![
        said(count(picture.services.len() as u64, "service"), Tone::Plain),
        said(format!(", {active} active"), Tone::Plain),
        said(format!(", {draining} draining"), if_any(draining, Tone::Notice)),
        said(format!(", {down} down"), if_any(down, Tone::Bad)),
        said(format!("  {} open", count(handovers, "handover")), if_any(handovers, Tone::Notice)),
        said(format!(", {} tracked", sum(|service| service.tracked)), Tone::Plain),
    ])
}

/// In quotes; one that is long is cut, for what stands behind it.
fn revision(node: &Value) -> String {
    shorten(&quoted(&node["revision"]), LONGEST_REVISION)
}

/// What is wrong: first that nothing is known, then the first of what somebody has to mend.
fn trouble(shown: &Shown) -> Option<Line<'static>> {
    if let Some(away) = &shown.away {
        let sentence = format!("The daemon is away since {}: {}", away.since, escaped(&away.reason));
        return Some(Line::from(said(sentence, Tone::Bad)));
    }
    let problems = &shown.picture.problems;
    let more = problems.len().saturating_sub(1);
    let more = if more > 0 { format!("PROBLEM (and {more} more: `pointsman status`)") } else { "PROBLEM".to_owned() };
    problems.first().map(|problem| Line::from(said(format!("{more}  {problem}"), Tone::Bad)))
}
