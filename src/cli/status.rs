//! `status`: how the node is; what is wrong comes first.

use anyhow::Result;
use serde_json::{Value, json};

use super::client::Connection;
use super::colour::Tone;
use super::out::say;
use super::services::{FIRST_COLUMNS, first_cells};
use super::table::{Table, figure, word};
use super::words::{count, duration, number, plain, quoted};

/// Services that are not in force and are shown; `pointsman status --json` shows all.
const MOST_LEFT_OUT: usize = 10;
/// Services that are shown; `pointsman services` shows all.
const MOST_SERVICES: usize = 20;
/// Unreachable endpoints that are shown; `pointsman endpoints` shows all.
const MOST_UNREACHABLE: usize = 10;

/// Prints how the node is.
pub fn status(connection: &Connection) -> Result<()> {
    connection.show("status", &json!({}), |status| {
        let problems = problems(status);
        problems.iter().for_each(|problem| say!("{}", Tone::Bad.paint(&format!("PROBLEM  {problem}"))));
        let warnings = status["warnings"].as_array().map_or(&[][..], Vec::as_slice);
        warnings.iter().for_each(|it| say!("{}", Tone::Notice.paint(&format!("WARNING  {}", plain(it)))));
        if !(problems.is_empty() && warnings.is_empty()) {
            say!();
        }
        print_node(status);
        say!();
        workers(status).print();
        say!();
        print_services(status);
    })
}

fn services_of(status: &Value) -> &[Value] {
    status["services"].as_array().map_or(&[], Vec::as_slice)
}

/// What somebody has to mend, a sentence each.
pub fn problems(status: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    if status["interface_up"] == false {
        problems.push(format!("the interface {} is down", plain(&status["interface"])));
    }
    for (key, what) in [
        ("interface_problem", "interface"),
        ("store_problem", "on disk"),
        ("announce_problem", "VIP routes"),
        ("reload_problem", "reload"),
        ("seed_problem", "flow hash"),
    ] {
        problems.extend(status[key].as_str().map(|problem| format!("{what}: {}", plain(&problem.into()))));
    }
    problems.extend(left_out(status));
    let told = status["problems"].as_array().into_iter().flatten();
    problems.extend(told.map(|told| plain(&told["problem"])));
    let mut unreachable = Vec::new();
    for service in services_of(status) {
        for (endpoint, reason) in service["unreachable"].as_object().into_iter().flatten() {
            let endpoint = plain(&endpoint.as_str().into());
            unreachable.push(format!("{endpoint} of {} is unreachable: {}", plain(&service["name"]), plain(reason)));
        }
    }
    let more = unreachable.len().saturating_sub(MOST_UNREACHABLE);
    problems.extend(unreachable.into_iter().take(MOST_UNREACHABLE));
    if more > 0 {
        problems.push(format!("and {} unreachable, too: `pointsman endpoints`", are(more, "more endpoint")));
    }
    problems
}

/// The services of the syncer's that are not in force.
fn left_out(status: &Value) -> Vec<String> {
    let all = status["left_out"].as_array().map_or(&[][..], Vec::as_slice);
    let sentence =
        |left: &Value| format!("the service {} is not in force: {}", plain(&left["service"]), plain(&left["reason"]));
    let mut said: Vec<String> = all.iter().take(MOST_LEFT_OUT).map(sentence).collect();
    let more = all.len().saturating_sub(MOST_LEFT_OUT);
    if more > 0 {
        said.push(format!("and {} not in force, too: `pointsman status --json`", are(more, "more service")));
    }
    said
}

/// "1 more endpoint is", "2 more endpoints are".
fn are(number: usize, what: &str) -> String {
    format!("{} {}", count(number as u64, what), if number == 1 { "is" } else { "are" })
}

fn print_node(status: &Value) {
    let said = |key: &str| plain(&status[key]);
    let driver = match status["mode"].as_str() {
        Some(mode) => format!("{}, {mode}", said("driver")),
        None => said("driver"),
    };
    let (state, tone) =
        if status["draining"] == true { ("draining", Tone::Notice) } else { ("forwarding", Tone::Good) };
    let announced = status["announced"].as_array().map_or(0, Vec::len);
    let up = if status["interface_up"] == false { Tone::Bad.paint("down") } else { "up".to_owned() };
    for (title, value) in [
        ("node", format!("{}, {}", said("node"), tone.paint(state))),
        ("version", format!("{}, up for {}", said("version"), duration(number(&status["uptime"])))),
        ("revision", format!("{} as generation {}", quoted(&status["revision"]), said("generation"))),
        ("interface", format!("{}, {up}", said("interface"))),
        ("driver", driver),
        ("underlay MTU", said("underlay_mtu")),
        ("hash seed", format!("fingerprint {}", said("hash_seed_fingerprint"))),
        ("announced", count(announced as u64, "VIP")),
    ] {
        say!("{}  {value}", Tone::Heading.paint(&format!("{title:<12}")));
    }
}

fn workers(status: &Value) -> Table {
    let mut table = Table::new(&[figure("WORKER"), figure("QUEUE"), figure("CORE"), word("ZERO COPY")]);
    for worker in status["workers"].as_array().into_iter().flatten() {
        table.row(["worker", "queue", "core", "zero_copy"].iter().map(|key| (&worker[key]).into()).collect());
    }
    table
}

fn print_services(status: &Value) {
    let services = services_of(status);
    let sum = |state: &str| services.iter().map(|service| number(&service["endpoints"][state])).sum::<u64>();
    let (active, draining, down) = (sum("active"), sum("draining"), sum("down"));
    say!(
        "{}, {}: {active} active, {draining} draining, {down} down",
        count(services.len() as u64, "service"),
        count(active + draining + down, "endpoint"),
    );
    if services.is_empty() {
        return;
    }
    say!();
    let mut shown: Vec<&Value> = services.iter().collect();
    shown.sort_by_key(|service| urgency(service));
    let mut table = Table::new(&FIRST_COLUMNS);
    shown.iter().take(MOST_SERVICES).for_each(|service| table.row(first_cells(service)));
    table.print();
    let more = services.len().saturating_sub(MOST_SERVICES);
    if more > 0 {
        say!("and {}: `pointsman services`", count(more as u64, "more service"));
    }
}

/// Where a service stands among those shown: what may need a look comes first, all else stays in the order of names.
fn urgency(service: &Value) -> u8 {
    let endpoints = &service["endpoints"];
    let has_unreachable = service["unreachable"].as_object().is_some_and(|unreachable| !unreachable.is_empty());
    if number(&endpoints["active"]) == 0 {
        0
    } else if has_unreachable {
        1
    } else if number(&endpoints["down"]) > 0 {
        2
    } else {
        3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_sentences_and_not_too_many() {
        let unreachable: serde_json::Map<String, Value> =
            (0..12).map(|i| (format!("e{i:02}"), json!("no route"))).collect();
        let left_out: Vec<Value> =
            (0..11).map(|i| json!({ "service": format!("s{i:02}"), "reason": "taken" })).collect();
        let status = json!({ "interface": "eth0", "interface_up": false, "store_problem": "disk full",
            "left_out": left_out,
            "problems": [{ "kind": "small_mtu", "service": "web", "problem": "web: the MTU is too small" }],
            "services": [{ "name": "web", "unreachable": unreachable }] });
        let problems = problems(&status);
        assert_eq!(problems.len(), 3 + MOST_LEFT_OUT + 1 + MOST_UNREACHABLE + 1);
        assert_eq!((problems[0].as_str(), problems[1].as_str()), ("the interface eth0 is down", "on disk: disk full"));
        assert_eq!(problems[2], "the service s00 is not in force: taken");
        assert_eq!(problems[12], "and 1 more service is not in force, too: `pointsman status --json`");
        assert_eq!(problems[13], "web: the MTU is too small");
        assert_eq!(problems[14], "e00 of web is unreachable: no route");
        assert_eq!(problems[24], "and 2 more endpoints are unreachable, too: `pointsman endpoints`");
    }
}
