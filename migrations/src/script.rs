//! A migration that is one script for each kind of database.
#![expect(
    elided_lifetimes_in_paths,
    reason = "the trait is declared so, and naming the lifetime does not compile"
)]

use sea_orm_migration::prelude::{DbErr, MigrationName, MigrationTrait, SchemaManager};
use sea_orm_migration::{
    async_trait,
    sea_orm::{ConnectionTrait, DbBackend},
};

/// A migration that is one script for each kind of database.
pub(crate) struct Script {
    /// The name under which a database remembers it: that of its directory.
    pub(crate) name: &'static str,
    /// What PostgreSQL is told.
    pub(crate) postgres: &'static str,
    /// What SQLite is told.
    pub(crate) sqlite: &'static str,
}

impl MigrationName for Script {
    fn name(&self) -> &'static str {
        self.name
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Script {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        let script = match connection.get_database_backend() {
            DbBackend::Sqlite => self.sqlite,
            _ => self.postgres,
        };
        connection.execute_unprepared(script).await.map(|_| ())
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("migrations go forward only: restore a backup instead".into()))
    }
}
