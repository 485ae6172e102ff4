//! The schema, forward only: expand, then contract.

use sea_orm_migration::{MigrationTrait, MigratorTrait, async_trait};

mod script;

use script::Script;

/// All migrations, in order.
#[derive(Debug)]
pub struct Migrator;

/// The scripts of a directory.
macro_rules! script {
    ($name:literal) => {
        Box::new(Script {
            name: $name,
            postgres: include_str!(concat!("../", $name, "/postgres.sql")),
            sqlite: include_str!(concat!("../", $name, "/sqlite.sql")),
        })
    };
}

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            // Tenants, queues, lanes, jobs and where they stand.
            script!("m20261121_000001_engine"),
            // Rules, what they fired, events and their outbox.
            script!("m20261121_000002_automation"),
            // Keys, the audit, and what else tells who may do what.
            script!("m20261121_000003_access"),
            // What operators look at: statistics, runners, queues that drain.
            script!("m20261121_000004_insight"),
            // What waits of rules that act for many tenants.
            script!("m20261121_000005_rule_wait"),
            // Tenants take turns at the outbox.
            script!("m20261121_000006_outbox_turns"),
            // The key of secrets of an installation that was given none.
            script!("m20261121_000007_sealing_key"),
            // What was drawn from request rates, by all processes together.
            script!("m20261121_000008_allowance"),
            // The audit of a file cannot be replaced either.
            script!("m20261121_000009_audit_once"),
            // Which keys came of one another by rotation.
            script!("m20261121_000010_key_family"),
            // The rules of all tenants in one list.
            script!("m20261121_000011_rule_lines"),
            // When limits changed, and since when tenants are held.
            script!("m20261121_000012_limits_since"),
        ]
    }
}
