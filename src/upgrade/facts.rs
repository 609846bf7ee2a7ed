//! What of the config cannot change by an upgrade: the sockets, rings and pins that are handed over are of that kind.

use crate::config::{Config, Driver, XdpMode, ZeroCopy};

/// Those keys with their values, as text. The two processes may be of different versions, so each value has its spelling here,
/// which stays when anything is renamed elsewhere; that of form 1 is what it happened to be at first.
pub fn facts(config: &Config) -> Vec<(String, String)> {
    let interface = &config.interface;
    let fact = |name: &str, value: String| (name.to_owned(), value);
    vec![
        fact("node.state_dir", config.node.state_dir.display().to_string()),
        fact("interface.name", interface.name.clone()),
        fact("interface.driver", driver(interface.driver).to_owned()),
        fact("interface.xdp_mode", xdp_mode(interface.xdp_mode).to_owned()),
        fact("interface.zero_copy", zero_copy(interface.zero_copy).to_owned()),
        fact("interface.queues", queues(interface.queues.as_deref())),
        fact("interface.frames", interface.frames.to_string()),
        fact("interface.pin", interface.pin.display().to_string()),
        fact("hash.seed", format!("Seed([{}])", listed(&config.seed.0))),
        fact("control.socket", config.control.socket.display().to_string()),
        fact("metrics.listen", config.metrics_listen.to_string()),
    ]
}

fn driver(driver: Driver) -> &'static str {
    match driver {
        Driver::Auto => "Auto",
        Driver::AfXdp => "AfXdp",
        Driver::AfPacket => "AfPacket",
    }
}

fn xdp_mode(mode: XdpMode) -> &'static str {
    match mode {
        XdpMode::Auto => "Auto",
        XdpMode::Native => "Native",
        XdpMode::Generic => "Generic",
    }
}

fn zero_copy(zero_copy: ZeroCopy) -> &'static str {
    match zero_copy {
        ZeroCopy::Auto => "Auto",
        ZeroCopy::On => "On",
        ZeroCopy::Off => "Off",
    }
}

fn queues(queues: Option<&[u32]>) -> String {
    queues.map_or_else(|| "None".to_owned(), |queues| format!("Some([{}])", listed(queues)))
}

fn listed(numbers: &[impl ToString]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The keys whose values are not the same in both.
pub fn differences(old: &[(String, String)], new: &[(String, String)]) -> Vec<String> {
    let missing = old.iter().filter(|fact| !new.contains(fact)).chain(new.iter().filter(|fact| !old.contains(fact)));
    let mut names: Vec<String> = missing.map(|(name, _)| name.clone()).collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    /// What the first version says of two configs. Each later one that reads form 1 has to say the same of them.
    #[test]
    fn the_facts_of_form_1_keep_their_spelling() {
        let shown: Vec<Vec<(String, String)>> = include_str!("form-1-facts.jsonl")
            .lines()
            .map(|line| serde_json::from_str(line).expect("names and values"))
            .collect();
        let least = config::parse("[node]\nname = \"edge\"\n[interface]\nname = \"eth0\"\n").expect("valid");
        let most = config::parse(include_str!("../config/every-key.toml")).expect("valid");
        assert_eq!(shown, [facts(&least), facts(&most)]);
    }

    #[test]
    fn what_differs_is_named_once() {
        let least = config::parse("[interface]\nname = \"eth0\"\n").expect("valid");
        let more = config::parse(
            "[interface]\nname = \"eth0\"\nframes = 512\nbatch = 32\n[hash]\nseed = \"00112233445566778899aabbccddeeff\"\n",
        );
        let (least, more) = (facts(&least), facts(&more.expect("valid")));
        assert_eq!(differences(&least, &least), [""; 0]);
        assert_eq!(differences(&least, &more), ["hash.seed", "interface.frames"]);
        assert_eq!(differences(&least, &more[1..]), ["hash.seed", "interface.frames", "node.state_dir"]);
    }
}
