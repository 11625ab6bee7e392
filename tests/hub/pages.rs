//! What the hub serves to players, as browsers and computers ask for it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use poem::endpoint::make_sync;
use skynet::{
    http::{Limits, Listener, Opening, Service},
    metrics::Metrics,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
    time::timeout,
};

use crate::support::{DEADLINE, TestApp, config, http, raw::upgrade, with_app};

const PATHS: [&str; 3] = ["/", "/install.lua", "/skynet.lua"];

/// The answer to a request with these lines of headers.
async fn ask(app: &TestApp, method: &str, path: &str, headers: &str) -> http::Response {
    let request = format!("{method} {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
    http::send(app.hub(), &request).await
}

async fn get(app: &TestApp, path: &str, headers: &str) -> http::Response {
    ask(app, "GET", path, headers).await
}

/// All that comes on a connection, to its end.
async fn all_of(app: &TestApp, request: &str) -> String {
    let exchange = async {
        let mut stream = TcpStream::connect(app.hub()).await.expect("connects");
        stream.write_all(request.as_bytes()).await.expect("the request is taken");
        let mut all = String::new();
        stream.read_to_string(&mut all).await.expect("an answer in UTF-8");
        all
    };
    timeout(DEADLINE, exchange).await.expect("the connection ends")
}

#[tokio::test]
async fn each_page_names_the_host_it_was_asked_by() {
    with_app(config(), async |app| {
        for (host, shown) in [
            ("hub.example.org:4567", "hub.example.org:4567"),
            ("HUB.example.org", "hub.example.org"),
            ("10.1.2.3:80", "10.1.2.3:80"),
            ("[::1]:4567", "[::1]:4567"),
        ] {
            let host = format!("Host: {host}\r\n");
            let page = get(app, "/", &host).await;
            assert_eq!(page.status, 200);
            assert!(page.body.contains(&format!("wget run http://{shown}/install.lua")));
            let installer = get(app, "/install.lua", &host).await.body;
            assert!(installer.contains(&format!("local BASE = \"http://{shown}\"\n")));
            let library = get(app, "/skynet.lua", &host).await.body;
            assert!(library.contains(&format!("local SERVER = \"ws://{shown}/connect/\"\n")));
        }
    })
    .await;
}

#[tokio::test]
async fn a_host_that_is_none_gets_400_and_a_sentence_that_does_not_repeat_it() {
    with_app(config(), async |app| {
        for headers in [
            "",
            "Host:\r\n",
            "Host: a\r\nHost: a\r\n",
            "Host: a\"..evil()..\"\r\n",
            "Host: <b>evil</b>\r\n",
            "Host: evil/..\r\n",
            "Host: me@evil\r\n",
            "Host: evil:99999\r\n",
            "Host: \u{e9}vil\r\n",
            "X-Forwarded-Host: evil\r\n",
        ] {
            for path in PATHS {
                let response = get(app, path, headers).await;
                assert_eq!(response.status, 400, "{path} {headers:?}");
                assert_eq!(response.header("content-type"), Some("text/plain; charset=utf-8"));
                assert!(response.body.contains("Host header"), "{}", response.body);
                assert!(!response.body.contains("evil"), "{}", response.body);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn an_answer_made_from_a_header_is_kept_by_nobody_and_the_others_for_a_while() {
    with_app(config(), async |app| {
        for path in PATHS {
            for headers in ["Host: a\r\n", "Host: ?\r\n"] {
                let response = get(app, path, headers).await;
                assert_eq!(response.header("cache-control"), Some("private, no-cache"));
                assert_eq!(response.header("vary"), Some("Host"));
            }
        }
    })
    .await;
    let mut settings = config();
    settings.hub.public_url = "https://skynet.example.org:8443".parse().ok();
    with_app(settings, async |app| {
        for path in PATHS {
            // Whatever Host says, and even without one.
            for headers in
                ["Host: a\r\n", "Host: ?\r\n", "", "Host: a\r\nX-Forwarded-Proto: http\r\n"]
            {
                let response = get(app, path, headers).await;
                assert_eq!(response.status, 200, "{path} {headers:?}");
                assert_eq!(response.header("cache-control"), Some("public, max-age=300"));
                assert_eq!(response.header("vary"), None);
                assert!(response.body.contains("://skynet.example.org:8443"), "{path}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn the_scheme_is_that_which_a_trusted_proxy_tells() {
    let headers = "Host: a\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n";
    with_app(config(), async |app| {
        let library = get(app, "/skynet.lua", headers).await.body;
        assert!(library.contains("\"ws://a/connect/\""), "nobody is trusted by default");
    })
    .await;
    let mut settings = config();
    settings.hub.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    with_app(settings, async |app| {
        let library = get(app, "/skynet.lua", headers).await;
        assert!(library.body.contains("\"wss://a/connect/\""), "{}", library.body);
        assert_eq!(library.header("vary"), Some("Host, X-Forwarded-Proto"));
        let page = get(app, "/", headers).await.body;
        assert!(page.contains("wget run https://a/install.lua") && !page.contains("evil"));
    })
    .await;
}

#[tokio::test]
async fn whoever_has_a_page_already_is_told_so() {
    with_app(config(), async |app| {
        for path in PATHS {
            let first = get(app, path, "Host: a\r\n").await;
            let tag = first.header("etag").expect("a tag").to_owned();
            let known = format!("If-None-Match: \"x\", {tag}\r\n");
            let again = get(app, path, &format!("Host: a\r\n{known}")).await;
            assert_eq!((again.status, again.body.as_str()), (304, ""), "{path}");
            assert_eq!(again.header("etag"), Some(tag.as_str()));
            assert_eq!(again.header("cache-control"), Some("private, no-cache"));
            let other = get(app, path, &format!("Host: b\r\n{known}")).await;
            assert_eq!(other.status, 200, "{path}: another address is another page");
        }
    })
    .await;
}

#[tokio::test]
async fn pages_are_what_they_say_and_may_load_nothing() {
    with_app(config(), async |app| {
        for (path, content_type) in [
            ("/", "text/html; charset=utf-8"),
            ("/install.lua", "text/plain; charset=utf-8"),
            ("/skynet.lua", "text/plain; charset=utf-8"),
        ] {
            let response = get(app, path, "Host: a\r\n").await;
            assert_eq!(response.header("content-type"), Some(content_type), "{path}");
            assert_eq!(response.header("x-content-type-options"), Some("nosniff"), "{path}");
            let policy = response.header("content-security-policy").expect("a policy");
            assert!(policy.starts_with("default-src 'none'; "), "{path}: {policy}");
            assert!(!policy.contains("unsafe"), "{path}: {policy}");
        }
    })
    .await;
}

#[tokio::test]
async fn head_gets_the_head_and_other_methods_get_405() {
    with_app(config(), async |app| {
        for path in PATHS {
            let whole = get(app, path, "Host: a\r\n").await;
            let request = format!("HEAD {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            let all = all_of(app, &request).await;
            assert!(all.ends_with("\r\n\r\n"), "no body follows the head: {all:?}");
            let head = http::Response::from_head(&all);
            assert_eq!(head.status, 200, "{path}");
            for name in ["content-type", "content-length", "etag", "content-security-policy"] {
                assert!(head.header(name).is_some(), "{path} {name}");
                assert_eq!(head.header(name), whole.header(name), "{path} {name}");
            }
            for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"] {
                let response = ask(app, method, path, "Host: a\r\n").await;
                assert_eq!(response.status, 405, "{method} {path}");
                assert_eq!(response.header("allow"), Some("GET, HEAD"));
            }
        }
    })
    .await;
}

#[tokio::test]
async fn every_answer_ends_its_connection() {
    with_app(config(), async |app| {
        for path in PATHS {
            for (method, host) in [("GET", "a"), ("HEAD", "a"), ("GET", "?"), ("POST", "a")] {
                let all =
                    all_of(app, &format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
                let connection =
                    http::Response::from_head(&all).header("connection").map(str::to_owned);
                assert_eq!(connection.as_deref(), Some("close"), "{method} {path} {host}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn whoever_does_not_take_a_last_answer_makes_room_for_others() {
    let large = make_sync(|_| {
        let body = vec![b'x'; 64 << 20];
        poem::Response::builder().header("connection", "close").body(body)
    });
    let head_timeout = tokio::sync::watch::channel(Duration::from_millis(200)).1;
    let limits = Limits { listener: "hub", head_timeout, answer_rate: 1 << 40, max_connections: 1 };
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = Listener::bind(&anywhere.into()).expect("a port");
    let address = listener.address().expect("an address").tcp().expect("a port");
    let (stop, stopped) = watch::channel(false);
    let service = Service::new(large, limits, Opening::default(), Arc::new(Metrics::new()));
    let serving = tokio::spawn(service.serve(listener, stopped));

    let mut idle = TcpStream::connect(address).await.expect("connects");
    idle.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("the request is taken");
    // There is one place, and it becomes free.
    let next = http::send(address, "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(next.status, 200);
    drop(idle);
    stop.send(true).expect("it still serves");
    timeout(DEADLINE, serving).await.expect("it stops").expect("it does not panic");
}

#[tokio::test]
async fn no_page_counts_as_a_rejection_and_a_websocket_client_at_one_does() {
    with_app(config(), async |app| {
        for path in PATHS {
            get(app, path, "Host: a\r\n").await;
            get(app, path, "Host: ?\r\n").await;
        }
        assert_eq!(app.metric("skynet_rejections_total", &[]).await, 0.0);
        for path in PATHS {
            let response = http::send(app.hub(), &upgrade(path)).await;
            assert_eq!(response.status, 404, "{path}");
            assert!(response.body.contains("/connect"), "{}", response.body);
        }
        app.metric_is("skynet_rejections_total", &[], 3.0).await;
    })
    .await;
}

#[tokio::test]
async fn any_other_path_names_the_pages() {
    with_app(config(), async |app| {
        for path in ["/install", "/skynet", "/index.html", "/lua/skynet.lua"] {
            let response = get(app, path, "Host: a\r\n").await;
            assert_eq!(response.status, 404, "{path}");
            for known in ["/connect", "/install.lua", "/skynet.lua"] {
                assert!(response.body.contains(known), "{}", response.body);
            }
        }
    })
    .await;
}
