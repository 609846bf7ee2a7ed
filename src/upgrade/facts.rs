//! What of the config cannot change by an upgrade: the sockets, rings and pins that are handed over are of that kind.

use crate::config::Config;

/// Those keys with their values, as text.
pub fn facts(config: &Config) -> Vec<(String, String)> {
    let interface = &config.interface;
    let fact = |name: &str, value: String| (name.to_owned(), value);
    vec![
        fact("node.state_dir", config.node.state_dir.display().to_string()),
        fact("interface.name", interface.name.clone()),
        fact("interface.driver", format!("{:?}", interface.driver)),
        fact("interface.xdp_mode", format!("{:?}", interface.xdp_mode)),
        fact("interface.zero_copy", format!("{:?}", interface.zero_copy)),
        fact("interface.queues", format!("{:?}", interface.queues)),
        fact("interface.frames", interface.frames.to_string()),
        fact("interface.pin", interface.pin.display().to_string()),
        fact("hash.seed", format!("{:?}", config.seed)),
        fact("control.socket", config.control.socket.display().to_string()),
        fact("metrics.listen", config.metrics_listen.to_string()),
    ]
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
