//! What an update does to flows that are under way, beyond what its states say: told before, and as a warning.

use crate::control::renames;
use crate::flow::Affinity;
use crate::model::{EndpointSet, Service};

/// A sentence for each service, up to some, whose flows follow other names, or are hashed anew. Both sets are in the order of
/// names.
pub fn warnings(before: &EndpointSet, after: &EndpointSet) -> Vec<String> {
    let renamed = renames::services(before.services.iter(), after.services.iter());
    let mut warnings = Vec::new();
    for new in &after.services {
        let name = renamed.of(&new.name).unwrap_or(&new.name);
        let Ok(place) = before.services.binary_search_by(|old| old.name.as_str().cmp(name)) else { continue };
        let old = &before.services[place];
        if old == new {
            continue;
        }
        if old.name != new.name {
            warnings
                .push(format!("{}: it was {}; its flows go on as if only the name had changed", new.name, old.name));
        }
        warnings.extend(renamed_endpoints(old, new));
        warnings.extend(other_affinity(old, new));
    }
    warnings
}

fn renamed_endpoints(old: &Service, new: &Service) -> Option<String> {
    let (count, all) = (renames::count(old, new), new.endpoints.len());
    (count > 0).then(|| {
        format!(
            "{}: {count} of its {all} endpoints have other names at the same addresses; flows follow the address",
            new.name
        )
    })
}

fn other_affinity(old: &Service, new: &Service) -> Option<String> {
    let weights: Vec<f64> = new.endpoints.iter().map(|endpoint| endpoint.table_weight().into()).collect();
    let sum: f64 = weights.iter().sum();
    // A flow stays where both of its slots are of one endpoint.
    let stay: f64 = weights.iter().map(|weight| (weight / sum).powi(2)).sum();
    let breaks = old.affinity != new.affinity && sum > 0.0 && stay < 1.0;
    breaks.then(|| {
        format!(
            "{}: affinity goes from {} to {}, which hashes every flow anew: about {:.0} % of those under way get another \
             endpoint and break; what its slots remember is forgotten",
            new.name,
            word(old.affinity),
            word(new.affinity),
            100.0 * (1.0 - stay),
        )
    })
}

fn word(affinity: Affinity) -> &'static str {
    match affinity {
        Affinity::Flow => "flow",
        Affinity::Client => "client",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::endpoint_set;

    fn set(name: &str, affinity: &str, endpoints: &[(&str, u8)]) -> EndpointSet {
        let endpoint = |(name, host): &(&str, u8)| json!({ "name": name, "address": format!("192.0.2.{host}") });
        let endpoints: Vec<Value> = endpoints.iter().map(endpoint).collect();
        let service = json!({ "name": name, "vip": "203.0.113.1", "affinity": affinity, "endpoints": endpoints });
        endpoint_set::read(&json!({ "services": [service] }).into()).expect("valid")
    }

    #[test]
    fn what_breaks_is_said_and_what_does_not_is_not() {
        let (a, b, c) = (("a", 1), ("b", 2), ("c", 3));
        let before = set("web", "flow", &[a, b]);
        for (after, said) in [
            (set("web", "flow", &[a, b]), &[][..]),
            (set("web", "flow", &[a, b, c]), &[]),
            (set("web", "flow", &[("a", 4), b]), &[]),
            (
                set("web", "flow", &[("x", 1), ("y", 2), c]),
                &["web: 2 of its 3 endpoints have other names at the same addresses; flows follow the address"],
            ),
            (set("www", "flow", &[a, b]), &["www: it was web; its flows go on as if only the name had changed"]),
            (
                set("web", "client", &[a, b]),
                &[
                    "web: affinity goes from flow to client, which hashes every flow anew: about 50 % of those under way \
                   get another endpoint and break; what its slots remember is forgotten",
                ],
            ),
            (set("web", "client", &[a]), &[]),
        ] {
            assert_eq!(warnings(&before, &after), said);
        }
    }
}
