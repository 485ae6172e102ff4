//! The schema, forward only: expand, then contract.

use sea_orm_migration::{MigrationTrait, MigratorTrait, async_trait};

mod m20261121_000001_engine;
mod m20261121_000002_automation;
mod m20261121_000003_access;
mod m20261121_000004_insight;

/// All migrations, in order.
#[derive(Debug)]
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261121_000001_engine::Migration),
            Box::new(m20261121_000002_automation::Migration),
            Box::new(m20261121_000003_access::Migration),
            Box::new(m20261121_000004_insight::Migration),
        ]
    }
}
