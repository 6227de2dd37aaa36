//! How the process ends: what a program that calls it is told.

use std::io;
use std::process::ExitCode;

use engine_core::event::Status;

use crate::render;

/// How a command ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ending {
    /// What was asked for was done.
    Completed,
    /// It was tried, and did not work.
    Failed,
    /// What was asked for makes no sense; nothing was begun.
    Invalid,
    /// The user stopped it.
    Interrupted,
    /// Only somebody's answer can carry it on.
    Waiting,
}

impl Ending {
    fn code(self) -> u8 {
        match self {
            Self::Completed => 0,
            Self::Failed => 1,
            Self::Invalid => 2,
            Self::Waiting => 3,
            Self::Interrupted => 130,
        }
    }
}

impl From<Status> for Ending {
    fn from(status: Status) -> Self {
        match status {
            Status::Completed => Self::Completed,
            Status::Running | Status::Failed | Status::Cancelled | Status::Skipped => Self::Failed,
        }
    }
}

/// An error in what the user gave: nothing was begun.
#[derive(Debug)]
pub(crate) struct Invalid(anyhow::Error);

impl std::fmt::Display for Invalid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Invalid {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

/// Marks an error as one in what the user gave.
pub(crate) fn invalid(error: impl Into<anyhow::Error>) -> anyhow::Error {
    anyhow::Error::new(Invalid(error.into()))
}

/// Reports an error, if there is one, and returns the exit code.
pub(crate) fn exit_code(result: anyhow::Result<Ending>) -> ExitCode {
    let ending = result.unwrap_or_else(|error| {
        let ending = ending_of(&error);
        if ending != Ending::Completed {
            render::error(&error);
        }
        ending
    });
    ExitCode::from(ending.code())
}

fn ending_of(error: &anyhow::Error) -> Ending {
    if error.is::<Invalid>() {
        return Ending::Invalid;
    }
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    // A reader that has seen enough, such as `head`, is no failure.
    let is_pipe = causes.any(|cause| cause.kind() == io::ErrorKind::BrokenPipe);
    if is_pipe { Ending::Completed } else { Ending::Failed }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn every_ending_has_its_exit_code() {
        #[rustfmt::skip]
        let endings = [Ending::Completed, Ending::Failed, Ending::Invalid, Ending::Waiting, Ending::Interrupted];
        assert_eq!(endings.map(Ending::code), [0, 1, 2, 3, 130]);
    }

    #[test]
    fn errors_end_by_whose_fault_they_are() {
        let pipe = || io::Error::from(io::ErrorKind::BrokenPipe);
        #[rustfmt::skip]
        let cases = [
            (anyhow!("the store broke"),                Ending::Failed),
            (invalid(anyhow!("no such file")),          Ending::Invalid),
            (anyhow::Error::new(pipe()),                Ending::Completed),
            (anyhow::Error::new(pipe()).context("out"), Ending::Completed),
            (io::Error::other("disk").into(),           Ending::Failed),
        ];
        for (error, expect) in cases {
            assert_eq!(ending_of(&error), expect, "{error:#}");
        }
    }
}
