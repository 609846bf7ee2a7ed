//! Between real kernels: network namespaces, real XDP, and the daemon as an operator runs it. Needs root.

mod announce;
mod anycast;
mod capture;
mod cold_restart;
mod cores;
mod end_to_end;
mod endpoint;
mod faults;
mod faults_stuck;
mod journal;
mod keepalived;
mod packet_sizes;
mod path_mtu;
mod ping;
mod privileges;
mod rolling_update;
mod send_queues;
mod start_stop_crash;
mod state_dir;
mod steer;
mod tagged_frames;
mod underlay;
mod upgrade;
mod upgrade_faults;
mod vlan;
mod xsk;
