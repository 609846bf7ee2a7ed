//! What several tests of one process use by turns, and what ends when the last of them has ended.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// A place for something that is made by the first test that needs it, and lives for as long as one does. A static variable of
/// its own would never be dropped.
pub struct Shared<T> {
    place: Mutex<Weak<Mutex<T>>>,
}

impl<T> Shared<T> {
    /// An empty place.
    pub const fn new() -> Self {
        Self { place: Mutex::new(Weak::new()) }
    }

    /// What is there, or what `make` makes.
    pub fn get(&self, make: impl FnOnce() -> T) -> Arc<Mutex<T>> {
        // Another test's failure is that test's.
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        place.upgrade().unwrap_or_else(|| {
            let made = Arc::new(Mutex::new(make()));
            *place = Arc::downgrade(&made);
            made
        })
    }
}

/// A test's turn, also after another one has failed in its own.
pub fn turn<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
