//! `/log`.

use serde_json::Value;

use super::{Caller, config, problem};
use crate::support::with_app;

/// The messages of a page, which are numbers.
fn numbers(page: &Value) -> Vec<u64> {
    let log = page["log"].as_array().unwrap();
    log.iter().map(|entry| entry["message"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn the_log_is_read_by_slice_filter_and_place() {
    with_app(config(), async |app| {
        let owner = Caller::owner(app);
        let mut client = app.client().await;
        let (mut ids, mut times) = (vec![], vec![]);
        for number in 0..10 {
            let channel = if number % 2 == 0 { "\"even\"" } else { "7" };
            let result = client.publish(channel, &number.to_string()).await;
            ids.push(result.text_of("ID"));
            times.push(result.number_of("time"));
        }
        let read = async |query: &str| numbers(&owner.get(&format!("/log?{query}")).await);
        assert_eq!(read("").await, [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]);
        assert_eq!(read("start=1&end=3").await, [8, 7]);
        assert_eq!(read("start=-2").await, [1, 0]);
        assert_eq!(read("start=-3&end=-1").await, [2, 1]);
        assert_eq!(read("end=0").await, [0; 0]);
        assert_eq!(read("channel=even&start=-2").await, [2, 0]);
        assert_eq!(read("channel=7").await, [9, 7, 5, 3, 1]);
        assert_eq!(read("channel=7&channel=even&limit=2").await, [9, 8]);
        assert_eq!(read("channel=absent").await, [0; 0]);
        assert_eq!(read("q=%22message%22:4").await, [4]);
        assert_eq!(read("q=EVEN&order=asc&limit=2").await, [0, 2]);
        assert_eq!(read(&format!("before={}", ids[3])).await, [2, 1, 0]);
        assert_eq!(read(&format!("after={}", ids[6])).await, [9, 8, 7]);
        assert_eq!(read(&format!("since={}&until={}", ids[2], ids[4])).await, [4, 3, 2]);
        assert_eq!(read(&format!("since={}", times[0])).await.len(), 10);
        assert_eq!(read(&format!("until={}", times[0] - 1.0)).await, [0; 0]);
        assert_eq!(read("since=2100-01-01T00:00:00Z").await, [0; 0]);
    })
    .await;
}

#[tokio::test]
async fn pages_of_the_log_go_on_in_both_directions_while_messages_arrive() {
    with_app(config(), async |app| {
        let owner = Caller::owner(app);
        let mut client = app.client().await;
        for number in 0..1300 {
            client.publish("1", &number.to_string()).await;
        }
        for (order, place) in [("desc", "before"), ("asc", "after")] {
            let (mut seen, mut from) = (vec![], String::new());
            loop {
                let page = owner.get(&format!("/log?order={order}&limit=500{from}")).await;
                seen.extend(numbers(&page));
                if seen.len() <= 1300 {
                    client.publish("1", "7777").await;
                }
                let Some(next) = page["next"].as_str() else { break };
                from = format!("&{place}={next}");
            }
            seen.retain(|&number| number != 7777);
            if order == "desc" {
                seen.reverse();
            }
            assert_eq!(seen, (0..1300).collect::<Vec<_>>(), "{order}");
        }
    })
    .await;
}

#[tokio::test]
async fn what_should_not_be_in_the_log_is_removed() {
    with_app(config(), async |app| {
        let owner = Caller::owner(app);
        let mut client = app.client().await;
        let id = client.publish("1", "1").await.text_of("ID");
        client.publish("1", "2").await;
        client.publish("\"1\"", "3").await;
        client.publish("2", "4").await;
        owner.delete(&format!("/log/{id}")).await;
        for method in ["GET", "DELETE"] {
            let gone = owner.call(method, &format!("/log/{id}")).await;
            assert_eq!(problem(&gone, 404, None), "not_found");
        }
        let cleared = owner.call("DELETE", "/log?channel=1").await;
        assert_eq!((cleared.status, cleared.body.as_str()), (200, r#"{"removed":1}"#));
        assert_eq!(numbers(&owner.get("/log").await), [4, 3]);
        let cleared = owner.call("DELETE", "/log?all=true").await;
        assert_eq!(cleared.body, r#"{"removed":2}"#);
        assert_eq!(owner.get("/channels").await["total"], 0);
        assert!(client.command(r#"{"type":"log"}"#).await.array_of("log").is_empty());
    })
    .await;
}
