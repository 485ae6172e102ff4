//! News between the parts of one process, and between processes by NOTIFY.
