//! Clients: flows that begin, speak and end, as many at any time as there were at first.

use super::random::Random;

/// Seconds in which the flows of the start begin.
pub const ARRIVAL: u32 = 60;
/// How long a flow lives, in seconds: few live long, but those make up most that are alive at any time.
const LIFE: (f64, f64) = (120.0, 14_400.0);
const LIFE_EXPONENT: f64 = 1.2;
/// How long flows are silent, in seconds: these speak at least once a window of 600 ...
const SILENCE: (u32, u32) = (100, 595);
/// ... and these do not.
const LONG_SILENCE: (u32, u32) = (600, 1_800);
/// The number of seconds that are scheduled ahead: more than any silence.
const HORIZON: usize = 2_048;

/// What a packet is to its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A TCP SYN.
    Syn,
    /// A TCP segment without SYN, FIN or RST.
    Segment,
    /// A TCP FIN.
    Fin,
    /// A UDP datagram.
    Datagram,
}

/// A flow of some client.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// Its number among all flows of the run: gives it addresses and ports of its own.
    pub number: u64,
    /// When its first packet comes.
    pub begins: u32,
    /// When its last one does.
    ends: u32,
    is_udp: bool,
    speaks_rarely: bool,
    /// Whether its first packet is the next one.
    is_new: bool,
}

/// The flows that are alive, and when each speaks next.
pub struct Clients {
    random: Random,
    rare: f64,
    flows: Vec<Flow>,
    /// By second, modulo its length: the places in `flows` of those that speak then.
    schedule: Vec<Vec<u32>>,
    begun: u64,
}

/// One in ten flows is UDP.
const UDP: f64 = 0.1;

impl Clients {
    /// So many flows, the share `rare` of which does not speak once a window. They begin in the first [`ARRIVAL`] seconds.
    pub fn new(count: usize, rare: f64, seed: u64) -> Self {
        let schedule = vec![Vec::new(); HORIZON];
        let mut clients =
            Self { random: Random::new(seed), rare, flows: Vec::with_capacity(count), schedule, begun: 0 };
        for place in 0..count {
            let begins = clients.random.below(ARRIVAL);
            // The longer a life, the likelier it is to be met in the middle.
            let life = clients.random.heavy_tailed(LIFE, LIFE_EXPONENT - 1.0);
            let rest = life * clients.random.share();
            let flow = clients.begin(begins, rest as u32);
            clients.flows.push(flow);
            clients.schedule[begins as usize].push(place as u32);
        }
        clients
    }

    fn begin(&mut self, begins: u32, life: u32) -> Flow {
        self.begun += 1;
        let (is_udp, speaks_rarely) = (self.random.share() < UDP, self.random.share() < self.rare);
        Flow { number: self.begun, begins, ends: begins + life.max(2), is_udp, speaks_rarely, is_new: true }
    }

    /// How many have begun, or are about to.
    pub fn begun(&self) -> u64 {
        self.begun
    }

    /// How many are alive at a time.
    pub fn count(&self) -> usize {
        self.flows.len()
    }

    /// The places of the flows that speak in this second. Each is to [`speak`](Self::speak); then there may be more that
    /// speak again in the same second.
    pub fn due(&mut self, second: u32) -> Vec<u32> {
        std::mem::take(&mut self.schedule[second as usize % HORIZON])
    }

    /// The packet with which a flow speaks in this second. After its last packet another flow takes its place.
    pub fn speak(&mut self, place: u32, second: u32) -> (Flow, Part) {
        let flow = self.flows[place as usize];
        let part = match flow {
            Flow { is_udp: true, .. } => Part::Datagram,
            Flow { is_new: true, .. } => Part::Syn,
            Flow { ends, .. } if second >= ends => Part::Fin,
            _ => Part::Segment,
        };
        let next = if second >= flow.ends {
            let life = self.random.heavy_tailed(LIFE, LIFE_EXPONENT);
            self.flows[place as usize] = self.begin(second + 1, life as u32);
            second + 1
        } else {
            self.flows[place as usize].is_new = false;
            self.next_packet(&flow, second)
        };
        self.schedule[next as usize % HORIZON].push(place);
        (flow, part)
    }

    fn next_packet(&mut self, flow: &Flow, second: u32) -> u32 {
        // The handshake ends, or an answer is confirmed, at once.
        if flow.is_new {
            return second;
        }
        let (least, most) = if flow.speaks_rarely { LONG_SILENCE } else { SILENCE };
        (second + least + self.random.below(most - least)).min(flow.ends.max(second + 1))
    }
}
