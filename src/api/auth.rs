//! Who may call: the token of a request, the host it asks for, and what both open.
//!
//! [`Access`] stands before every operation, those that do not exist included; an operation
//! itself says by an argument whether it needs a `Reader` or the `Owner`. The game host makes players'
//! requests too, so the address of a caller counts for nothing.

use super::problem::{Code, Problem};
use crate::access::{
    AdminTokens, BansFile, FAILURE_DELAY, Failures, Scope, Seldom, host_is_allowed,
};
use crate::config::Secret;
use crate::http::client_address;
use crate::hub::Hub;
use crate::reload::InForce;
use crate::worker::Worker;
use poem::http::{StatusCode, header};
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaSecurityScheme, Registry};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, watch};

/// The name of the security scheme in the documentation.
const SCHEME: &str = "token";

/// How slowly the body of a request may come, beside the time for a head.
const BODY_BYTES_PER_SECOND: usize = 64 * 1024;

/// What decides who may call, and keeps what they decide.
#[derive(Clone)]
pub struct Access {
    tokens: watch::Receiver<AdminTokens>,
    failures: Failures,
    /// Wrong tokens come in floods; the log has one of them now and then.
    told: Arc<Seldom>,
    in_force: InForce,
    /// And the thread that writes it.
    bans_file: Option<(Arc<Mutex<BansFile>>, Worker)>,
}

/// What a request's token has opened.
#[derive(Debug, Clone)]
pub(super) struct Grant {
    token: Secret,
    scope: Scope,
}

impl Access {
    /// Tokens may change while the program runs; a stream whose token is gone ends. Bans go into the
    /// file, if there is one, on a thread of its own.
    pub(crate) fn new(
        in_force: InForce,
        tokens: watch::Receiver<AdminTokens>,
        bans_file: Option<(Arc<Mutex<BansFile>>, Worker)>,
        failures: Failures,
    ) -> Self {
        Self { tokens, failures, told: Arc::default(), in_force, bans_file }
    }

    /// Most bytes of a request's body, and how long it may take.
    pub(super) fn body_bounds(&self) -> (usize, Duration) {
        let limits = &self.in_force.borrow().config.limits;
        let most = limits.max_frame_bytes;
        let seconds = (most / BODY_BYTES_PER_SECOND) as u64;
        (most, limits.handshake_timeout + Duration::from_secs(seconds))
    }

    /// Calls with a wrong token since the start.
    pub fn failures(&self) -> u64 {
        self.failures.total()
    }

    /// Calls that were turned away because too many wrong tokens waited for their answer.
    pub fn turned_away(&self) -> u64 {
        self.failures.turned_away()
    }

    /// Refuses a request for a host that this is not.
    pub(super) fn check_host(&self, request: &Request) -> Result<(), Problem> {
        let named = request.uri().authority().map(|authority| authority.as_str());
        let header = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        let in_force = self.in_force.borrow();
        let allowed = &in_force.config.admin.allowed_hosts;
        if named.or(header).is_some_and(|host| host_is_allowed(host, allowed)) {
            return Ok(());
        }
        let detail = "ask by an IP address, by localhost, or by a name of admin.allowed_hosts";
        Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, Code::Misdirected, detail))
    }

    /// Takes note in a request of what its token opens. A wrong one is answered late.
    pub(super) async fn check_token(&self, request: &mut Request) -> Result<(), Problem> {
        let grant = self.granted(request).await?;
        request.set_data(grant);
        Ok(())
    }

    async fn granted(&self, request: &Request) -> Result<Grant, Problem> {
        let refused = |detail| Problem::new(StatusCode::UNAUTHORIZED, Code::Unauthorized, detail);
        let mut given = request.headers().get_all(header::AUTHORIZATION).iter();
        let (Some(credentials), None) = (given.next(), given.next()) else {
            return Err(refused("send the header Authorization: Bearer and the token, once"));
        };
        let token = credentials.to_str().ok().and_then(bearer);
        if let Some(token) = token
            && let Some(scope) = self.tokens.borrow().scope_of(token)
        {
            return Ok(Grant { token: Secret::new(token), scope });
        }
        if let Some(untold) = self.told.tells(Instant::now()) {
            let address = client_address(request);
            tracing::info!(%address, untold, "a wrong token was presented to the owner's API");
        }
        let Some(_waiting) = self.failures.begin() else {
            let detail = "too many wrong tokens wait for their answer";
            return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, Code::TooManyFailures, detail));
        };
        tokio::time::sleep(FAILURE_DELAY).await;
        Err(refused("this token is not known; `skynet token` prints the right one"))
    }

    /// Waits until a token opens nothing any more.
    pub(super) async fn revoked(&self, grant: &Grant) {
        let mut tokens = self.tokens.clone();
        let known = |tokens: &AdminTokens| tokens.scope_of(grant.token.expose()).is_some();
        if tokens.wait_for(|tokens| !known(tokens)).await.is_err() {
            // Nobody is left who could change them.
            std::future::pending().await
        }
    }

    /// Writes the bans to their file, if there is one.
    pub(super) async fn save_bans(&self, hub: &Hub) -> Result<(), Problem> {
        let Some((file, worker)) = &self.bans_file else { return Ok(()) };
        let mut file = file.clone().lock_owned().await;
        // Listed under the lock, so that of two changes the later list is written last.
        let bans = hub.bans();
        let written = worker.run(move || file.write(&bans)).await;
        let error = match written {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::error!(%error, "the bans are not saved");
        let detail =
            format!("the change holds until the next start at most, as it is not saved: {error}");
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Err(Problem::new(status, Code::BansNotSaved, detail))
    }
}

/// The token of a header's value.
fn bearer(credentials: &str) -> Option<&str> {
    let (scheme, token) = credentials.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// An operation that looks and changes nothing; every token opens it.
pub(super) struct Reader(pub Grant);

/// An operation that changes something; the owner's token opens it.
pub(super) struct Owner;

fn granted(request: &Request, needed: Scope) -> poem::Result<Grant> {
    let Some(grant) = request.data::<Grant>() else { return Err(Problem::internal().into()) };
    if !grant.scope.includes(needed) {
        let detail = "this token may read only; the owner's own token is needed here";
        return Err(Problem::new(StatusCode::FORBIDDEN, Code::Forbidden, detail).into());
    }
    Ok(grant.clone())
}

fn register_scheme(registry: &mut Registry) {
    registry.create_security_scheme(
        SCHEME,
        MetaSecurityScheme {
            ty: "http",
            description: Some(
                "The token that `skynet token` prints (`admin.token`) opens everything; \
                 `admin.read_token` opens what only reads.",
            ),
            name: None,
            key_in: None,
            scheme: Some("bearer"),
            bearer_format: None,
            flows: None,
            openid_connect_url: None,
        },
    );
}

macro_rules! security_argument {
    ($name:ident, $scope:expr, $make:expr) => {
        impl<'a> ApiExtractor<'a> for $name {
            const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];
            type ParamType = ();
            type ParamRawType = ();

            fn register(registry: &mut Registry) {
                register_scheme(registry);
            }

            fn security_schemes() -> Vec<&'static str> {
                vec![SCHEME]
            }

            async fn from_request(
                request: &'a Request,
                _: &mut RequestBody,
                _: ExtractParamOptions<()>,
            ) -> poem::Result<Self> {
                granted(request, $scope).map($make)
            }
        }
    };
}

security_argument!(Reader, Scope::Read, Reader);
security_argument!(Owner, Scope::Admin, |_| Owner);
