//! Looking at jobs: the reader's port over PostgreSQL.
