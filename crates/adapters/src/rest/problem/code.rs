//! The kinds of problem: their public words, and their statuses.

use axum::http::StatusCode;

/// The kinds of problem. The word of each is public and does not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    MalformedJson,
    Unauthenticated,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    IllegalTransition,
    BadSignature,
    RuleDisabled,
    WrongTrigger,
    WebhookKeyTaken,
    KeysCrowded,
    SecretsUnavailable,
    KeyInFlight,
    UnknownParent,
    Contended,
    BodyTooLarge,
    UriTooLong,
    UnsupportedMediaType,
    Invalid,
    KeyReused,
    DependenciesUnavailable,
    BacklogFull,
    TooManyRules,
    RateLimited,
    Suspended,
    QueueDraining,
    HeadersTooLarge,
    Internal,
    Unavailable,
    Overloaded,
    StorageFull,
}

impl Code {
    /// The word that programs look at.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::MalformedJson => "malformed_json",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::RequestTimeout => "request_timeout",
            Self::IllegalTransition => "illegal_transition",
            Self::BadSignature => "bad_signature",
            Self::RuleDisabled => "rule_disabled",
            Self::WrongTrigger => "wrong_trigger",
            Self::WebhookKeyTaken => "webhook_key_taken",
            Self::KeysCrowded => "two_keys_live",
            Self::SecretsUnavailable => "secrets_unavailable",
            Self::KeyInFlight => "idempotency_key_in_flight",
            Self::UnknownParent => "unknown_parent",
            Self::Contended => "contended",
            Self::BodyTooLarge => "body_too_large",
            Self::UriTooLong => "uri_too_long",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::Invalid => "invalid",
            Self::KeyReused => "idempotency_key_reused",
            Self::DependenciesUnavailable => "dependencies_unavailable",
            Self::BacklogFull => "backlog_full",
            Self::TooManyRules => "too_many_rules",
            Self::RateLimited => "rate_limited",
            Self::Suspended => "tenant_suspended",
            Self::QueueDraining => "queue_draining",
            Self::HeadersTooLarge => "headers_too_large",
            Self::Internal => "internal",
            Self::Unavailable => "unavailable",
            Self::Overloaded => "overloaded",
            Self::StorageFull => "storage_full",
        }
    }

    /// The HTTP status.
    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::MalformedJson => StatusCode::BAD_REQUEST,
            Self::Unauthenticated | Self::BadSignature => StatusCode::UNAUTHORIZED,
            Self::Forbidden | Self::Suspended => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::IllegalTransition
            | Self::RuleDisabled
            | Self::WrongTrigger
            | Self::WebhookKeyTaken
            | Self::KeysCrowded
            | Self::KeyInFlight
            | Self::UnknownParent
            | Self::Contended
            | Self::QueueDraining => StatusCode::CONFLICT,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UriTooLong => StatusCode::URI_TOO_LONG,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::SecretsUnavailable | Self::Invalid | Self::KeyReused | Self::DependenciesUnavailable => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Self::BacklogFull | Self::TooManyRules | Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable | Self::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            Self::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
        }
    }

    /// The kind of problem, for people.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::MalformedJson => "The body is not JSON",
            Self::Unauthenticated => "A valid key is needed",
            Self::Forbidden => "The key may not do this",
            Self::NotFound => "There is no such thing",
            Self::MethodNotAllowed => "The method is not possible here",
            Self::RequestTimeout => "The body did not arrive in time",
            Self::BadSignature => "The signature is not good",
            Self::RuleDisabled => "The rule is disabled",
            Self::WrongTrigger => "The rule has another trigger",
            Self::WebhookKeyTaken => "Another rule has the webhook key",
            Self::KeysCrowded => "Two keys of the family are good already",
            Self::SecretsUnavailable => "The secret cannot be kept or opened",
            Self::IllegalTransition => "The job's state does not allow it",
            Self::KeyInFlight => "A request with this idempotency key is in flight",
            Self::UnknownParent => "The parent job does not exist",
            Self::Contended => "It was changed in between",
            Self::BodyTooLarge => "The body is too large",
            Self::UriTooLong => "The URI is too long",
            Self::UnsupportedMediaType => "The body must be JSON",
            Self::Invalid => "The request is not valid",
            Self::KeyReused => "The idempotency key belongs to another request",
            Self::DependenciesUnavailable => "Dependencies are not available yet",
            Self::BacklogFull => "The tenant has too many jobs waiting",
            Self::TooManyRules => "The tenant has too many rules",
            Self::RateLimited => "There are too many requests",
            Self::Suspended => "The tenant is suspended",
            Self::QueueDraining => "The queue takes no new jobs",
            Self::HeadersTooLarge => "The headers are too large",
            Self::Internal => "The server failed",
            Self::Unavailable => "The server cannot reach its database",
            Self::Overloaded => "The server has too much to do",
            Self::StorageFull => "The server's storage is full",
        }
    }
}
