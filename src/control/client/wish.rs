//! Upgrades that clients ask for: each for a program, and who asks for the same waits for the same upgrade.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::Value;

use super::Client;
use crate::control::protocol::Fault;
use crate::document::Tree;
use crate::upgrade::Asked;

/// An upgrade that a client has asked for.
pub(super) struct Wish {
    /// Of its question; none: it wants no answer.
    id: Option<Value>,
    /// The program that is to take over; none: the daemon's own.
    binary: Option<PathBuf>,
    since: Instant,
    /// The upgrade that goes on, or is just over, is the one that it has asked for.
    pub(super) is_served: bool,
}

impl Wish {
    pub(super) fn new(id: Option<Value>, binary: Option<PathBuf>) -> Self {
        Self { id, binary, since: Instant::now(), is_served: false }
    }

    pub(super) fn of(asked: &Asked, is_served: bool) -> Self {
        let id = asked.id.as_ref().and_then(|id| serde_json::from_str(id).ok());
        Self { is_served, ..Self::new(id, asked.binary.clone()) }
    }

    pub(super) fn to_asked(&self) -> Asked {
        Asked { id: self.id.as_ref().map(Value::to_string), binary: self.binary.clone() }
    }
}

/// The program that the parameters of `upgrade` name, if they do.
pub(super) fn wanted_binary(params: &Tree<'_>) -> Result<Option<PathBuf>, Fault> {
    let Some(binary) = params.get("binary").filter(|binary| **binary != Tree::Null) else { return Ok(None) };
    let path = binary.as_text().map(PathBuf::from).filter(|path| path.is_absolute());
    let path =
        path.ok_or_else(|| Fault::invalid_param("binary", format!("{} is no absolute path", binary.to_value())))?;
    if !path.is_file() {
        return Err(Fault::invalid_param("binary", format!("there is no file {}", path.display())));
    }
    Ok(Some(path))
}

impl Client {
    /// Since when it waits for an upgrade, and to which program, if it does; none: the daemon's own.
    pub fn wanted_upgrade(&self) -> Option<(Instant, Option<&Path>)> {
        self.upgrade.as_ref().map(|wish| (wish.since, wish.binary.as_deref()))
    }

    /// An upgrade to this program begins. What it has asked for is that, or waits for its turn; `own` is the daemon's program.
    pub fn serve_upgrade(&mut self, binary: &Path, own: &Path) {
        if let Some(wish) = &mut self.upgrade {
            wish.is_served = wish.binary.as_deref().unwrap_or(own) == binary;
        }
    }

    /// Answers its question for the upgrade that is over, if it has asked for that; says whether it has.
    pub fn answer_upgrade(&mut self, result: &Result<Value, Fault>) -> bool {
        let Some(wish) = self.upgrade.take_if(|wish| wish.is_served) else { return false };
        self.answer(wish.id, result);
        true
    }

    /// Answers that there is no upgrade, if it has asked for any; says whether it has.
    pub fn refuse_upgrade(&mut self, fault: &Fault) -> bool {
        let Some(wish) = self.upgrade.take() else { return false };
        self.answer(wish.id, &Err(fault.clone()));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_program_that_is_not_there_is_no_wish_for_the_daemons_own() {
        let wanted = |params: Value| wanted_binary(&params.into());
        assert_eq!(wanted(json!({})), Ok(None));
        assert_eq!(wanted(json!({ "binary": null })), Ok(None));
        assert_eq!(wanted(json!({ "binary": "/bin/sh" })), Ok(Some(PathBuf::from("/bin/sh"))));
        for wrong in [json!({ "binary": "sh" }), json!({ "binary": "/nowhere" }), json!({ "binary": [1] })] {
            assert_eq!(wanted(wrong.clone()).map_err(|fault| fault.code), Err(-32602), "{wrong}");
        }
    }
}
