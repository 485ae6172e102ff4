//! What a statement touches, read from its text: so it is known which statements of
//! two sessions leave the same behind in whichever order they come.
//!
//! In doubt a statement touches more than it does: then an order too many is tried.

/// The lock that a session takes by number and not by table.
const ADVISORY: u128 = 1 << 127;

/// The tables of a database.
#[derive(Clone, Debug)]
pub struct Tables(Vec<String>);

/// What a step touches: a bit for each table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Touch {
    /// What it looks at.
    reads: u128,
    /// Where it may wait for others, or they for it.
    locks: u128,
    /// Where it may wait for those who lock.
    shares: u128,
    /// What others see otherwise from then on.
    publishes: u128,
}

/// The transaction of a session.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Transaction {
    open: bool,
    held: Touch,
}

impl Tables {
    /// Of these names; there is room for 127.
    pub fn new(names: Vec<String>) -> anyhow::Result<Self> {
        anyhow::ensure!(names.len() < 128, "{} tables are too many", names.len());
        Ok(Self(names))
    }

    fn bit(&self, word: &str) -> u128 {
        self.0.iter().position(|name| name == word).map_or(0, |at| 1 << at)
    }

    /// What one statement touches, apart from transactions.
    fn statement(&self, words: &[&str]) -> Touch {
        let word = |at: usize| words.get(at).copied().unwrap_or_default();
        let mut touch = Touch::default();
        let mut rows = false;
        for at in 0..words.len() {
            touch.reads |= self.bit(words[at]);
            match words[at] {
                "into" => touch.locks |= self.bit(word(at + 1)),
                "from" if at > 0 && words[at - 1] == "delete" => touch.locks |= self.bit(word(at + 1)),
                "update" | "share" if at > 0 && matches!(words[at - 1], "for" | "key") => rows = true,
                "update" => touch.locks |= self.bit(word(at + 1)) | self.bit(word(at + 2)),
                "pg_advisory_xact_lock_shared" => touch.shares |= ADVISORY,
                other if other.contains("advisory") => touch.locks |= ADVISORY,
                _ => {}
            }
        }
        if rows {
            touch.locks |= touch.reads;
        }
        touch
    }
}

impl Touch {
    /// Whether it matters which of the two comes first.
    pub const fn meets(&self, other: &Self) -> bool {
        self.locks & (other.locks | other.shares) != 0
            || self.shares & other.locks != 0
            || self.publishes & other.reads != 0
            || self.reads & other.publishes != 0
    }

    /// Whether others see something otherwise from then on.
    pub(super) const fn is_seen(&self) -> bool {
        self.publishes != 0
    }

    const fn and(self, other: Self) -> Self {
        Self {
            reads: self.reads | other.reads,
            locks: self.locks | other.locks,
            shares: self.shares | other.shares,
            publishes: self.publishes | other.publishes,
        }
    }
}

impl Transaction {
    /// What these statements touch in this transaction, and what it is after them.
    pub(super) fn step(mut self, tables: &Tables, text: &str) -> (Touch, Self) {
        let mut all = Touch::default();
        let text = text.to_lowercase();
        for statement in text.split([';', '\0']) {
            let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
            let words: Vec<_> =
                statement.split(|letter| !is_word(letter)).filter(|word| !word.is_empty()).collect();
            match words.first().copied() {
                Some("begin") => self = Self { open: true, held: Touch::default() },
                // What was held is let go, and seen; where it is undone, too much is said.
                Some("commit" | "rollback") => {
                    let locks = self.held.locks;
                    all = all.and(Touch { publishes: locks & !ADVISORY, reads: 0, ..self.held });
                    self = Self::default();
                }
                _ => {
                    let mut touch = tables.statement(&words);
                    if self.open {
                        self.held = self.held.and(touch);
                    } else {
                        touch.publishes = touch.locks & !ADVISORY;
                    }
                    all = all.and(touch);
                }
            }
        }
        (all, self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meet(one: &str, other: &str) -> bool {
        let tables = Tables::new(["job", "lane", "worker"].map(str::to_owned).to_vec()).unwrap();
        let touch = |text| {
            // The last statement counts; those before it are its transaction.
            let (before, last) = match str::rsplit_once(text, " | ") {
                Some((before, last)) => (Transaction::default().step(&tables, before).1, last),
                None => (Transaction::default(), text),
            };
            before.step(&tables, last).0
        };
        assert_eq!(touch(one).meets(&touch(other)), touch(other).meets(&touch(one)));
        touch(one).meets(&touch(other))
    }

    #[test]
    fn what_can_be_swapped() {
        let (write, read) = ("update job set state = 1", "select state from job");
        assert!(meet(write, read) && meet(write, write) && !meet(read, read));
        assert!(!meet(write, "select 1 from lane") && !meet(write, "insert into lane values (1)"));
        // What is not committed is not seen, but waited for.
        let open = "begin | update job set state = 1";
        assert!(!meet(open, read) && meet(open, write) && !meet("begin", write));
        let commit = "begin; update job set state = 1 | commit";
        assert!(meet(commit, read) && meet(commit, write) && !meet(commit, "select 1 from lane"));
        assert!(!meet("begin; select 1 from job | commit", write));
        // Rows are locked wherever the statement looks.
        let rows = "begin | select 1 from job join lane on true for no key update of job skip locked";
        assert!(meet(rows, write) && meet(rows, "delete from lane") && !meet(rows, read));
        assert!(meet("insert into job select 1 from lane", "update only lane set a = 1"));
        let shared = "begin | select pg_advisory_xact_lock_shared(1)";
        assert!(!meet(shared, shared) && meet(shared, "begin | select pg_advisory_xact_lock(1)"));
        assert!(meet("begin; select pg_advisory_xact_lock(1) | commit", shared));
    }
}
