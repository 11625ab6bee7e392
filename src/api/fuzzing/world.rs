//! A hub with its API, asked without a listener, and what holds of every answer.

use crate::access::{AdminTokens, Failures};
use crate::api::{Access, Api, PREFIX, Placement, routes};
use crate::config::{Config, Loaded, Secret};
use crate::hub::{ClientInfo, ClientName, Hub, HubLimits, Identity, Membership};
use crate::protocol::{CommandLimits, command};
use crate::reload::Reloads;
use poem::endpoint::BoxEndpoint;
use poem::http::uri::Scheme;
use poem::http::{self, Method, StatusCode, Uri, header};
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Endpoint, EndpointExt, Request, RequestParts, Response};
use serde::de::IgnoredAny;
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

const TOKEN: &str = "a-token-of-24-characters";

pub(super) const LIMITS: CommandLimits =
    CommandLimits { max_channel_name_bytes: 255, max_event_bytes: 130_048 };

/// The hub's clients: name, whether it is proven, address, channels.
pub(super) const CLIENTS: [(Option<&str>, bool, &str, &[&str]); 4] = [
    (Some("a"), false, "10.0.0.1:1", &["\"x\"", "5"]),
    (Some("a"), true, "[::ffff:10.0.0.2]:1", &["\"*\""]),
    (Some("b c"), false, "[2001:db8::1]:1", &["\"x\"", "\"X y\"", "\"5\""]),
    (None, false, "192.0.2.7:1", &[]),
];

/// Where a client comes from, as it is compared.
pub(super) fn ip(client: usize) -> IpAddr {
    let address: SocketAddr = CLIENTS[client].2.parse().expect("an address");
    address.ip().to_canonical()
}

pub(super) struct World {
    pub hub: Hub,
    endpoint: BoxEndpoint<'static, Response>,
    runtime: Runtime,
}

/// What was answered: the document, if there is one and a tree of values can hold it.
pub(super) struct Answered {
    pub status: u16,
    pub document: Option<Value>,
}

impl World {
    pub fn new() -> Self {
        let hub = Hub::new(HubLimits {
            max_clients: 100,
            max_channels_per_client: 10,
            total_open_channels: 100,
            max_message_bytes: 131_072,
            max_queue_bytes: 1 << 20,
            total_queue_bytes: 1 << 24,
            max_log_messages: 20,
            max_log_bytes: 1 << 20,
        });
        let (_, in_force) = watch::channel(Arc::new(Loaded::from(Config::default())));
        let (_, tokens) = watch::channel(AdminTokens::new(&Secret::new(TOKEN), None));
        let (_, stopping) = watch::channel(false);
        let access = Access::new(in_force.clone(), tokens, None, Failures::new());
        let endpoint = routes(Api {
            hub: hub.clone(),
            access,
            in_force,
            reloads: Reloads::channel().0,
            stopping,
            uses_io_uring: Box::new(|| false),
            placement: Placement::Own,
        });
        let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
        Self { hub, endpoint: endpoint.boxed(), runtime }
    }

    /// Has [`CLIENTS`] join; they leave when what is returned is dropped.
    pub fn join(&self) -> Vec<Membership> {
        let join = |(name, proven, address, channels): (Option<&str>, bool, &str, &[&str])| {
            let named = if proven { ClientName::Proven } else { ClientName::Claimed };
            let info = ClientInfo {
                address: address.parse().expect("an address"),
                user_agent: None,
                identity: Identity {
                    name: name.map(|name| named(name.into())),
                    ..Identity::default()
                },
                rights: None,
            };
            let client = self.hub.admit().expect("room").join(info, |_, _| ());
            for channel in channels {
                let text = format!(r#"{{"type":"open","channel":{channel}}}"#);
                let request = command::parse(&text, LIMITS);
                self.hub.execute(client.key(), request, text.len(), Instant::now());
            }
            client
        };
        CLIENTS.into_iter().map(join).collect()
    }

    /// Asks with the owner's token.
    ///
    /// # Panics
    /// What is answered is no JSON, or a refusal is no problem as RFC 9457 has it.
    pub fn ask(&self, method: Method, uri: Uri, body: &[u8]) -> Answered {
        let request = http::Request::builder()
            .method(method)
            .uri(uri)
            .header(header::HOST, "localhost")
            .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"))
            .header(header::CONTENT_TYPE, "application/json");
        // As a listener makes it; poem's own builder forgets what was asked for.
        let (head, ()) = request.body(()).expect("a request").into_parts();
        let ends = (LocalAddr::default(), RemoteAddr::default());
        let head: RequestParts = (head, ends.0, ends.1, Scheme::HTTP).into();
        let request = Request::from_parts(head, body.to_vec().into());
        let (status, kind, bytes) = self.runtime.block_on(async {
            let response = self.endpoint.get_response(request).await;
            let (status, kind) = (response.status(), response.content_type().map(str::to_owned));
            (status, kind, response.into_body().into_bytes().await.expect("a body"))
        });
        if status == StatusCode::NO_CONTENT {
            assert!(bytes.is_empty());
            return Answered { status: 204, document: None };
        }
        serde_json::from_slice::<IgnoredAny>(&bytes).expect("an answer is JSON");
        let document = serde_json::from_slice::<Value>(&bytes).ok();
        if status.is_success() {
            assert_eq!(kind.as_deref(), Some("application/json"));
        } else {
            let document = document.as_ref().expect("a tree holds what the hub says");
            assert!(status.is_client_error(), "{status}: {document}");
            assert_eq!(kind.as_deref(), Some("application/problem+json"));
            assert_eq!(document["status"], status.as_u16());
            assert!(document["detail"].as_str().is_some_and(|words| !words.is_empty()));
        }
        Answered { status: status.as_u16(), document }
    }

    /// Asks at a path that needs no escapes.
    pub fn ask_at(&self, method: Method, path: &str, body: &[u8]) -> Answered {
        self.ask(method, Uri::try_from(format!("{PREFIX}/{path}")).expect("a path"), body)
    }
}

impl Answered {
    /// The document.
    pub fn document(&self) -> &Value {
        self.document.as_ref().expect("a document")
    }

    /// What the first field or parameter is called that a refusal names.
    pub fn names(&self) -> Option<&str> {
        self.document.as_ref()?["errors"][0]["field"].as_str()
    }
}
