//! What to do next, in this front end's words: the one place where kinds of errors, remedies and warnings become options and
//! commands that a person types.

use crate::{
    repo::repository::Lost,
    report::{ErrorKind, Remedy, Trouble, TroubleKind, Warning, WarningKind},
};

const DAMAGE: &str = "`rekeep verify --read-data` lists all damage and what mends it (`rekeep repair snapshots` on a host that saw it: what was said of a snapshot; `rekeep repair objects` takes it away); `rekeep restore --keep-going` gives everything that is intact. A \
     backup passes over a damaged parent and stores what still exists again";

/// What to do after an error of this kind.
#[must_use]
pub const fn for_kind(kind: ErrorKind) -> Option<&'static str> {
    Some(match kind {
        ErrorKind::NoRepository => "check -r or REKEEP_REPOSITORY (for a copy, --to), or make one with `rekeep init`",
        ErrorKind::RepositoryExists => "nothing was changed; use it, or choose another location",
        ErrorKind::NotReplica => {
            "replicate into another place. A replica that was written to is a repository of its own; a \
             snapshot that vanished from the source comes back with `rekeep repair snapshots`, or goes for good with `rekeep \
             forget --vanished ID`, both at the source"
        }
        ErrorKind::Region => {
            "nothing was written; `rekeep check-storage URI` says where a place lies (docs/storage.md)"
        }
        ErrorKind::WrongPassword => {
            "try another one, or the recovery key with --recovery-key (of what --to names: --to-password-file, --to-password-command)"
        }
        ErrorKind::NoKeySlot => {
            "put any file of keys/ back, from a replica or another copy of the repository, be it an old one: its password or recovery \
             key opens everything again, and `rekeep repair config` makes the second of each"
        }
        ErrorKind::RoleLacks => "`rekeep key list` shows which slot has which role",
        ErrorKind::Damaged | ErrorKind::Missing => DAMAGE,
        ErrorKind::Archived => {
            "`rekeep restore --thaw` asks the service for what it needs, --thaw-command another program, --thaw-wait waits \
             (docs/cold-storage.md)"
        }
        ErrorKind::MovedOn => "run it again: it takes what the snapshot consists of now",
        ErrorKind::NoSnapshot => "`rekeep snapshots` lists them",
        ErrorKind::NoLease => "`rekeep leases` lists them",
        ErrorKind::Storage => "when the cause is gone, run the same command again",
        ErrorKind::Locked => "run it again when nothing holds the lock",
        ErrorKind::NotFound => "check its name",
        ErrorKind::Counts => {
            "run the backup again; if it happens twice, run `rekeep verify --read-data` and report it: this is a defect \
             of rekeep or of the source's ordering"
        }
        ErrorKind::NothingToResume => "without --resume the backup reads what it does not find",
        _ => return None,
    })
}

/// How this front end spells what would let something pass.
#[must_use]
pub const fn for_remedy(remedy: Remedy) -> &'static str {
    match remedy {
        Remedy::ChooseSource => "choose with --source",
        Remedy::ChooseScope => "choose with --scope",
        Remedy::AcceptDeletions => {
            "if that is so, --accept-deletions takes it for true until the source grows again; --max-deleted 100 never asks"
        }
        Remedy::ChooseCollection => "choose one with --collection",
        Remedy::ChooseOverwrite => "say --overwrite always|never|if-changed or --make-equal",
        Remedy::MakeEqual => "--make-equal brings it back as it was, with nothing beside it",
        Remedy::SimplerOverwrite => "say --overwrite always, never or if-changed",
        Remedy::OverwriteAll => "the same command with --overwrite always writes all again",
        Remedy::Force => "--force does it anyway",
        Remedy::ReleaseHold => "`rekeep tag SNAPSHOT --release` releases it",
        Remedy::NameSnapshotsOrPolicy => "a policy is --keep-last, --keep-daily, --max-age …",
        Remedy::KeepFull => "--keep-incremental needs a --keep-full of at least as many",
        Remedy::NameSource => "--source-name NAME keeps it apart",
        Remedy::NameParent => "--parent SNAPSHOT says that it is the same",
        Remedy::AllowMissingSet => "--allow-missing-set goes on without it",
        Remedy::ReplaceIndexes => "--replace-indexes makes it anew",
        Remedy::ReplaceModules => "--replace-modules puts the snapshot's in their place, --no-udfs leaves them",
        Remedy::RemoveDurably => "--durable-delete makes removals durable",
        Remedy::SkipUnmappable => "--skip-unmappable leaves them out",
        Remedy::IgnoreRecordErrors => "--ignore-record-error restores what the target takes",
        Remedy::SmallerExtraTtl => "give a smaller --extra-ttl",
        Remedy::GiveUser => "give a user with --as-user",
        Remedy::GivePassword => "give a password with --as-password-file, -command or -env",
        Remedy::GiveCertificateAndKey => "give both --tls-cert-file and --tls-key-file",
        Remedy::GiveAuthority => "give --tls-ca or --tls-ca-path",
        Remedy::GiveKeyPassword => "give --tls-key-password-file or -command",
        Remedy::SecureLogin => "give --tls, or say --as-auth external-insecure",
        Remedy::ReadFully => "without --differential every record is read",
        Remedy::DoNotResume => "without --resume everything is read anew",
        Remedy::SpellPartitions => "write --partitions 0..=99,200,DIGEST,after:DIGEST",
        Remedy::AddPassword => {
            "add a password with `rekeep key add`, then remove the lost one with `rekeep key remove`"
        }
        Remedy::WaitForLock => "--lock-timeout waits longer",
        Remedy::ChooseDirectory => "choose another --dir",
        Remedy::ChooseTempDir => "name another place with --temp-dir",
        Remedy::Salvage => "--salvage keeps what is whole",
    }
}

const VANISHED: &str = "`rekeep repair snapshots` puts it back, `rekeep forget --vanished ID` lets it go";

/// Where the packs are there, only what describes them is not.
const IN_NO_PACK: &str = "`rekeep repair index` finds it if its pack is there and only the index object is lost";

const WITHDRAWN: &str =
    "`rekeep repair snapshots` puts that back where what it needs is still there, and settles it else";

/// What no verb may take away, since it is somebody else's.
const HIDES: &str = "`rekeep repair objects` takes it away where it is a copy of an object; else move it out of the repository by \
     hand, and run `rekeep repair snapshots`";

/// Where no slot opens and one is damaged, of which both copies are then.
const SLOTS: &str = "if it is the slot of what was given, another password or the recovery key (--recovery-key) opens the \
     repository all the same, and `rekeep key add` makes a new slot";

/// Where something of others lies in an object's place.
const BY_HAND: &str = "move that away by hand, then run the same command again";

/// Why a snapshot is not let go of which a revision cannot be read, and what to do instead; `None` where it may be let go.
#[must_use]
pub const fn for_kept(lost: Lost) -> Option<&'static str> {
    match lost {
        Lost::Beside => Some(
            "the snapshot stands without it. `rekeep repair snapshots` on a host that saw it puts it back, else `rekeep repair \
             objects` takes it away; `rekeep forget ID` forgets the snapshot",
        ),
        Lost::Newer => Some(
            "a newer rekeep can read it, or, of a later key epoch, a key slot made since that began, and forget it",
        ),
        Lost::Unindexed => {
            Some("`rekeep repair index` describes the packs anew, then it can be told whether it is lost")
        }
        Lost::Vanished | Lost::Withdrawn | Lost::Damaged => None,
    }
}

/// What to do about an object of which this is said.
#[must_use]
pub fn for_trouble(kind: TroubleKind, object: &str) -> Option<&'static str> {
    match kind {
        TroubleKind::Damaged if object == "keys/" => Some(SLOTS),
        TroubleKind::Damaged | TroubleKind::Lost => for_object(object),
        TroubleKind::Hides => Some(HIDES),
        TroubleKind::Obstructed => Some(BY_HAND),
        TroubleKind::Vanished => Some(VANISHED),
        TroubleKind::Withdrawn => Some(WITHDRAWN),
        TroubleKind::InNoPack => Some(IN_NO_PACK),
        _ => None,
    }
}

/// What to do about an object of the repository that is damaged or gone, by where it lies.
#[must_use]
pub fn for_object(name: &str) -> Option<&'static str> {
    let mut parts = name.split('/');
    let folder = parts.next().unwrap_or_default();
    Some(match (folder, parts.count()) {
        ("rekeep.json", 0) | ("copies" | "keys", 1..) => {
            "`rekeep repair config` makes it again where the other of the two is whole"
        }
        // The whole of it, and not one of its revisions.
        ("snapshots", 1) => VANISHED,
        ("snapshots", 2..) => {
            "`rekeep repair snapshots` on a host that saw it puts it back; else `rekeep repair objects` takes it away if its snapshot \
             stands without it, and if not, `rekeep forget --damaged ID` lets the snapshot go"
        }
        ("index", 1) => "`rekeep repair index` makes a new one from the packs",
        ("trash", 1) => "`rekeep repair marks` takes it away once no prune is at work",
        ("packs", 2..) => {
            "`rekeep repair packs` makes it again where there is parity, saves what can be read of it and names what is lost"
        }
        ("parity", 1) => "`rekeep repair parity` takes it away and makes groups for packs without",
        (
            "leases" | "checkpoints" | "damage" | "forgotten" | "promises" | "claims" | "drills" | "audit" | "settings",
            1..,
        ) => "`rekeep repair objects` takes away what nothing rests on",
        _ => return None,
    })
}

fn with(words: &str, advice: Option<&str>) -> String {
    advice.map_or_else(|| words.to_owned(), |advice| format!("{words}; {advice}"))
}

/// What a verb could not do, with what may be done about it.
#[must_use]
pub fn trouble(trouble: &Trouble) -> String {
    with(&trouble.words, for_trouble(trouble.kind, &trouble.object))
}

/// What a repair could not bring back, with what is left to do.
#[must_use]
pub fn lost(trouble: &Trouble) -> String {
    const CHUNKS: &str = "a backup stores again what its source still has; `rekeep restore --keep-going` gives all that is intact, `rekeep \
                          forget` lets the snapshots go";
    const SLOT: &str = "`rekeep key add` makes another, `rekeep key remove` takes it away";
    const SNAPSHOT: &str = "`rekeep repair snapshots` on a host that saw it puts it back, `rekeep forget --damaged ID` lets the snapshot go";
    let is_in = |folders: &[&str]| folders.iter().any(|folder| trouble.object.starts_with(folder));
    let advice = match trouble.kind {
        // The repair that would take it away has just left it.
        TroubleKind::Hides => Some("move it out of the repository by hand, and run `rekeep repair snapshots`"),
        TroubleKind::Obstructed => Some(BY_HAND),
        TroubleKind::Damaged if is_in(&["packs/"]) => for_object(&trouble.object),
        TroubleKind::Damaged if is_in(&["snapshots/", "snapshot "]) => Some(SNAPSHOT),
        TroubleKind::Lost if is_in(&["packs/", "layer "]) => Some(CHUNKS),
        TroubleKind::Damaged | TroubleKind::Lost if is_in(&["keys/", "copies/keys/"]) => Some(SLOT),
        _ => None,
    };
    with(&trouble.words, advice)
}

/// What is wrong with an object, and what may be done about it.
#[must_use]
pub fn finding(kind: TroubleKind, object: &str, problem: &str) -> String {
    with(&format!("{object}: {problem}"), for_trouble(kind, object))
}

/// All that may be done about an error: what would let it pass first.
#[must_use]
pub fn next(kind: ErrorKind, remedies: &[Remedy]) -> Option<String> {
    let all: Vec<&str> = remedies.iter().map(|remedy| for_remedy(*remedy)).chain(for_kind(kind)).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

const fn for_warning(kind: WarningKind) -> Option<&'static str> {
    Some(match kind {
        WarningKind::PackDamaged | WarningKind::ParentPassedOver => "`rekeep verify --read-data` lists all damage",
        WarningKind::BaseAdvised => "`--new-base` reads it anew and makes its snapshots shorter",
        WarningKind::Resuming => "--no-resume reads them again",
        WarningKind::WeakStorage => "`rekeep unlock` fences leases",
        WarningKind::Waiting => "--partition-timeout sets how long",
        WarningKind::SnapshotPartial => "--complete asks for complete ones",
        WarningKind::ScopeChosen => "--scope chooses another",
        WarningKind::GroupUntouched => "--force lets it go",
        WarningKind::SourceLooksLike => "`rekeep source rename OLD NEW` goes on with its history",
        WarningKind::DeletionsUnconfirmed => "--accept-deletions believes them if they were deleted",
        _ => return None,
    })
}

/// A warning in words, with what may be done.
#[must_use]
pub fn warning(warning: &Warning) -> String {
    let advice = match warning.kind {
        WarningKind::SnapshotVanished => Some(VANISHED),
        WarningKind::RevisionVanished => Some(WITHDRAWN),
        WarningKind::ObjectHides => Some(HIDES),
        WarningKind::ObjectUnreadable => for_object(&warning.object),
        kind => for_warning(kind),
    };
    with(&warning.words, advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_remedy_has_words_of_its_own() {
        let mut all: Vec<&str> = Remedy::ALL.iter().map(|remedy| for_remedy(*remedy)).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), Remedy::ALL.len());
    }

    #[test]
    fn advice_goes_by_where_an_object_lies_and_not_by_what_words_say_of_it() {
        let (id, hash) = ("ab".repeat(16), "cd".repeat(32));
        for (name, verb) in [
            ("rekeep.json".to_owned(), Some("repair config")),
            (format!("copies/keys/{id}"), Some("repair config")),
            (format!("snapshots/{id}"), Some("forget --vanished")),
            (format!("snapshots/{id}/3"), Some("forget --damaged")),
            (format!("snapshots/{id}/4"), Some("repair objects` takes it away if its snapshot stands")),
            (format!("index/{hash}"), Some("repair index")),
            (format!("packs/cd/{hash}"), Some("repair packs")),
            (format!("trash/{id}"), Some("repair marks")),
            (format!("drills/{id}/0"), Some("repair objects")),
            (format!("audit/{id}/0"), Some("repair objects")),
            (format!("claims/{id}/5"), Some("repair objects")),
            (format!("leases/{id}/end"), Some("repair objects")),
            (format!("chunk {hash}"), None),
            ("a database about packs/ and index/".to_owned(), None),
        ] {
            let hidden = finding(TroubleKind::Hides, &name, "is not what this place is for");
            assert!(hidden.contains("repair objects") && hidden.contains("by hand"), "{hidden}");
            let words = "is not what packs/ and snapshots/ say, and has vanished";
            let said = finding(TroubleKind::Damaged, &name, words);
            let told = trouble(&Trouble::new(TroubleKind::Damaged, &*name, "it stays"));
            match verb {
                Some(verb) => assert!(said.contains(verb) && told.contains(verb), "{said} {told}"),
                None => assert!(!said.contains("repair") && told == "it stays", "{said} {told}"),
            }
            let refused = Trouble::new(TroubleKind::Refused, &*name, "it was not deleted");
            assert_eq!(trouble(&refused), refused.words);
        }
        let of = |kind| finding(kind, &format!("snapshots/{id}"), "so it is");
        assert!(of(TroubleKind::Vanished).contains("--vanished"));
        assert!(!of(TroubleKind::Withdrawn).contains("--vanished"));
        assert!(of(TroubleKind::Obstructed).contains("by hand"));
    }

    #[test]
    fn what_is_lost_is_told_apart_by_where_it_lay() {
        let of = |kind, object: &str| lost(&Trouble::new(kind, object, "gone"));
        assert!(of(TroubleKind::Lost, "packs/ab/cd").contains("forget"));
        assert!(of(TroubleKind::Lost, "layer ab").contains("--keep-going"));
        assert!(of(TroubleKind::Damaged, &format!("packs/cd/{}", "cd".repeat(32))).contains("repair packs"));
        assert!(of(TroubleKind::Damaged, "keys/ab").contains("key add"));
        assert_eq!(of(TroubleKind::Refused, "packs/ab/cd"), "gone");
    }

    #[test]
    fn remedies_come_before_what_the_kind_says() {
        let next = next(ErrorKind::NotFound, &[Remedy::AllowMissingSet]).unwrap();
        assert_eq!(next, "--allow-missing-set goes on without it; check its name");
    }
}
