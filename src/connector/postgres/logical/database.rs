//! A database whose changes are wanted.

use super::follower::Follower;
use crate::connector::{
    ConnectorError, Identity, Options, Scope, Source as _, SourceUrl,
    postgres::{
        client::Server,
        open::open,
        select::Selection,
        source::{Held, Mark, PostgresSource},
    },
};

/// A database, and the name of what the server keeps for us.
pub struct Database {
    server: Server,
    selection: Selection,
}

impl Database {
    /// The one that a URL names.
    ///
    /// # Errors
    /// [`ConnectorError`] if the URL or the options make no sense.
    pub fn new(url: &SourceUrl, options: &Options) -> Result<Self, ConnectorError> {
        let (server, selection) = open(url, options)?;
        Ok(Self { server, selection })
    }

    /// Whose rows these are, as a backup says it.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.plain_source().identity()
    }

    /// Which of them are meant.
    #[must_use]
    pub fn scope(&self) -> Scope {
        self.selection.scope()
    }

    fn plain_source(&self) -> PostgresSource {
        PostgresSource::new(self.server.clone(), self.selection.clone())
    }

    /// Connects, to follow changes by the slot and publication of this name.
    ///
    /// # Errors
    /// [`ConnectorError`] if the server cannot be reached or followed.
    pub fn connect(&self, name: &str) -> Result<Follower, ConnectorError> {
        Follower::connect(self.server.clone(), self.selection.clone(), name)
    }

    /// What is read as a base: it says that the stream goes on from it.
    #[must_use]
    pub fn base(&self, mark: Mark) -> PostgresSource {
        self.plain_source().marked(mark)
    }

    /// As a base, without the rows of what a stream holds already.
    #[must_use]
    pub fn part(&self, mark: Mark, held: Held) -> PostgresSource {
        self.base(mark).without(held)
    }
}
