//! What is accepted, and hardly meant: a sentence each, for `apply`, `check` and `status`.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use crate::model::Service;

/// Sentences of one answer; a set with more of them is wrong as a whole.
const MOST: usize = 20;

/// What to look at in these services, and how much more there is. `subnet_addresses`: the node's addresses that have a subnet
/// with them; none where the node cannot be seen.
pub fn advice<'a>(
    services: impl Iterator<Item = &'a Arc<Service>>,
    subnet_addresses: &BTreeSet<IpAddr>,
) -> Vec<String> {
    let (mut said, mut all) = (Vec::new(), 0);
    for service in services {
        look(service, subnet_addresses, |sentence| {
            all += 1;
            if said.len() < MOST {
                said.push(format!("{}: {sentence}", service.name));
            }
        });
    }
    if all > said.len() {
        said.push(format!("and {} more of this kind", all - said.len()));
    }
    said
}

fn look(service: &Service, subnet_addresses: &BTreeSet<IpAddr>, mut say: impl FnMut(String)) {
    let mut names: HashMap<IpAddr, &str> = HashMap::with_capacity(service.endpoints.len());
    for endpoint in &service.endpoints {
        if let Some(first) = names.insert(endpoint.address, &endpoint.name) {
            let (name, address) = (&endpoint.name, endpoint.address);
            say(format!("\"{first}\" and \"{name}\" are both at {address}, which gets the share of both"));
        }
    }
    let active = service.endpoints.iter().filter(|endpoint| endpoint.table_weight() > 0).count();
    let slots = service.table_size() as usize;
    if active > slots {
        say(format!("{active} active endpoints and {slots} slots: {} get no flow; raise table_size", active - slots));
    }
    let vip = service.vip;
    if vip.prefix_len() == vip.max_prefix_len() && subnet_addresses.contains(&vip.addr()) {
        say(format!(
            "the VIP {} is an address of this node with a subnet of its own: what is meant for the node is forwarded, too; \
             give a VIP to the node as an address of full length, or not at all",
            vip.addr()
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint_set;

    fn said(services: &str, own: &[&str]) -> Vec<String> {
        let set = endpoint_set::parse(&format!(r#"{{"services":[{services}]}}"#)).expect("valid");
        let own = own.iter().map(|own| own.parse().expect("an address")).collect();
        advice(set.services.iter(), &own)
    }

    #[test]
    fn what_is_hardly_meant_is_said() {
        let endpoint = |i: u16| format!(r#"{{"name":"e{i}","address":"2001:db8::{i:x}"}}"#);
        let service = |more: &str, endpoints: &str| {
            format!(r#"{{"name":"web","vip":"203.0.113.1"{more},"endpoints":[{endpoints}]}}"#)
        };
        let three = [1, 2, 3].map(endpoint).join(",");
        assert_eq!(said(&service("", &three), &["192.0.2.1"]), Vec::<String>::new());
        let twice = format!(r#"{three},{{"name":"e4","address":"2001:db8::2"}}"#);
        let expected = "web: \"e2\" and \"e4\" are both at 2001:db8::2, which gets the share of both";
        assert_eq!(said(&service("", &twice), &[]), [expected]);
        let expected = "web: 3 active endpoints and 2 slots: 1 get no flow; raise table_size";
        assert_eq!(said(&service(r#","table_size":2"#, &three), &[]), [expected]);
        let drained = three.replace(r#""e3","#, r#""e3","state":"down","#);
        assert_eq!(said(&service(r#","table_size":2"#, &drained), &[]), Vec::<String>::new());
        let own = said(&service("", &three), &["203.0.113.1"]);
        assert!(own.len() == 1 && own[0].starts_with("web: the VIP 203.0.113.1 is an address of this node"), "{own:?}");
    }

    #[test]
    fn no_set_fills_an_answer_with_them() {
        let endpoints: Vec<String> =
            (0..100).map(|i| format!(r#"{{"name":"e{i}","address":"2001:db8::1"}}"#)).collect();
        let said = said(&format!(r#"{{"name":"web","vip":"203.0.113.1","endpoints":[{}]}}"#, endpoints.join(",")), &[]);
        assert_eq!((said.len(), said[MOST].as_str()), (MOST + 1, "and 79 more of this kind"));
    }
}
