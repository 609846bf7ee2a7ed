//! The XDP program `decap`: loading it, and knowing it again on an interface.

use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use aya::maps::{HashMap, Map, MapData, MapError, MapType};
use aya::programs::{ProgramError, Xdp, loaded_programs};
use aya::{Ebpf, EbpfLoader, include_bytes_aligned};

use super::error::EndpointError;

static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/decap.bpf.o"));

const NAME: &str = "decap";
const VIPS: &str = "vips";
const GUE_PORT: &str = "gue_port";

const TO_LOAD: &str = "the capabilities CAP_NET_ADMIN and CAP_BPF";
/// The kernel opens programs by their id for nobody else.
const TO_INSPECT: &str = "the capability CAP_SYS_ADMIN (beside CAP_NET_ADMIN and CAP_BPF)";

/// As `decap.bpf.c` has it.
const MOST_VIPS: u32 = 4096;

type Vips = HashMap<MapData, [u8; 16], u8>;

/// The program, in the kernel but not on an interface. It goes when this is dropped, unless an interface has it.
pub struct Program {
    object: Ebpf,
}

impl Program {
    /// Loads the program, which takes UDP to this port for GUE, and fills its map with these VIPs.
    pub fn load(vips: &[IpAddr], gue_port: u16) -> Result<Self, EndpointError> {
        const DOING: &str = "load the XDP program";
        let mut object = EbpfLoader::new()
            .override_global(GUE_PORT, &gue_port, true)
            .load(OBJECT)
            .map_err(EndpointError::program(DOING, TO_LOAD))?;
        xdp(&mut object).and_then(Xdp::load).map_err(EndpointError::program(DOING, TO_LOAD))?;
        fill(&mut object, vips).map_err(EndpointError::program("fill the program's map of VIPs", TO_LOAD))?;
        Ok(Self { object })
    }

    /// For attaching it.
    pub fn fd(&mut self) -> Result<RawFd, EndpointError> {
        let fd = xdp(&mut self.object).and_then(|program| Ok(program.fd()?.as_fd().as_raw_fd()));
        fd.map_err(EndpointError::program("attach the XDP program", TO_LOAD))
    }
}

fn xdp(object: &mut Ebpf) -> Result<&mut Xdp, ProgramError> {
    object.program_mut(NAME).ok_or(ProgramError::NotLoaded)?.try_into()
}

fn fill(object: &mut Ebpf, vips: &[IpAddr]) -> Result<(), MapError> {
    let missing = || MapError::InvalidName { name: VIPS.into() };
    let mut map: HashMap<_, [u8; 16], u8> = object.map_mut(VIPS).ok_or_else(missing)?.try_into()?;
    vips.iter().try_for_each(|vip| map.insert(key(*vip), 1, 0))
}

/// A program that some interface has.
pub struct Found {
    /// Its name in the kernel.
    pub name: String,
    maps: Vec<u32>,
    /// Where it has no name.
    has_our_maps: bool,
}

impl Found {
    /// Whether it is this room's. The loader gives a program no name where it may not find out whether the kernel knows
    /// names, for which it takes CAP_PERFMON; then it is known by its maps.
    pub fn is_ours(&self) -> bool {
        self.name == NAME || self.has_our_maps
    }

    /// Has it accept packets for these VIPs no more; answers how many others it still accepts.
    pub fn forget(&self, vips: &[IpAddr]) -> Result<usize, EndpointError> {
        let forget = || -> Result<usize, MapError> {
            let mut left = 0;
            for id in &self.maps {
                let map = MapData::from_id(*id)?;
                // The other map is the program's constants.
                if map.info()?.map_type()? != MapType::Hash {
                    continue;
                }
                let mut map = Vips::try_from(Map::HashMap(map))?;
                for vip in vips {
                    let key = key(*vip);
                    match map.get(&key, 0) {
                        Ok(_) => map.remove(&key)?,
                        Err(MapError::KeyNotFound) => {}
                        Err(error) => return Err(error),
                    }
                }
                left += map.keys().count();
            }
            Ok(left)
        };
        forget().map_err(EndpointError::program("change the program's map of VIPs", TO_INSPECT))
    }
}

/// The program with this id; `None` where it has just gone.
pub fn find(id: u32) -> Result<Option<Found>, EndpointError> {
    let find = || -> Result<Option<Found>, ProgramError> {
        let mut refusal = None;
        for program in loaded_programs() {
            match program {
                Ok(program) if program.id() == id => {
                    let name = String::from_utf8_lossy(program.name()).into_owned();
                    let maps = program.map_ids()?.unwrap_or_default();
                    let has_our_maps = name.is_empty() && have_our_shape(&maps)?;
                    return Ok(Some(Found { name, maps, has_our_maps }));
                }
                Ok(_) => {}
                // Also where another process's program went just now: that one was not asked for.
                Err(error) => refusal = Some(error),
            }
        }
        refusal.map_or(Ok(None), Err)
    };
    find().map_err(EndpointError::program("see whose XDP program the interface has", TO_INSPECT))
}

/// Whether these are a map of VIPs and one for the program's constants, and no others.
fn have_our_shape(maps: &[u32]) -> Result<bool, MapError> {
    let mut shapes = Vec::new();
    for id in maps {
        let info = MapData::from_id(*id)?.info()?;
        shapes.push((info.map_type()?, info.key_size(), info.value_size(), info.max_entries()));
    }
    shapes.sort_by_key(|(_, key_size, ..)| *key_size);
    Ok(matches!(shapes[..], [(MapType::Array, 4, 2, 1), (MapType::Hash, 16, 1, MOST_VIPS)]))
}

/// A VIP as `decap.bpf.c` keeps it: IPv4 as `::ffff:a.b.c.d`.
fn key(vip: IpAddr) -> [u8; 16] {
    match vip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}
