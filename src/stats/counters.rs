//! All counters of the node, for whoever wants to read them: the control socket, and the metrics' thread.

use std::sync::{Arc, Mutex, PoisonError};

use super::board::Board;
use super::report::Report;
use super::scene::{Counts, Scene};

/// The workers' boards, and the scene that the control side shows.
#[derive(Debug, Default)]
pub struct Counters {
    /// By worker, with the queue it serves, if any. They change where the interface is opened anew.
    boards: Mutex<Vec<(Option<u32>, Arc<Board>)>>,
    /// Held only for as long as it takes to read numbers, or to put another scene in its place.
    scene: Mutex<Scene>,
}

impl Counters {
    /// The counters of these workers, each with its queue.
    pub fn new(boards: Vec<(Option<u32>, Arc<Board>)>) -> Self {
        Self { boards: Mutex::new(boards), scene: Mutex::default() }
    }

    /// From now on these are the workers.
    pub fn set_boards(&self, boards: Vec<(Option<u32>, Arc<Board>)>) {
        *self.boards.lock().unwrap_or_else(PoisonError::into_inner) = boards;
    }

    fn boards(&self) -> Vec<(Option<u32>, Arc<Board>)> {
        self.boards.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on this scene is read by. Numbers that it does not name may then get another meaning.
    pub fn show(&self, scene: Scene) {
        *self.scene.lock().unwrap_or_else(PoisonError::into_inner) = scene;
    }

    /// Takes in what workers have measured; to be called about once a second.
    pub fn collect(&self) {
        self.boards().iter().for_each(|(_, board)| board.timing().collect());
    }

    /// Every counter.
    pub fn report(&self) -> Report {
        self.report_with(Scene::report)
    }

    /// Every counter but those by endpoint, which can be a hundred times as many as all others.
    pub fn report_of_services(&self) -> Report {
        self.report_with(Scene::report_services)
    }

    fn report_with(&self, add: impl FnOnce(&Scene, &Counts, &mut Report)) -> Report {
        let mut report = Report::default();
        for (number, (queue, board)) in self.boards().iter().enumerate() {
            let (tally, kernel) = board.read();
            report.add_worker(number, &tally);
            if let Some(queue) = queue {
                report.add_kernel(*queue, &kernel);
            }
            report.add_timing(number, &board.timing().read());
        }
        let shown = self.scene.lock().unwrap_or_else(PoisonError::into_inner);
        let (scene, counts) = (shown.clone(), shown.counts());
        drop(shown);
        add(&scene, &counts, &mut report);
        report
    }
}
