//! What a caller may do.

/// One thing that a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Scope {
    /// Look at jobs.
    JobsRead = 1,
    /// Submit jobs and act on them.
    JobsWrite = 2,
    /// Look at automation rules.
    RulesRead = 4,
    /// Save rules and act on them.
    RulesWrite = 8,
    /// Claim jobs and report their ends.
    Worker = 16,
    /// Everything, for every tenant.
    Operator = 32,
}

impl Scope {
    /// All scopes, in the order in which they are told.
    pub const ALL: [Self; 6] =
        [Self::JobsRead, Self::JobsWrite, Self::RulesRead, Self::RulesWrite, Self::Worker, Self::Operator];

    /// The word of the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::JobsRead => "jobs:read",
            Self::JobsWrite => "jobs:write",
            Self::RulesRead => "rules:read",
            Self::RulesWrite => "rules:write",
            Self::Worker => "worker",
            Self::Operator => "operator",
        }
    }

    /// The scope of this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == word)
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of scopes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// What an operator holds: one scope that stands for all.
    pub const OPERATOR: Self = Self(Scope::Operator as u8);

    /// Whether `scope` may be used: it is in the set, or the set is an operator's.
    pub const fn allow(self, scope: Scope) -> bool {
        self.0 & (scope as u8 | Scope::Operator as u8) != 0
    }

    /// Whether the set is an operator's.
    pub const fn operator(self) -> bool {
        self.0 & Scope::Operator as u8 != 0
    }

    /// Whether nothing may be done.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The scopes of the set, in the order in which they are told.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.0 & *scope as u8 != 0)
    }

    /// As a store keeps it.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// As a store kept it; `None` if a bit is nobody's.
    pub const fn from_bits(bits: u8) -> Option<Self> {
        if bits < 64 { Some(Self(bits)) } else { None }
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | scope as u8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_may_do_everything() {
        assert!(Scope::ALL.into_iter().all(|scope| Scopes::OPERATOR.allow(scope)));
    }

    #[test]
    fn others_may_do_what_they_hold() {
        for held in Scope::ALL.into_iter().filter(|scope| *scope != Scope::Operator) {
            let set: Scopes = [held].into_iter().collect();
            for asked in Scope::ALL {
                assert_eq!(set.allow(asked), asked == held, "{held} {asked}");
            }
            assert_eq!(set.iter().collect::<Vec<_>>(), [held]);
            assert_eq!(Scopes::from_bits(set.bits()), Some(set));
        }
        assert!(Scopes::default().is_empty() && Scopes::from_bits(64).is_none());
    }

    #[test]
    fn words_are_read_back() {
        for scope in Scope::ALL {
            assert_eq!(Scope::parse(scope.as_str()), Some(scope));
        }
        assert_eq!(Scope::parse("jobs"), None);
    }
}
