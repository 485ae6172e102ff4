//! What is wrong with a request, and where: faults are gathered, so that one
//! answer names all of them.

use std::borrow::Cow;
use std::fmt::Write as _;

/// More faults than this are not told one by one.
const MOST: usize = 100;
/// No pointer is longer; a deeper place is told by its nearest shorter ancestor.
const LONGEST_POINTER: usize = 512;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Where: a JSON pointer as a URI fragment, or the name of a parameter or header.
    pub(crate) place: Place,
    /// What.
    pub(crate) detail: String,
}

/// Where a fault is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the body, at this JSON pointer.
    Body(String),
    /// In the query parameter of this name.
    Query(String),
    /// In the header of this name.
    Header(Cow<'static, str>),
    /// In the part of the path of this name.
    Segment(&'static str),
}

/// The header that makes a repeated request the same request.
pub(crate) const IDEMPOTENCY_KEY: &str = "Idempotency-Key";

/// How a request names the jobs that it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// The body is one job.
    One,
    /// The same, and a header gave its idempotency key.
    OneByHeader,
    /// The body holds a list of jobs.
    Many,
}

/// What is wrong with a request.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    list: Vec<Fault>,
    untold: usize,
}

impl Faults {
    /// Notes a fault at a place of the body.
    pub(crate) fn at(&mut self, path: &Path<'_>, detail: impl Into<String>) {
        if self.list.len() < MOST {
            self.list.push(Fault { place: Place::Body(path.pointer()), detail: detail.into() });
        } else {
            self.untold += 1;
        }
    }

    /// Notes a fault of a query parameter or a header.
    pub(crate) fn note(&mut self, place: Place, detail: impl Into<String>) {
        if self.list.len() < MOST {
            self.list.push(Fault { place, detail: detail.into() });
        } else {
            self.untold += 1;
        }
    }

    /// Notes a fault at a JSON pointer of the body.
    pub(crate) fn note_pointer(&mut self, pointer: &str, detail: impl Into<String>) {
        self.note(Place::Body(fragment(pointer)), detail);
    }

    /// Whether nothing is wrong.
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The faults, and how many more there are.
    pub(crate) fn into_parts(self) -> (Vec<Fault>, usize) {
        (self.list, self.untold)
    }
}

/// A place in a JSON document: a list of steps that lives on the stack, so that
/// a document without faults costs no text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path<'p> {
    parent: Option<&'p Path<'p>>,
    step: Step<'p>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'p> {
    Root,
    Key(&'p str),
    Index(usize),
}

impl<'p> Path<'p> {
    /// The whole document.
    pub(crate) const ROOT: Path<'static> = Path { parent: None, step: Step::Root };

    /// The member `key` of the object here.
    pub(crate) const fn key(&'p self, key: &'p str) -> Path<'p> {
        Path { parent: Some(self), step: Step::Key(key) }
    }

    /// The element `index` of the array here.
    pub(crate) const fn index(&'p self, index: usize) -> Path<'p> {
        Path { parent: Some(self), step: Step::Index(index) }
    }

    /// As a JSON pointer in its form as a URI fragment (RFC 6901, section 6).
    pub(crate) fn pointer(&self) -> String {
        let mut steps = Vec::new();
        let mut here = Some(self);
        while let Some(path) = here {
            steps.push(path.step);
            here = path.parent;
        }
        let mut pointer = String::from("#");
        for step in steps.into_iter().rev() {
            let before = pointer.len();
            match step {
                Step::Root => {}
                Step::Index(index) => _ = write!(pointer, "/{index}"),
                Step::Key(key) => push_key(&mut pointer, key),
            }
            if pointer.len() > LONGEST_POINTER {
                pointer.truncate(before);
                break;
            }
        }
        pointer
    }
}

/// A JSON pointer in its form as a URI fragment; one that is too long is cut at a step.
pub(crate) fn fragment(pointer: &str) -> String {
    let mut fragment = String::from("#");
    for step in pointer.split('/').skip(1) {
        let before = fragment.len();
        push_key(&mut fragment, &step.replace("~1", "/").replace("~0", "~"));
        if fragment.len() > LONGEST_POINTER {
            fragment.truncate(before);
            break;
        }
    }
    fragment
}

/// Escapes `~` and `/` as a pointer wants it, and everything that may not stand
/// in a fragment as a URI wants it.
fn push_key(pointer: &mut String, key: &str) {
    pointer.push('/');
    for &byte in key.as_bytes().iter().take(LONGEST_POINTER + 1) {
        match byte {
            b'~' => pointer.push_str("~0"),
            b'/' => pointer.push_str("~1"),
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' => pointer.push(byte as char),
            _ => _ = write!(pointer, "%{byte:02X}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_escaped_and_bounded() {
        let jobs = Path::ROOT.key("jobs");
        let third = jobs.index(2);
        assert_eq!(Path::ROOT.pointer(), "#");
        assert_eq!(third.key("a/b~c d\u{0}").pointer(), "#/jobs/2/a~1b~0c%20d%00");
        assert_eq!(third.key(&"x".repeat(1_000_000)).pointer(), "#/jobs/2");
    }

    #[test]
    fn the_list_is_bounded() {
        let mut faults = Faults::default();
        for _ in 0..150 {
            faults.at(&Path::ROOT, "no");
        }
        let (list, untold) = faults.into_parts();
        assert_eq!((list.len(), untold), (100, 50));
    }
}
