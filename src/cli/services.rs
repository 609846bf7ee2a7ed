//! `services`: each service, its endpoints by state, and what its tables are.

use anyhow::Result;
use serde_json::{Value, json};

use super::client::{Connection, print_json};
use super::colour::Tone;
use super::table::{Cell, Column, Table, figure, name, word};
use super::words::{number, or_any, plain};

/// The columns that say what a service is for and what it has; [`first_cells`] fills them.
pub const FIRST_COLUMNS: [Column; 7] = [
    name("SERVICE"),
    word("VIP"),
    word("PROTOCOL"),
    name("PORTS"),
    figure("ACTIVE"),
    figure("DRAINING"),
    figure("DOWN"),
];

const MORE_COLUMNS: [Column; 7] = [
    figure("TABLE"),
    word("FINGERPRINT"),
    figure("REMEMBERING"),
    figure("TRACKED"),
    figure("INNER MTU"),
    figure("MSS"),
    figure("PACKETS"),
];

/// Prints all services.
pub fn services(connection: &Connection) -> Result<()> {
    let mut session = connection.open()?;
    let mut services = session.ask("status", &json!({}))?["services"].take();
    count_packets(&mut services, &session.ask("stats", &json!({}))?);
    if connection.json {
        print_json(&json!({ "services": services }));
    } else {
        table(&services).print();
    }
    Ok(())
}

/// Puts to each service what it was sent.
fn count_packets(services: &mut Value, stats: &Value) {
    for service in services.as_array_mut().into_iter().flatten() {
        let Some(name) = service["name"].as_str().map(str::to_owned) else { continue };
        for (key, counter) in
            [("packets", "pointsman_service_packets_total"), ("bytes", "pointsman_service_bytes_total")]
        {
            service[key] = stats[counter].get(&name).cloned().unwrap_or(json!(0));
        }
    }
}

fn table(services: &Value) -> Table {
    let services = services.as_array().map_or(&[][..], Vec::as_slice);
    let has_encap = services.iter().any(|service| !service["encap"].is_null());
    let mut columns = FIRST_COLUMNS.to_vec();
    columns.extend(has_encap.then_some(word("ENCAP")));
    columns.extend(MORE_COLUMNS);
    let mut table = Table::new(&columns);
    for service in services {
        let mut row = first_cells(service);
        row.extend(has_encap.then(|| encap(&service["encap"]).into()));
        row.extend(more_cells(service));
        table.row(row);
    }
    table
}

/// The cells of [`FIRST_COLUMNS`].
pub fn first_cells(service: &Value) -> Vec<Cell> {
    let endpoints = &service["endpoints"];
    let if_any = |key: &str, tone| {
        Cell::from(&endpoints[key]).tone(if number(&endpoints[key]) > 0 { tone } else { Tone::Plain })
    };
    let active = if number(&endpoints["active"]) > 0 { Tone::Good } else { Tone::Bad };
    vec![
        (&service["name"]).into(),
        (&service["vip"]).into(),
        or_any(&service["protocol"]).into(),
        or_any(&service["ports"]).into(),
        Cell::from(&endpoints["active"]).tone(active),
        if_any("draining", Tone::Notice),
        if_any("down", Tone::Bad),
    ]
}

fn more_cells(service: &Value) -> Vec<Cell> {
    let is_lowered = service["lowered_mtu"].as_object().is_some_and(|lowered| !lowered.is_empty());
    let size = |key: &str| Cell::from(&service[key]).tone(if is_lowered { Tone::Notice } else { Tone::Plain });
    let handover = |key: &str| Cell::from(&service["handover"][key]);
    vec![
        (&service["table_size"]).into(),
        Cell::from(&service["fingerprint"]).tone(Tone::Faint),
        handover("slots"),
        handover("tracked_flows"),
        size("inner_mtu"),
        size("mss"),
        (&service["packets"]).into(),
    ]
}

/// How packets are carried, in words: the type, then what else it has.
fn encap(encap: &Value) -> String {
    let mut said = vec![plain(&encap["type"])];
    let more = encap.as_object().into_iter().flatten().filter(|(key, _)| *key != "type");
    said.extend(more.map(|(key, value)| format!("{key} {}", plain(value))));
    said.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_service_was_sent_stands_in_its_row() {
        let mut services = json!([{ "name": "a" }, { "name": "new" }]);
        let stats =
            json!({ "pointsman_service_packets_total": { "a": 7 }, "pointsman_service_bytes_total": { "a": 700 } });
        count_packets(&mut services, &stats);
        assert_eq!((&services[0]["packets"], &services[0]["bytes"]), (&json!(7), &json!(700)));
        assert_eq!(services[1]["packets"], 0, "it came between the two questions");
        assert!(table(&services).text(None).lines().nth(1).is_some_and(|row| row.ends_with("      7")));
    }

    #[test]
    fn an_encapsulation_is_said_in_words() {
        let said = |value: Value| encap(&value);
        assert_eq!(said(json!({ "type": "gre", "key": 7 })), "gre key 7");
        assert_eq!(said(json!({ "type": "ipip" })), "ipip");
        let status = json!([{ "name": "a", "encap": { "type": "mpls", "over": "gre" } }, { "name": "b" }]);
        let text = table(&status).text(None);
        assert!(text.contains("  ENCAP") && text.contains("  mpls over gre  "), "{text}");
    }
}
