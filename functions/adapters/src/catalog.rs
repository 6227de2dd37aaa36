//! What a catalog does beside the engine's port: it registers, finds and lists.

use async_trait::async_trait;
use engine_core::playbook::{Playbook, PlaybookRef};
use engine_core::ports::{Catalog, PortError, PortErrorKind};

/// Makes a checked playbook of its text, or says what is wrong with it.
pub type Parse = fn(&str) -> Result<Playbook, String>;

/// One registered version.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PlaybookVersion {
    /// What an execution is pinned to.
    pub reference: PlaybookRef,
    /// 1, 2, 3, ... of its path.
    pub version: u32,
}

/// A catalog that can be written.
#[async_trait]
pub trait Registry: Catalog {
    /// Registers a text as the newest version of its path; the newest one again stays as it is.
    ///
    /// # Errors
    /// `Refused` with the diagnostics if the text is no playbook or if nothing can be written;
    /// `Unavailable`.
    async fn register(&self, text: &str) -> Result<PlaybookVersion, PortError>;

    /// Returns a version of a path, the newest one if none is named; none if there is none.
    ///
    /// # Errors
    /// `Unavailable` or `Corrupt`.
    async fn find(
        &self,
        path: &str,
        version: Option<u32>,
    ) -> Result<Option<PlaybookVersion>, PortError>;

    /// Returns every version, the newest registration first.
    ///
    /// # Errors
    /// `Unavailable` or `Corrupt`.
    async fn list(&self) -> Result<Vec<PlaybookVersion>, PortError>;

    /// Returns the text of a version, as it was registered.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable` or `Corrupt`.
    async fn text(&self, reference: &PlaybookRef) -> Result<String, PortError>;

    /// Returns the number of the version that an execution is pinned to; none if it is not
    /// registered.
    ///
    /// # Errors
    /// `Unavailable` or `Corrupt`.
    async fn number(&self, reference: &PlaybookRef) -> Result<Option<u32>, PortError> {
        let mut found = self.find(&reference.path, None).await?;
        // What runs is nearly always the newest version, or one of the last.
        while let Some(PlaybookVersion { reference: of, version }) = found {
            if of.hash == reference.hash {
                return Ok(Some(version));
            }
            found = self.find(&reference.path, Some(version.saturating_sub(1))).await?;
        }
        Ok(None)
    }
}

/// A playbook whose text is `text`, if it is still the one that `reference` names.
pub(crate) fn checked(
    parse: Parse,
    reference: &PlaybookRef,
    text: &str,
) -> Result<Playbook, PortError> {
    let playbook = parse(text).map_err(|problems| {
        let message = format!("playbook `{}` is no longer accepted: {problems}", reference.path);
        PortError::new(PortErrorKind::Corrupt, message)
    })?;
    if playbook.reference == *reference {
        return Ok(playbook);
    }
    let message = format!("the text of playbook `{}` is not what its hash says", reference.path);
    Err(PortError::new(PortErrorKind::Corrupt, message))
}

pub(crate) fn unregistered(reference: &PlaybookRef) -> PortError {
    let message = format!(
        "playbook `{}` is not registered in this version ({}); register its file",
        reference.path, reference.hash
    );
    PortError::new(PortErrorKind::NotFound, message)
}
