//! What needs neither root nor a node: the library, and commands that talk to nobody.

mod architecture;
mod consistency;
mod forward;
mod golden;
mod handover;
mod lookup;
mod matching_cost;
mod offline;
mod polling;
mod replay;
mod schema;
mod shipped_files;
mod text;
