//! Commits of a state at or above the timestamps that were given for it: one of the two is not what it should be.

use super::{
    clean::{self, Cleaned, Cleaning},
    ground::Ground,
};
use crate::connector::ConnectorError;
use postgres::Client;

/// Says what commits mean that should not be.
pub(super) type Say = fn(&Cleaned, i64) -> Option<String>;

/// What is said of commits at or after `from` in the state that `client` sees.
pub(super) fn contradiction(
    client: &mut Client,
    ground: &Ground,
    from: i64,
    say: Say,
) -> Result<Option<String>, ConnectorError> {
    let looking = Cleaning { dry_run: true, ..Cleaning::default() };
    match clean::clean(client, ground, from, looking) {
        Ok(cleaned) => Ok(say(&cleaned, from)),
        // What makes no sense is backed up as it is; a restore tells of it.
        Err(ConnectorError::Mismatch { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Commits of a state at or after a timestamp that was given when it was fixed, in words: then the two are not of one store.
pub(super) fn say_foreign(cleaned: &Cleaned, from: i64) -> Option<String> {
    let latest = cleaned.transactions.iter().map(|(_, commit)| *commit).max()?;
    Some(format!(
        "{} transactions of this state committed at or after {from} (at {latest}, one of them), a timestamp that was asked for \
         when they had: the timestamps are not of this store, or were old, and a restore aborts what committed after the one \
         of the backup",
        cleaned.cleaned
    ))
}

/// Commits at or above the bound of the very state that they are in, in words: then it was lost or set back.
pub(super) fn say_contradiction(cleaned: &Cleaned, from: i64) -> Option<String> {
    let latest = cleaned.transactions.iter().map(|(_, commit)| *commit).max()?;
    Some(format!(
        "{} transactions of this state committed above its own bound of timestamps {} (at {latest}, one of them): the bound was \
         lost or set back. Services on it hand out timestamps twice, and a restore to {from} aborts these transactions; move it \
         forward above all that were handed out (atlas fast-forward), and back up again",
        cleaned.cleaned,
        from - 1
    ))
}
