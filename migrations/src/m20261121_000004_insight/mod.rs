//! What operators look at: statistics, runners, and queues that drain.
#![expect(
    elided_lifetimes_in_paths,
    reason = "the trait is declared so, and naming the lifetime does not compile"
)]

use sea_orm_migration::prelude::{DbErr, MigrationName, MigrationTrait, SchemaManager};
use sea_orm_migration::{
    async_trait,
    sea_orm::{ConnectionTrait, DbBackend},
};

pub(crate) struct Migration;

/// The name of the directory. The one that would be derived is that of the file,
/// and every migration's file is called `mod`.
impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261121_000004_insight"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        let schema = match connection.get_database_backend() {
            DbBackend::Sqlite => include_str!("sqlite.sql"),
            _ => include_str!("postgres.sql"),
        };
        connection.execute_unprepared(schema).await.map(|_| ())
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("migrations go forward only: restore a backup instead".into()))
    }
}
