//! `/channels`.

use serde_json::{Value, json};

use super::{Caller, config, problem};
use crate::support::with_app;

fn names(page: &Value) -> Vec<Value> {
    let channels = page["channels"].as_array().unwrap();
    channels.iter().map(|channel| channel["channel"].clone()).collect()
}

#[tokio::test]
async fn channels_are_listed_filtered_and_sorted() {
    with_app(config(), async |app| {
        let owner = Caller::owner(app);
        let mut one = app.listener("\"doors\"").await;
        let mut two = app.listener("\"doors\"").await;
        two.open("\"Lamps\"").await;
        two.open("5").await;
        one.publish("\"5\"", "1").await;
        one.publish("\"5\"", "2").await;
        let all = owner.get("/channels").await;
        assert_eq!(all["total"], 4);
        assert_eq!(all.get("next"), None);
        assert_eq!(names(&all), [json!("5"), json!("Lamps"), json!("doors"), json!(5)]);
        let list = async |query: &str| names(&owner.get(&format!("/channels?{query}")).await);
        assert_eq!(list("prefix=La").await, [json!("Lamps")]);
        assert_eq!(list("prefix=5").await, [json!("5"), json!(5)]);
        assert_eq!(list("q=LAMP").await, [json!("Lamps")]);
        assert_eq!(list("min_listeners=2").await, [json!("doors")]);
        assert_eq!(list("sort=listeners&order=desc&limit=1").await, [json!("doors")]);
        assert_eq!(list("sort=messages&order=desc&limit=1").await, [json!("5")]);
        let doors = owner.get("/channels/doors").await;
        assert_eq!((&doors["listeners"], &doors["logged"]), (&json!(2), &json!(0)));
    })
    .await;
}

#[tokio::test]
async fn a_channel_in_a_path_is_a_number_a_literal_or_text_and_may_hold_anything() {
    with_app(config(), async |app| {
        let owner = Caller::owner(app);
        let mut client = app.client().await;
        for channel in ["5", "\"5\"", "\"chat\"", "\"a/b c\"", "\"\"", "\"\\ud800\""] {
            client.open(channel).await;
        }
        for (path, channel) in [
            ("5", json!(5)),
            ("5.0", json!(5)),
            ("%225%22", json!("5")),
            ("chat", json!("chat")),
            ("%22chat%22", json!("chat")),
            ("a%2Fb%20c", json!("a/b c")),
            ("%22%22", json!("")),
        ] {
            assert_eq!(owner.get(&format!("/channels/{path}")).await["channel"], channel, "{path}");
        }
        let lone = owner.call("GET", "/channels/%22%5Cud800%22").await;
        assert!(lone.body.contains(r#""channel":"\ud800""#), "{lone:?}");
        let absent = owner.call("GET", "/channels/absent").await;
        assert_eq!(problem(&absent, 404, None), "not_found");
    })
    .await;
}

#[tokio::test]
async fn pages_go_on_where_they_stopped_while_channels_come_and_go() {
    with_app(config(), async |app| {
        let owner = Caller::owner(app);
        let mut client = app.client().await;
        let name = |number: usize| format!("\"c{number:04}\"");
        for number in 0..700 {
            client.open(&name(number)).await;
        }
        let mut seen = vec![];
        let mut path = "/channels?limit=300".to_owned();
        loop {
            let page = owner.get(&path).await;
            seen.extend(names(&page));
            // Before the place where the next page begins; none of this may shift it.
            client
                .command(&format!(r#"{{"type":"close","channel":{}}}"#, name(seen.len() - 1)))
                .await;
            client.open(&format!("\"b{}\"", seen.len())).await;
            let Some(next) = page["next"].as_str() else { break };
            path = format!("/channels?limit=300&cursor={next}");
        }
        let expected: Vec<Value> = (0..700).map(|number| json!(format!("c{number:04}"))).collect();
        assert_eq!(seen, expected);
    })
    .await;
}

#[tokio::test]
async fn listeners_of_a_channel_are_listed_page_by_page() {
    with_app(config(), async |app| {
        let owner = Caller::owner(app);
        let mut clients = vec![];
        for _ in 0..5 {
            clients.push(app.listener("\"doors\"").await);
        }
        let _other = app.listener("\"lamps\"").await;
        let first = owner.get("/channels/doors/listeners?limit=3").await;
        assert_eq!((first["clients"].as_array().unwrap().len(), &first["total"]), (3, &json!(5)));
        let next = first["next"].as_str().unwrap();
        let path = format!("/channels/doors/listeners?limit=3&cursor={next}");
        let second = owner.get(&path).await;
        let ids = |page: &Value| -> Vec<u64> {
            let clients = page["clients"].as_array().unwrap();
            clients.iter().map(|client| client["id"].as_u64().unwrap()).collect()
        };
        assert_eq!([ids(&first), ids(&second)].concat(), [1, 2, 3, 4, 5]);
        assert_eq!(second.get("next"), None);
        let absent = owner.call("GET", "/channels/absent/listeners").await;
        assert_eq!(problem(&absent, 404, None), "not_found");
    })
    .await;
}
