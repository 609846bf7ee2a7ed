//! Workers that go on where those of another process stop.
#![allow(unsafe_code, reason = "only here is it known that a worker of another process has stopped")]

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use super::{MakeKit, Seat, Workers, spawn, tracked_flows};
use crate::config::Config;
use crate::control::node::{Node, WorkerFacts};
use crate::daemon::driver::QueueIo;
use crate::daemon::upgrade::relay;
use crate::forward::Flows;
use crate::forward::track::Tracked;
use crate::stats::Board;
use crate::worker::Kit;
use crate::worker::table::{Shared, TableFile};

/// What a worker of another process leaves to the one that waits for it.
pub struct Legacy {
    /// By which it will tell what it had.
    pub relay: UnixStream,
    /// Where its tracked flows lie, if this one can go on with them there.
    pub table: Option<(TableFile, Shared)>,
}

/// What a worker says that takes over from one of another process.
pub enum News {
    /// It waits for what the other one had; all else is done.
    Waits,
    /// The one with this number has begun: for how many nanoseconds nobody worked, or why it has not.
    Begun(usize, io::Result<u64>),
}

/// A worker that waits.
struct Heir {
    number: usize,
    relay: UnixStream,
    /// Where tracked flows lie, if this one goes on with them there.
    shared: Option<Shared>,
    news: Sender<News>,
}

impl Workers {
    /// Has workers wait for what those of another process had, to go on with it at these queues, each on its core. All that
    /// takes time is done before: `news` is told of each when it waits, and when it has begun. Answers what there is to say of
    /// each.
    pub fn await_relays(
        &mut self,
        queues: Vec<(u32, QueueIo, Legacy)>,
        cores: Vec<usize>,
        config: &Config,
        (node, news): (&mut Node, &Sender<News>),
    ) -> io::Result<Vec<WorkerFacts>> {
        let (mut facts, window) = (Vec::new(), config.handover.window_seconds());
        for (number, ((queue, io, Legacy { relay, table }), core)) in queues.into_iter().zip(cores).enumerate() {
            let (inbox, board) = (node.add_worker()?, Arc::<Board>::default());
            // Nobody need wait for one that does not forward yet.
            inbox.leave();
            let (table, shared, content) = match table {
                Some((table, shared)) => (table, Some(shared), None),
                None => {
                    let (table, content) = TableFile::new(tracked_flows(config))?;
                    (table, None, Some(content))
                }
            };
            let heir = Heir { number, relay, shared, news: news.clone() };
            let (zero_copy, shown) = (io.zero_copy(), board.clone());
            facts.push(WorkerFacts { queue: Some(queue), core: Some(core), zero_copy, board: board.clone() });
            let make_kit: MakeKit = Box::new(move |io| {
                // One that goes on where tracked flows lie has no memory for any before.
                let new = || Tracked::new(1, window);
                let tracked = content.map_or_else(new, |content| Tracked::over(content.look(), window));
                heir.take_over(io, Kit::new(inbox, shown, Flows::with(tracked)))
            });
            let place = spawn((number, core), (queue, io), make_kit, config).map_err(|unstarted| unstarted.error)?;
            self.0.push(Seat { place, board, table });
        }
        Ok(facts)
    }
}

impl Heir {
    /// Waits for what the other one had, and takes it over; none where there is nothing to go on with.
    fn take_over(self, queue: &mut QueueIo, mut kit: Kit) -> Option<Kit> {
        self.shared.iter().for_each(Shared::make_present);
        _ = self.news.send(News::Waits);
        let result = relay::hear(&self.relay).transpose()?.and_then(|told| {
            // SAFETY: the worker that had the queue has told what it had when it stopped. It goes on only after this process.
            unsafe { queue.take_over(told.free) }?;
            kit.inbox.arrive();
            kit.take_over(&told.carried);
            relay::hear_tracked(&self.relay, told.tracked, self.shared, &mut kit)?;
            Ok(queue.now().since(told.left))
        });
        let has_begun = result.is_ok();
        _ = self.news.send(News::Begun(self.number, result));
        has_begun.then_some(kit)
    }
}
