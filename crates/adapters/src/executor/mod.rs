//! Running jobs: HTTP targets and builtin work.
