//! Somebody who has no key of the repository and may create objects in it: a stolen credential. He makes whatever takes
//! something away, of all kinds, under all names, and copies of what others made under other names. He loses.

use super::{
    actors::{Actor, Flaws, password},
    rng::Rng,
    stage::{Stage, everything, needs},
    storage::Broken,
};
use rekeep::repo::{
    RepoError, SnapshotId, Storage,
    faults::Rule,
    keys::{self, Party, Signer},
    object::{self, ObjectKind},
};
use serde_json::json;

/// What lies in the repository, as a listing shows it.
struct Seen {
    snapshots: Vec<String>,
    leases: Vec<String>,
    marks: Vec<String>,
    packs: Vec<String>,
}

/// The last part of each name, or the part before it.
fn parts(storage: &Storage, folder: &str, at: usize) -> Result<Vec<String>, RepoError> {
    let names = storage.list(folder)?.into_iter().map(|object| object.name);
    let mut parts: Vec<String> = names.filter_map(|name| name.split('/').nth(at).map(str::to_owned)).collect();
    parts.sort_unstable();
    parts.dedup();
    Ok(parts)
}

impl Seen {
    fn look(storage: &Storage) -> Result<Self, RepoError> {
        Ok(Self {
            snapshots: parts(storage, "snapshots/", 1)?,
            leases: parts(storage, "leases/", 1)?,
            marks: parts(storage, "trash/", 1)?,
            packs: parts(storage, "packs/", 2)?,
        })
    }

    #[allow(clippy::unused_self, reason = "called like its siblings")]
    fn tombstone(&self, id: &str, revision: u64) -> (ObjectKind, String, Vec<u8>) {
        let body = json!({ "forgotten": id, "revision": revision, "host": "h", "time": 0 });
        (ObjectKind::Tombstone, format!("snapshots/{id}/{revision}"), body.to_string().into_bytes())
    }

    #[allow(clippy::unused_self, reason = "called like its siblings")]
    fn end(&self, lease: &str) -> (ObjectKind, String, Vec<u8>) {
        let body = json!({ "lease": lease, "outcome": "done" });
        (ObjectKind::LeaseEnd, format!("leases/{lease}/end"), body.to_string().into_bytes())
    }

    #[allow(clippy::unused_self, reason = "called like its siblings")]
    fn heartbeat(&self, lease: &str, number: u64, purpose: &str) -> (ObjectKind, String, Vec<u8>) {
        let body = json!({
            "lease": lease, "number": number, "purpose": purpose, "host": "h", "started": 0, "honours": self.marks,
        });
        (ObjectKind::Lease, format!("leases/{lease}/{number}"), body.to_string().into_bytes())
    }

    fn one(&self, rng: &mut Rng) -> Option<(ObjectKind, String, Vec<u8>)> {
        let snapshot = (!self.snapshots.is_empty()).then(|| rng.pick(&self.snapshots).clone());
        let lease = (!self.leases.is_empty()).then(|| rng.pick(&self.leases).clone());
        let name = data_encoding::HEXLOWER.encode(&rng.bytes(16));
        Some(match rng.below(7) {
            0 => self.tombstone(&snapshot?, *rng.pick(&[1, 2, 3, 9999, i64::MAX as u64])),
            1 => {
                let body = json!({ "void": lease.as_deref()?, "host": "h", "time": 0 });
                (ObjectKind::Void, format!("snapshots/{}/0", lease?), body.to_string().into_bytes())
            }
            2 => self.end(&lease?),
            3 => self.heartbeat(&lease?, *rng.pick(&[1, 2, 3, 1_000_000]), "backup"),
            4 => self.heartbeat(&lease?, *rng.pick(&[1, 2, 3, 1_000_000]), "prune"),
            5 => {
                let body = json!({ "packs": self.packs }).to_string().into_bytes();
                (ObjectKind::Mark, format!("trash/{name}"), body)
            }
            _ => {
                let ids = self.snapshots.iter().filter_map(|id| id.parse::<SnapshotId>().ok());
                (ObjectKind::Forgotten, format!("forgotten/{name}"), ids.flat_map(|id| id.0).collect())
            }
        })
    }
}

/// Creates some objects.
pub fn forge(actor: &Actor, rng: &mut Rng) -> Result<(), RepoError> {
    let storage = actor.storage();
    for _ in 0..=rng.below(4) {
        let seen = Seen::look(&storage)?;
        let Some((kind, name, body)) = seen.one(rng) else { continue };
        let bytes = match rng.below(10) {
            0 => rng.bytes(200),
            // What somebody who may has made, under another name.
            1..=3 => match parts_of_kind(&storage, kind)? {
                others if others.is_empty() => object::unsigned(kind, &name, &body),
                others => storage.read(rng.pick::<String>(&others))?,
            },
            _ => object::unsigned(kind, &name, &body),
        };
        storage.create(&name, &bytes)?;
    }
    Ok(())
}

fn parts_of_kind(storage: &Storage, kind: ObjectKind) -> Result<Vec<String>, RepoError> {
    let folder = match kind {
        ObjectKind::Snapshot | ObjectKind::Void | ObjectKind::Tombstone => "snapshots/",
        ObjectKind::Checkpoint => "checkpoints/",
        ObjectKind::Lease | ObjectKind::LeaseEnd => "leases/",
        ObjectKind::Mark => "trash/",
        ObjectKind::Forgotten => "forgotten/",
        ObjectKind::Promises => "promises/",
        ObjectKind::Damage => "damage/",
        ObjectKind::Drill => "drills/",
        ObjectKind::Claim => "claims/",
        ObjectKind::Audit => "audit/",
        ObjectKind::Settings => "settings/",
    };
    let mut names: Vec<String> = storage.list(folder)?.into_iter().map(|object| object.name).collect();
    names.sort_unstable();
    Ok(names)
}

fn create(stage: &Stage, make: impl Fn(&Seen) -> (ObjectKind, String, Vec<u8>) + Send + 'static) {
    let actor = stage.start(move |actor| {
        let storage = actor.storage();
        let (kind, name, body) = make(&Seen::look(&storage)?);
        storage.create(&name, &object::unsigned(kind, &name, &body)).map(drop)
    });
    stage.finish(actor);
}

/// T is held. Somebody writes a tombstone far above; P prunes.
fn v(flaws: &Flaws, broken: Option<Broken>) -> Option<String> {
    let stage = Stage::new(flaws, broken);
    let held = stage.commit(&[1]);
    let holder = stage.start(move |actor| actor.open()?.revise(&held, &|it| it.hold = true).map(drop));
    stage.finish(holder);
    create(&stage, move |seen| seen.tombstone(&held.to_string(), 9999));
    stage.prune();
    stage.checked()
}

#[test]
fn v_a_tombstone_of_nobody_forgets_nothing() {
    needs(v, &[&[Rule::AuthorsAreChecked, Rule::HoldsOutliveTombstones]]);
}

/// T is held. Somebody who may forget does not know of holds; P prunes.
fn v2(flaws: &Flaws, broken: Option<Broken>) -> Option<String> {
    let stage = Stage::new(flaws, broken);
    let held = stage.commit(&[1]);
    let forgetter = stage.start(move |actor| {
        let repo = actor.open()?;
        repo.revise(&held, &|it| it.hold = true)?;
        let (kind, name, body) = Seen::look(repo.storage())?.tombstone(&held.to_string(), 2);
        repo.storage().create(&name, &repo.made_by_operator(kind, &name, &body)?).map(drop)
    });
    stage.finish(forgetter);
    stage.prune();
    stage.checked()
}

#[test]
fn v2_a_tombstone_on_a_held_snapshot_does_not_count() {
    needs(v2, &[&[Rule::HoldsOutliveTombstones]]);
}

/// W relies on X, which is marked then; somebody ends W's lease; P drains and deletes; W commits.
fn w(flaws: &Flaws, broken: Option<Broken>) -> Option<String> {
    let (stage, writer) = relying(flaws, broken);
    create(&stage, |seen| seen.end(seen.leases.last().expect("W's")));
    finish_beside(&stage, writer)
}

/// W has relied on X, of a snapshot that is forgotten by now, and is about to commit. X is marked.
fn relying(flaws: &Flaws, broken: Option<Broken>) -> (Stage, usize) {
    let stage = Stage::new(flaws, broken);
    let old = stage.commit(&[1]);
    let pruner = stage.pruner_of(|pruner| pruner.tidy().map(drop));
    stage.finish(pruner);
    let (writer, _) = stage.writer(&[1], false);
    stage.until(writer, "create snapshots/");
    stage.forget(old);
    let pruner = stage.pruner_of(|pruner| {
        let all = everything(pruner)?;
        pruner.mark(&all).map(drop)
    });
    stage.finish(pruner);
    // Only W's lease is left.
    let tidier = stage.pruner_of(|pruner| pruner.tidy().map(drop));
    stage.finish(tidier);
    (stage, writer)
}

fn finish_beside(stage: &Stage, writer: usize) -> Option<String> {
    let pruner = stage.pruner_of(|pruner| pruner.delete_drained(&mut |_| true).map(drop));
    stage.finish(pruner);
    stage.finish(writer);
    stage.sea().check_all();
    stage.sea().violation()
}

/// The lease that is not a pruner's.
fn lease_of_writer(actor: &Actor) -> Result<SnapshotId, RepoError> {
    let leases = actor.open()?.leases()?;
    let running = leases.into_iter().find(|lease| !lease.is_over() && !lease.is_prune());
    running.map(|lease| lease.id).ok_or_else(|| RepoError::Invalid("W runs".to_owned()))
}

#[test]
fn w_nobody_but_its_holder_ends_a_lease() {
    needs(w_of_the_writer, &[&[Rule::AuthorsAreChecked, Rule::LastLook]]);
    assert_eq!(w(&Flaws::default(), None), None);
}

fn w_of_the_writer(flaws: &Flaws, broken: Option<Broken>) -> Option<String> {
    let (stage, writer) = relying(flaws, broken);
    let forger = stage.start(|actor| {
        let lease = lease_of_writer(actor)?;
        let storage = actor.storage();
        let (kind, name, body) = Seen::look(&storage)?.end(&lease.to_string());
        storage.create(&name, &object::unsigned(kind, &name, &body)).map(drop)
    });
    stage.finish(forger);
    finish_beside(&stage, writer)
}

/// A host that may write, and nothing else, says in W's name that it honours the mark.
fn x(flaws: &Flaws, broken: Option<Broken>) -> Option<String> {
    let (stage, writer) = relying(flaws, broken);
    let forger = stage.start(|actor| {
        let lease = lease_of_writer(actor)?;
        let storage = actor.storage();
        let keyring = keys::open(&storage, &password())?;
        let own = keyring.lease_key(Party::Writer)?;
        let (kind, name, body) = Seen::look(&storage)?.heartbeat(&lease.to_string(), 7, "backup");
        storage.create(&name, &object::make(&keyring, Signer::Lease(&own), kind, &name, &body)?).map(drop)
    });
    stage.finish(forger);
    finish_beside(&stage, writer)
}

#[test]
fn x_a_lease_speaks_for_itself() {
    needs(x, &[&[Rule::LeasesSpeakForThemselves, Rule::LastLook]]);
}

/// Somebody who tags T sleeps before he creates its revision 1; T is forgotten, pruned and gathered; he wakes. P prunes once
/// more.
fn y(flaws: &Flaws, broken: Option<Broken>) -> Option<String> {
    let stage = Stage::new(flaws, broken);
    stage.commit(&[7]);
    let doomed = stage.commit(&[1]);
    let tagger = stage.start(move |actor| actor.open()?.revise(&doomed, &|it| it.tags.push("t".to_owned())).map(drop));
    stage.until(tagger, "create snapshots/");
    stage.forget(doomed);
    stage.prune();
    let gatherer = stage.pruner_of(|pruner| pruner.gather_from(0).map(drop));
    if flaws.rules.contains(&Rule::GatherFirst) {
        stage.until(gatherer, "create forgotten/");
        stage.place.scheduler.kill(gatherer);
    }
    stage.finish(gatherer);
    stage.finish(tagger);
    stage.prune();
    stage.checked()
}

#[test]
fn y_a_gathered_snapshot_does_not_come_back() {
    needs(y, &[&[Rule::GatherFirst]]);
}

/// A reader lists while T's folder goes and a sleeping program writes a revision of it: whether he believes that T stands.
fn y2(flaws: &Flaws, broken: Option<Broken>) -> Option<String> {
    let stage = Stage::new(flaws, broken);
    stage.commit(&[7]);
    let doomed = stage.commit(&[1]);
    let tagger = stage.start(move |actor| actor.open()?.revise(&doomed, &|it| it.tags.push("t".to_owned())).map(drop));
    stage.until(tagger, "create snapshots/");
    let reader = stage.start(move |actor| {
        let repo = actor.open()?;
        repo.refresh()?;
        if repo.snapshots()?.iter().any(|it| it.id == doomed) && actor.place.sea.names("forgotten/").len() == 1 {
            actor.place.sea.report("a gathered snapshot was listed".to_owned());
        }
        Ok(())
    });
    stage.forget(doomed);
    stage.prune();
    let early = flaws.rules.contains(&Rule::ForgottenAfterSnapshots);
    if early {
        // It lists `forgotten/` first, wrongly.
        stage.past(reader, "list-on forgotten/");
    }
    let gatherer = stage.pruner_of(|pruner| pruner.gather_from(0).map(drop));
    stage.finish(gatherer);
    stage.finish(tagger);
    stage.finish(reader);
    stage.checked()
}

#[test]
fn y2_collective_tombstones_are_listed_after_snapshots() {
    needs(y2, &[&[Rule::ForgottenAfterSnapshots]]);
}
