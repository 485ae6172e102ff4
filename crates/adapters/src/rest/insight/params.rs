//! What the OpenAPI description says of the parameters of statistics.

use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn, ParameterStyle};
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Type};

use super::super::describe::{NAME, PageParams, SLUG, formatted, query, text};

/// Which stretch of time, and how it is told apart.
pub(super) struct StatParams;

fn one_of(words: &[&str]) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words.iter().copied()))
}

impl IntoParams for StatParams {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let all = [
            query(
                "span",
                "How long each bucket is.",
                one_of(&["minute", "hour"]).default(Some("minute".into())),
            ),
            query(
                "since",
                "Buckets that begin then or later; if not said, an hour of minutes, or a day of hours, before `until`.",
                formatted("date-time"),
            )
            .example(Some("2026-01-01T00:00:00Z".into())),
            query("until", "Buckets that begin earlier.", formatted("date-time"))
                .example(Some("2030-01-01T00:00:00Z".into())),
            query("tenant", "Only of this tenant.", text(SLUG)).example(Some("default".into())),
            query("queue", "Only of this queue.", text(NAME)).example(Some("default".into())),
            query("kind", "Only of this kind.", text(NAME)).example(Some("send-email".into())),
            query(
                "by",
                "What is told apart. May be repeated.",
                ArrayBuilder::new().items(one_of(&["tenant", "queue", "kind"])),
            )
            .style(Some(ParameterStyle::Form))
            .explode(Some(true)),
        ];
        let pages = PageParams::into_params(|| None);
        all.into_iter().map(ParameterBuilder::build).chain(pages).collect()
    }
}
