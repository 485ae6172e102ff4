//! Pages of lists. A cursor is opaque, and belongs to the list and the filter
//! for which it was given: elsewhere it is refused instead of misread.

use std::borrow::Cow;
use std::fmt::Debug;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use taskflow_domain::{EventId, FiringId, JobId, KeyId, RuleId, TenantSlug};
use uuid::Uuid;

use super::query::Query;

/// The length of a page if nobody says.
const DEFAULT_LIMIT: u32 = 50;
/// The length of a page at most.
const MAX_LIMIT: u32 = 500;

/// Bytes of a cursor that tell its list. The rest tells the place in it.
const SEAL: usize = 8;

/// A place in a list: the last entry of the page before.
pub(crate) trait Place: Sized {
    /// As a cursor holds it.
    fn to_bytes(&self) -> Vec<u8>;
    /// From what a cursor holds.
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
}

macro_rules! ids {
    ($($id:ident)*) => {$(
        impl Place for $id {
            fn to_bytes(&self) -> Vec<u8> {
                self.0.as_bytes().to_vec()
            }

            fn from_bytes(bytes: &[u8]) -> Option<Self> {
                Uuid::from_slice(bytes).ok().map(Self)
            }
        }
    )*};
}
ids!(JobId RuleId FiringId EventId KeyId);

impl Place for String {
    fn to_bytes(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Self::from_utf8(bytes.to_vec()).ok()
    }
}

macro_rules! numbers {
    ($($number:ident)*) => {$(
        impl Place for $number {
            fn to_bytes(&self) -> Vec<u8> {
                self.to_be_bytes().to_vec()
            }

            fn from_bytes(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self::from_be_bytes)
            }
        }
    )*};
}
numbers!(u16 u32 u64);

impl Place for TenantSlug {
    fn to_bytes(&self) -> Vec<u8> {
        self.as_str().as_bytes().to_vec()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Self::new(std::str::from_utf8(bytes).ok()?).ok()
    }
}

/// What a cursor belongs to.
pub(crate) struct List([u8; SEAL]);

impl List {
    /// The list `name`, of that owner, through that filter.
    pub(crate) fn new(name: &str, of: &dyn Debug) -> Self {
        let digest = Sha256::digest(format!("{name}\n{of:?}"));
        let mut seal = [0; SEAL];
        seal.copy_from_slice(&digest[..SEAL]);
        Self(seal)
    }

    /// The cursor of what follows `place`.
    pub(crate) fn cursor(&self, place: &impl Place) -> String {
        URL_SAFE_NO_PAD.encode([&self.0, place.to_bytes().as_slice()].concat())
    }

    fn place<P: Place>(&self, cursor: &str) -> Option<P> {
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        P::from_bytes(bytes.strip_prefix(&self.0)?)
    }
}

/// Which page is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted<P> {
    /// Behind this place.
    pub(crate) after: Option<P>,
    /// How many entries at most.
    pub(crate) limit: u32,
}

impl<P: Place> Wanted<P> {
    /// Reads `limit` and `cursor` of a request for `list`.
    pub(crate) fn read(query: &mut Query, list: &List) -> Self {
        let limit = query.one("limit", |text| {
            let limit = text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
            limit.ok_or("must be a whole number from 1 to 500")
        });
        let after = query
            .one("cursor", |text| list.place(text).ok_or("is not a cursor of this list with this filter"));
        Self { after, limit: limit.unwrap_or(DEFAULT_LIMIT) }
    }
}

impl Wanted<String> {
    /// The page of a list that was read whole and is in the order of its names, and
    /// where the next one begins.
    pub(crate) fn cut<T>(
        self,
        list: &List,
        all: Vec<T>,
        name: impl Fn(&T) -> Cow<'_, str>,
    ) -> (Vec<T>, Option<String>) {
        let after = self.after.unwrap_or_default();
        let mut rest = all.into_iter().filter(|item| *name(item) > *after);
        let page: Vec<T> = rest.by_ref().take(self.limit as usize).collect();
        let more = rest.next().is_some();
        let next = page.last().filter(|_| more).map(|last| list.cursor(&name(last).into_owned()));
        (page, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_names_is_cut_into_pages() {
        let list = List::new("names", &());
        let page = |after: Option<&str>, limit| {
            let wanted = Wanted { after: after.map(str::to_owned), limit };
            let (page, next) = wanted.cut(&list, vec!["a", "b", "c"], |name| (*name).into());
            (page, next.and_then(|next| list.place::<String>(&next)))
        };
        assert_eq!(page(None, 2), (vec!["a", "b"], Some("b".to_owned())));
        assert_eq!(page(Some("b"), 2), (vec!["c"], None));
        assert_eq!(page(None, 3), (vec!["a", "b", "c"], None));
        assert_eq!(page(Some("c"), 1), (vec![], None));
    }

    #[test]
    fn a_cursor_belongs_to_its_list() {
        let (one, other) = (List::new("jobs", &("a", 1)), List::new("jobs", &("a", 2)));
        let cursor = one.cursor(&7_u32);
        assert_eq!(one.place(&cursor), Some(7_u32));
        assert_eq!(other.place::<u32>(&cursor), None);
        assert_eq!(one.place::<u16>(&cursor), None);
        for bad in ["", "x", &cursor[1..], &format!("{cursor}AAAA"), &cursor.replace(&cursor[..1], "=")] {
            assert_eq!(one.place::<u32>(bad), None, "{bad}");
        }
        let slug = TenantSlug::new("acme").unwrap();
        assert_eq!(one.place(&one.cursor(&slug)), Some(slug));
        let id = JobId(Uuid::from_u128(5));
        assert_eq!(one.place(&one.cursor(&id)), Some(id));
    }
}
