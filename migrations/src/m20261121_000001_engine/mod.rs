//! The tables of the engine: tenants, queues, lanes, jobs and where they stand.
#![expect(
    elided_lifetimes_in_paths,
    reason = "the trait is declared so, and naming the lifetime does not compile"
)]

use sea_orm_migration::prelude::{DbErr, DeriveMigrationName, MigrationTrait, SchemaManager};
use sea_orm_migration::{
    async_trait,
    sea_orm::{ConnectionTrait, DbBackend},
};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

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
