//! What becomes of an occurrence while jobs of the last one still run.

use serde::{Deserialize, Serialize};

/// What a rule wants then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// Both run.
    #[default]
    Allow,
    /// The new one does not happen.
    Skip,
    /// The new one waits for the end of the old one; more than one does not wait.
    QueueOne,
    /// The old one is cancelled, and the new one runs.
    Replace,
}

/// What is to be done with an occurrence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It fires.
    Fire,
    /// It does not happen: the previous instance runs.
    Skip,
    /// It is kept until the previous instance has ended.
    Queue,
    /// The jobs of the previous instance are cancelled, and it fires.
    Replace,
}

/// Decides about an occurrence. `running` says whether a job of the previous
/// firing has not ended, `queued` whether an occurrence waits already.
pub const fn decide(overlap: Overlap, running: bool, queued: bool) -> Admission {
    match overlap {
        Overlap::Allow => Admission::Fire,
        // One that waits goes first, even if the one before it has just ended.
        Overlap::QueueOne if queued => Admission::Skip,
        _ if !running => Admission::Fire,
        Overlap::Skip => Admission::Skip,
        Overlap::QueueOne => Admission::Queue,
        Overlap::Replace => Admission::Replace,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_decisions() {
        use Admission::{Fire, Queue, Replace, Skip};
        let table = [
            // (running, queued): neither, running, both, queued alone
            (Overlap::Allow, [Fire, Fire, Fire, Fire]),
            (Overlap::Skip, [Fire, Skip, Skip, Fire]),
            (Overlap::QueueOne, [Fire, Queue, Skip, Skip]),
            (Overlap::Replace, [Fire, Replace, Replace, Fire]),
        ];
        for (overlap, expected) in table {
            let cases = [(false, false), (true, false), (true, true), (false, true)];
            let met = cases.map(|(running, queued)| decide(overlap, running, queued));
            assert_eq!(met, expected, "{overlap:?}");
        }
    }
}
