//! The paths that are served, and what each of them takes and gives (SRP section 1).

/// A call that is routed to a provider. All of them are `POST`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `POST /v1/chat/completions`
    ChatCompletions,
    /// `POST /v1/completions`
    Completions,
    /// `POST /v1/embeddings`
    Embeddings,
    /// `POST /v1/responses`
    Responses,
    /// `POST /v1/moderations`
    Moderations,
    /// `POST /v1/rerank`
    Rerank,
    /// `POST /v1/images/generations`
    ImagesGenerations,
    /// `POST /v1/audio/speech`
    AudioSpeech,
    /// `POST /v1/audio/transcriptions`
    AudioTranscriptions,
    /// `POST /v1/audio/translations`
    AudioTranslations,
}

/// Where a request carries its `model`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyKind {
    /// A member of one JSON object.
    Json,
    /// A field of a `multipart/form-data` body (RFC 7578).
    Multipart,
}

impl Operation {
    /// Every operation, in the order of SRP section 1.
    pub const ALL: [Operation; 10] = [
        Operation::ChatCompletions,
        Operation::Completions,
        Operation::Embeddings,
        Operation::Responses,
        Operation::Moderations,
        Operation::Rerank,
        Operation::ImagesGenerations,
        Operation::AudioSpeech,
        Operation::AudioTranscriptions,
        Operation::AudioTranslations,
    ];

    /// The path below an endpoint's base URL, which itself ends in `/v1` or the vendor's like.
    pub const fn path(self) -> &'static str {
        match self {
            Operation::ChatCompletions => "/chat/completions",
            Operation::Completions => "/completions",
            Operation::Embeddings => "/embeddings",
            Operation::Responses => "/responses",
            Operation::Moderations => "/moderations",
            Operation::Rerank => "/rerank",
            Operation::ImagesGenerations => "/images/generations",
            Operation::AudioSpeech => "/audio/speech",
            Operation::AudioTranscriptions => "/audio/transcriptions",
            Operation::AudioTranslations => "/audio/translations",
        }
    }

    /// What OpenTelemetry calls it: `gen_ai.operation.name`. Its well-known values first, then ours.
    pub const fn gen_ai_name(self) -> &'static str {
        match self {
            Operation::ChatCompletions | Operation::Responses => "chat",
            Operation::Completions => "text_completion",
            Operation::Embeddings => "embeddings",
            Operation::Moderations => "moderation",
            Operation::Rerank => "rerank",
            Operation::ImagesGenerations => "image_generation",
            Operation::AudioSpeech => "speech",
            Operation::AudioTranscriptions => "transcription",
            Operation::AudioTranslations => "translation",
        }
    }

    /// What its request body is.
    pub const fn body(self) -> BodyKind {
        match self {
            Operation::AudioTranscriptions | Operation::AudioTranslations => BodyKind::Multipart,
            _ => BodyKind::Json,
        }
    }

    /// Whether OpenAI's `service_tier` is a member of its requests.
    pub const fn has_service_tier(self) -> bool {
        matches!(self, Operation::ChatCompletions | Operation::Responses)
    }

    /// Whether vLLM's `priority` is a member of its requests.
    pub const fn has_priority(self) -> bool {
        matches!(
            self,
            Operation::ChatCompletions
                | Operation::Completions
                | Operation::Responses
                | Operation::Embeddings
        )
    }

    /// Whether its streams report token counts only when `stream_options.include_usage` asks for
    /// it. The other streams report them unasked, or not at all.
    pub const fn streams_usage(self) -> bool {
        matches!(self, Operation::ChatCompletions | Operation::Completions)
    }
}

/// What a request line asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route<'p> {
    /// A call to be routed to a provider.
    Call(Operation),
    /// `GET /v1/models`
    ModelList,
    /// `GET /v1/models/{id}`: the id as it stands in the path, percent signs and all.
    Model(&'p str),
}

/// Why a request line leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoute {
    /// No such path: 404 `unknown_url`.
    UnknownUrl,
    /// The path exists, with other methods: 405.
    MethodNotAllowed {
        /// The value of the `Allow` field.
        allow: &'static str,
    },
}

/// Finds the route of a request line. `path` is without query; it is compared as it is: no
/// percent-decoding, no dot segments, no trailing slash, so that nothing has two names.
///
/// # Errors
/// [`NoRoute`], as 404 and 405 distinguish it.
pub fn route<'p>(method: &str, path: &'p str) -> Result<Route<'p>, NoRoute> {
    let rest = path.strip_prefix("/v1").ok_or(NoRoute::UnknownUrl)?;
    if let Some(operation) = Operation::ALL.into_iter().find(|o| o.path() == rest) {
        return match method {
            "POST" => Ok(Route::Call(operation)),
            _ => Err(NoRoute::MethodNotAllowed { allow: "POST" }),
        };
    }
    let found = match rest.strip_prefix("/models") {
        Some("") => Route::ModelList,
        Some(tail) => match tail.strip_prefix('/') {
            Some(id) if !id.is_empty() => Route::Model(id),
            _ => return Err(NoRoute::UnknownUrl),
        },
        None => return Err(NoRoute::UnknownUrl),
    };
    match method {
        "GET" | "HEAD" => Ok(found),
        _ => Err(NoRoute::MethodNotAllowed { allow: "GET, HEAD" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_reached_by_post_alone() {
        for operation in Operation::ALL {
            let path = format!("/v1{}", operation.path());
            assert_eq!(route("POST", &path), Ok(Route::Call(operation)));
            for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "post", "PATCH"] {
                assert_eq!(
                    route(method, &path),
                    Err(NoRoute::MethodNotAllowed { allow: "POST" })
                );
            }
        }
    }

    #[test]
    fn models_are_listed_and_read() {
        assert_eq!(route("GET", "/v1/models"), Ok(Route::ModelList));
        assert_eq!(route("HEAD", "/v1/models"), Ok(Route::ModelList));
        assert_eq!(route("GET", "/v1/models/smart"), Ok(Route::Model("smart")));
        assert_eq!(
            route("GET", "/v1/models/a%2Fb/c"),
            Ok(Route::Model("a%2Fb/c"))
        );
        for path in ["/v1/models", "/v1/models/smart"] {
            assert_eq!(
                route("POST", path),
                Err(NoRoute::MethodNotAllowed { allow: "GET, HEAD" })
            );
        }
    }

    #[test]
    fn a_path_has_one_spelling() {
        for path in [
            "",
            "/",
            "*",
            "/v1",
            "/v1/",
            "/v1/models/",
            "/v1/modelsx",
            "/v1/chat/completions/",
            "//v1/chat/completions",
            "/v1//chat/completions",
            "/v1/chat%2Fcompletions",
            "/V1/chat/completions",
            "/v1/chat",
            "/v2/chat/completions",
            "/chat/completions",
            "/v1/../v1/models",
        ] {
            assert_eq!(route("POST", path), Err(NoRoute::UnknownUrl), "{path}");
            assert_eq!(route("GET", path), Err(NoRoute::UnknownUrl), "{path}");
        }
    }
}
