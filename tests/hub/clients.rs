//! Websocket clients that are not ours talk to each other through the hub.

use futures_util::{SinkExt, StreamExt};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, protocol::frame::coding::CloseCode},
};
use tokio_websockets as websockets;

use crate::support::{
    DEADLINE, TestApp, config,
    json::Json,
    raw::{parsed, publication},
    with_app,
};

const OPEN: &str = r#"{"type":"open","channel":"chat"}"#;

type Tungstenite = WebSocketStream<MaybeTlsStream<TcpStream>>;
type Websockets = websockets::WebSocketStream<websockets::MaybeTlsStream<TcpStream>>;

async fn tungstenite(app: &TestApp) -> Tungstenite {
    let url = format!("ws://{}/connect/", app.hub());
    let (client, _) = connect_async(url).await.expect("tungstenite connects");
    client
}

async fn websockets(app: &TestApp) -> Websockets {
    let url = format!("ws://{}/connect?from=test", app.hub());
    let builder = websockets::ClientBuilder::new().uri(&url);
    let (client, _) = builder.expect("a URL").connect().await.expect("connects");
    client
}

async fn tungstenite_reads(client: &mut Tungstenite) -> Json {
    let message = timeout(DEADLINE, client.next()).await.expect("in time");
    let message = message.expect("a message").expect("a good one");
    parsed(message.to_text().expect("a text"))
}

async fn websockets_read(client: &mut Websockets) -> Json {
    let message = timeout(DEADLINE, client.next()).await.expect("in time");
    let message = message.expect("a message").expect("a good one");
    parsed(message.as_text().expect("a text"))
}

#[tokio::test]
async fn two_clients_that_are_not_ours_talk_to_each_other() {
    with_app(config(), async |app| {
        let mut one = tungstenite(app).await;
        let mut two = websockets(app).await;
        one.send(Message::text(OPEN)).await.expect("sent");
        assert!(tungstenite_reads(&mut one).await.is("result"));
        two.send(websockets::Message::text(OPEN)).await.expect("sent");
        assert!(websockets_read(&mut two).await.is("result"));
        for number in 0..100 {
            let text = "é☃😀".repeat(number * 3);
            let command = publication("\"chat\"", &format!("\"{text}\""));
            one.send(Message::text(command.as_str())).await.expect("sent");
            let result = tungstenite_reads(&mut one).await;
            let event = websockets_read(&mut two).await;
            assert_eq!(event.text_of("message"), text);
            assert_eq!(event.text_of("ID"), result.text_of("ID"));
            two.send(websockets::Message::text(command)).await.expect("sent");
            let result = websockets_read(&mut two).await;
            let event = tungstenite_reads(&mut one).await;
            assert_eq!(event.text_of("message"), text);
            assert_eq!(event.text_of("ID"), result.text_of("ID"));
        }
        one.close(None).await.expect("it closes");
        two.close().await.expect("it closes");
        app.disconnects("client_closed", 2).await;
    })
    .await;
}

#[tokio::test]
async fn clients_that_are_not_ours_learn_why_the_hub_closes() {
    let app = TestApp::start(config()).await;
    let mut one = tungstenite(&app).await;
    let mut two = websockets(&app).await;
    two.send(websockets::Message::text(OPEN)).await.expect("sent");
    assert!(websockets_read(&mut two).await.is("result"));
    let stopped = app.stop();
    let first = async {
        let mut code = None;
        while let Some(Ok(message)) = one.next().await {
            if let Message::Close(Some(close)) = message {
                code = Some(close.code);
            }
        }
        assert_eq!(code, Some(CloseCode::Away));
    };
    let second = async {
        let mut code = None;
        while let Some(Ok(message)) = two.next().await {
            if let Some((closed, _)) = message.as_close() {
                code = Some(u16::from(closed));
            }
        }
        assert_eq!(code, Some(1001));
    };
    tokio::join!(first, second, stopped);
}
