//! Names of users and groups → numbers, from the system's own files.

use std::fs;

/// The number of a user, by name or already a number.
pub fn user_id(name: &str) -> Option<u32> {
    name.parse().ok().or_else(|| find(&fs::read_to_string("/etc/passwd").ok()?, name))
}

/// The number of a group, by name or already a number.
pub fn group_id(name: &str) -> Option<u32> {
    name.parse().ok().or_else(|| find(&fs::read_to_string("/etc/group").ok()?, name))
}

/// The third field of the line whose first is `name`: passwd(5) and group(5) agree in that.
fn find(file: &str, name: &str) -> Option<u32> {
    let line = file.lines().find(|line| line.split(':').next() == Some(name))?;
    line.split(':').nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_number_of_a_name() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nsyncer:x:998:997::/:/usr/sbin/nologin\n";
        assert_eq!(find(passwd, "syncer"), Some(998));
        assert_eq!(find(passwd, "sync"), None);
        assert_eq!(user_id("root"), Some(0));
        assert_eq!(user_id("1234"), Some(1234));
    }
}
