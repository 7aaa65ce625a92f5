//! What would let something pass that was refused: options by what they mean, not by how a front end spells them.

use super::kind::codes;
use std::fmt;

codes! {
    /// What the caller may do about an error.
    Remedy {
        /// Say which source is meant.
        ChooseSource = "choose_source",
        /// Say which scope of the source is meant.
        ChooseScope = "choose_scope",
        /// Accept that the records are gone.
        AcceptDeletions = "accept_deletions",
        /// Say which collection is meant.
        ChooseCollection = "choose_collection",
        /// Say what becomes of records that exist, or ask for the target to be made equal.
        ChooseOverwrite = "choose_overwrite",
        /// Ask for the target to be made equal.
        MakeEqual = "make_equal",
        /// Replace, leave, or replace what differs: the target knows nothing else.
        SimplerOverwrite = "simpler_overwrite",
        /// Replace whatever is there.
        OverwriteAll = "overwrite_all",
        /// Say that it is meant all the same.
        Force = "force",
        /// Release the snapshot's hold.
        ReleaseHold = "release_hold",
        /// Name snapshots, or give a policy.
        NameSnapshotsOrPolicy = "name_snapshots_or_policy",
        /// Say how many fulls are kept.
        KeepFull = "keep_full",
        /// Name the source, which keeps it apart from others.
        NameSource = "name_source",
        /// Name the parent, which says that it is of the same source.
        NameParent = "name_parent",
        /// Go on without a set that is not there.
        AllowMissingSet = "allow_missing_set",
        /// Make indexes anew that differ.
        ReplaceIndexes = "replace_indexes",
        /// Put modules anew that differ.
        ReplaceModules = "replace_modules",
        /// Remove so that the removal stays known.
        RemoveDurably = "remove_durably",
        /// Leave records out that have no key to map.
        SkipUnmappable = "skip_unmappable",
        /// Go on past records that the target refuses.
        IgnoreRecordErrors = "ignore_record_errors",
        /// Add less to expiries.
        SmallerExtraTtl = "smaller_extra_ttl",
        /// Give a user.
        GiveUser = "give_user",
        /// Give the user's password.
        GivePassword = "give_password",
        /// Give both a certificate and its key.
        GiveCertificateAndKey = "give_certificate_and_key",
        /// Give the certificate of an authority.
        GiveAuthority = "give_authority",
        /// Give what the key is encrypted with.
        GiveKeyPassword = "give_key_password",
        /// Use TLS, or say that it is meant without.
        SecureLogin = "secure_login",
        /// Read every record.
        ReadFully = "read_fully",
        /// Begin anew.
        DoNotResume = "do_not_resume",
        /// Write partitions as they are understood.
        SpellPartitions = "spell_partitions",
        /// Add another password, and remove the one that is lost.
        AddPassword = "add_password",
        /// Wait longer for a lock.
        WaitForLock = "wait_for_lock",
        /// Choose another directory.
        ChooseDirectory = "choose_directory",
        /// Choose another place for temporary files.
        ChooseTempDir = "choose_temp_dir",
        /// Keep what is whole of something damaged.
        Salvage = "salvage",
    }
}
