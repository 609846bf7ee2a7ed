//! `stats`: every counter.

use anyhow::Result;
use serde_json::{Value, json};

use super::client::Connection;
use super::table::{Cell, Table, figure, name};

/// Prints every counter; for people, those that are not zero.
pub fn stats(connection: &Connection) -> Result<()> {
    connection.show("stats", &json!({}), |stats| {
        let mut table = Table::new(&[name("COUNTER"), name("OF"), figure("VALUE")]);
        for (counter, value) in stats.as_object().into_iter().flatten() {
            rows(&mut table, counter, "", value);
        }
        table.print();
    })
}

fn rows(table: &mut Table, counter: &str, of: &str, value: &Value) {
    match value {
        Value::Object(members) => {
            for (label, value) in members {
                rows(table, counter, &if of.is_empty() { label.clone() } else { format!("{of} {label}") }, value);
            }
        }
        value if value.is_null() || value.as_f64() == Some(0.0) => {}
        value => table.row(vec![counter.into(), of.into(), Cell::from(value)]),
    }
}
