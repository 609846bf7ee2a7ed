//! What needs neither root nor a node: the library, and commands that talk to nobody.

mod architecture;
mod consistency;
mod documented_commands;
mod drained;
mod forward;
mod golden;
mod handover;
mod install_missing;
mod lookup;
mod matching_cost;
mod openers;
mod polling;
mod renamed;
mod replay;
mod schema;
mod shipped_files;
mod text;
