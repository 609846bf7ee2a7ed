//! `endpoints`: each endpoint, its share, what it was sent and what is left of it.

use anyhow::Result;
use serde_json::{Value, json};

use super::client::Connection;
use super::colour::Tone;
use super::table::{Cell, Table, figure, name, word};
use super::words::{number, percent};

/// `pointsman endpoints`
#[derive(Debug, clap::Args)]
pub struct Endpoints {
    /// Only those of this service
    service: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

/// Prints the endpoints of one service, or of all.
pub fn endpoints(args: &Endpoints) -> Result<()> {
    let params = args.service.as_ref().map_or(json!({}), |service| json!({ "service": service }));
    args.connection.show("endpoints", &params, |answer| table(answer).print())
}

fn table(answer: &Value) -> Table {
    let mut table = Table::new(&[
        name("SERVICE"),
        name("ENDPOINT"),
        word("ADDRESS"),
        word("STATE"),
        figure("WEIGHT"),
        figure("SHARE"),
        figure("PACKETS"),
        figure("TRACKED"),
        figure("REMEMBERED"),
        word("NEXT HOP"),
    ]);
    for endpoint in answer["endpoints"].as_array().into_iter().flatten() {
        let state = match endpoint["state"].as_str() {
            Some("active") => Tone::Good,
            Some("draining") => Tone::Notice,
            _ => Tone::Bad,
        };
        table.row(vec![
            (&endpoint["service"]).into(),
            (&endpoint["endpoint"]).into(),
            (&endpoint["address"]).into(),
            Cell::from(&endpoint["state"]).tone(state),
            (&endpoint["weight"]).into(),
            percent(number(&endpoint["slots"]), number(&endpoint["table_size"])).into(),
            (&endpoint["packets"]).into(),
            (&endpoint["tracked_flows"]).into(),
            (&endpoint["remembered_slots"]).into(),
            next_hop(endpoint),
        ]);
    }
    table
}

/// Where packets go first, or why nowhere.
fn next_hop(endpoint: &Value) -> Cell {
    match &endpoint["unreachable"] {
        Value::Null => (&endpoint["next_hop"]).into(),
        reason => Cell::from(reason).tone(Tone::Bad),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_an_endpoint_is_not_reached_stands_in_the_place_of_its_next_hop() {
        let endpoint = json!({ "service": "web", "endpoint": "a", "state": "active", "slots": 1, "table_size": 3,
            "next_hop": null, "unreachable": "no route" });
        let text = table(&json!({ "endpoints": [endpoint] })).text(None);
        assert!(text.ends_with("  no route\n") && text.contains("33.3 %"), "{text}");
    }
}
