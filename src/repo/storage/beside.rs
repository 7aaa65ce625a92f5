//! The same asked of many objects. Where storage is far several are asked at once, by threads that only wait; where it is near, one
//! after another.

use super::{RepoError, Storage};
use std::sync::{
    OnceLock,
    atomic::{AtomicUsize, Ordering},
};

impl Storage {
    /// What comes of both; where storage is far they go on at once, the first one on a thread of its own.
    pub fn both<A: Send, B>(&self, first: impl FnOnce() -> A + Send, second: impl FnOnce() -> B) -> (A, B) {
        if !self.is_far() {
            return (first(), second());
        }
        std::thread::scope(|scope| {
            let first = scope.spawn(first);
            let second = second();
            match first.join() {
                Ok(first) => (first, second),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// What comes of each item, in the order of the items.
    pub fn each_of<T: Sync, R: Send + Sync>(&self, items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
        let threads = if self.is_far() { self.connections().min(items.len()) } else { 1 };
        if threads <= 1 {
            return items.iter().map(work).collect();
        }
        let done: Vec<OnceLock<R>> = items.iter().map(|_| OnceLock::new()).collect();
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some((item, place)) = {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        items.get(number).zip(done.get(number))
                    } {
                        // Nobody else has this item.
                        drop(place.set(work(item)));
                    }
                });
            }
        });
        // A thread that panicked has ended the scope, and with it the caller.
        done.into_iter().filter_map(OnceLock::into_inner).collect()
    }

    /// Deletes objects; what came of each, in their order.
    pub fn delete_each(&self, names: &[String]) -> Vec<Result<(), RepoError>> {
        self.each_of(names, |name| self.delete(name))
    }
}

#[cfg(test)]
mod tests {
    use crate::repo::storage::{Backend, Created, Listed, Promises, Storage};
    use bytes::Bytes;
    use std::{
        io::{self, ErrorKind},
        ops::Range,
        sync::{Arc, Condvar, Mutex},
        time::Duration,
    };

    const TOGETHER: usize = 4;

    /// A place whose deletes are answered when so many have been asked; one at a time would wait for ever, so none waits long.
    #[derive(Default)]
    struct Patient {
        asked: Mutex<usize>,
        bell: Condvar,
    }

    impl Backend for Patient {
        fn list(&self, _: &str) -> io::Result<Vec<Listed>> {
            Ok(Vec::new())
        }

        fn read(&self, _: &str, _: Option<Range<u64>>) -> io::Result<Vec<u8>> {
            Err(ErrorKind::NotFound.into())
        }

        fn create(&self, _: &str, _: &Bytes) -> io::Result<Created> {
            Ok(Created::New)
        }

        fn delete(&self, name: &str) -> io::Result<()> {
            let mut asked = self.asked.lock().unwrap();
            *asked += 1;
            self.bell.notify_all();
            let waits = |asked: &mut usize| *asked < TOGETHER;
            let (_asked, waited) = self.bell.wait_timeout_while(asked, Duration::from_mins(1), waits).unwrap();
            if waited.timed_out() || name.ends_with('3') { Err(ErrorKind::PermissionDenied.into()) } else { Ok(()) }
        }

        fn len(&self, _: &str) -> io::Result<u64> {
            Err(ErrorKind::NotFound.into())
        }

        fn promises(&self) -> Promises {
            Promises { conditional_create: true, prompt_listing: true }
        }

        fn is_far(&self) -> bool {
            true
        }

        fn connections(&self) -> usize {
            TOGETHER
        }
    }

    #[test]
    fn far_objects_are_deleted_side_by_side_and_each_has_its_answer() {
        let storage = Storage::over(Arc::new(Patient::default()), "patient");
        let names: Vec<String> = (0..10).map(|number| format!("leases/{number}")).collect();
        let answers: Vec<bool> = storage.delete_each(&names).iter().map(Result::is_ok).collect();
        assert_eq!(answers, (0..10).map(|number| number != 3).collect::<Vec<_>>());
        assert!(storage.delete_each(&[]).is_empty());
    }

    #[test]
    fn two_pieces_of_work_go_on_at_once_where_storage_is_far() {
        let storage = Storage::over(Arc::new(Patient::default()), "patient");
        let two = |names: [&str; 2]| storage.delete_each(&names.map(str::to_owned)).iter().all(Result::is_ok);
        // Four are waited for.
        let both = storage.both(|| two(["leases/0", "leases/1"]), || two(["leases/2", "leases/4"]));
        assert_eq!(both, (true, true));
    }
}
