//! The scheduler: every actor runs on a thread of its own, but only one at a time. Before each operation on storage it
//! stops and says what it is going to do; whoever holds the scheduler decides who goes on.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Running,
    /// About to do this.
    Waiting(String),
    Done,
}

struct Actor {
    state: State,
    granted: bool,
    killed: bool,
}

#[derive(Default)]
struct Table {
    actors: Vec<Actor>,
}

/// Shared by the actors and whoever directs them.
#[derive(Clone, Default)]
pub struct Scheduler {
    shared: Arc<(Mutex<Table>, Condvar)>,
}

/// The process of this actor is gone.
pub struct Killed;

impl Scheduler {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.shared.0.lock().unwrap()
    }

    fn wait<'a>(&self, table: MutexGuard<'a, Table>) -> MutexGuard<'a, Table> {
        self.shared.1.wait(table).unwrap()
    }

    /// Starts an actor; returns when it has come to its first operation, or has ended.
    pub fn spawn(&self, work: impl FnOnce(usize) + Send + 'static) -> usize {
        let mut table = self.table();
        let number = table.actors.len();
        table.actors.push(Actor { state: State::Running, granted: false, killed: false });
        drop(table);
        let scheduler = self.clone();
        std::thread::spawn(move || {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(number)));
            scheduler.table().actors[number].state = State::Done;
            scheduler.shared.1.notify_all();
            drop(outcome);
        });
        self.settle(number);
        number
    }

    fn settle(&self, actor: usize) {
        let mut table = self.table();
        while table.actors[actor].state == State::Running {
            table = self.wait(table);
        }
    }

    /// Called by an actor before an operation: waits for its turn.
    pub fn turn(&self, actor: usize, operation: &str) -> Result<(), Killed> {
        let mut table = self.table();
        if table.actors[actor].killed {
            return Err(Killed);
        }
        table.actors[actor].state = State::Waiting(operation.to_owned());
        self.shared.1.notify_all();
        while !table.actors[actor].granted {
            table = self.wait(table);
        }
        table.actors[actor].granted = false;
        table.actors[actor].state = State::Running;
        if table.actors[actor].killed { Err(Killed) } else { Ok(()) }
    }

    /// What an actor is about to do; `None` if it has ended.
    pub fn next_of(&self, actor: usize) -> Option<String> {
        match &self.table().actors[actor].state {
            State::Waiting(operation) => Some(operation.clone()),
            State::Done => None,
            State::Running => unreachable!("only one runs at a time, and it is not the one who asks"),
        }
    }

    /// The actors that have not ended.
    pub fn alive(&self) -> Vec<usize> {
        let table = self.table();
        (0..table.actors.len()).filter(|&actor| table.actors[actor].state != State::Done).collect()
    }

    /// Lets an actor do its operation and go on to the next one.
    pub fn step(&self, actor: usize) {
        let mut table = self.table();
        if table.actors[actor].state == State::Done {
            return;
        }
        table.actors[actor].granted = true;
        // So that settling does not see the state of before.
        table.actors[actor].state = State::Running;
        self.shared.1.notify_all();
        drop(table);
        self.settle(actor);
    }

    /// Kills an actor's process: nothing that it does from here on has any effect.
    pub fn kill(&self, actor: usize) {
        self.table().actors[actor].killed = true;
        self.step(actor);
    }

    /// Runs an actor until it is about to do something that begins so; `false` if it ends before.
    pub fn run_until(&self, actor: usize, operation: &str) -> bool {
        while let Some(next) = self.next_of(actor) {
            if next.starts_with(operation) {
                return true;
            }
            self.step(actor);
        }
        false
    }

    /// Runs an actor to its end.
    pub fn finish(&self, actor: usize) {
        while self.next_of(actor).is_some() {
            self.step(actor);
        }
    }
}
