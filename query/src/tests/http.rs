//! `POST /v1/sql`.

use super::fixture::{FILLERS, ROOT_ID, Shop};
use crate::serve::http::router;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Status line and body, unchunked.
async fn post(port: u16, target: &str, headers: &str, body: &str) -> (u16, String) {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = format!(
        "POST {target} HTTP/1.0\r\nHost: localhost\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_are_answered_as_json_csv_and_arrow_and_errors_as_json() {
    let shop = Shop::with_history(true).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let app = router(shop.engine.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });

    let sql = format!("SELECT id, payload->'n' AS n, duration_ns, status, body FROM events WHERE id = '{ROOT_ID}'");
    let (status, body) = post(port, "/v1/sql", "", &sql).await;
    let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(status, 200);
    assert_eq!(answer["columns"][0], serde_json::json!({"name": "id", "type": "uuid"}));
    assert_eq!(answer["columns"][1]["type"], "json");
    assert_eq!(answer["rows"][0], serde_json::json!([ROOT_ID, {"a": [1, {"b": "x"}]}, 1_000_000, "ok", null]));
    assert_eq!(answer["truncated"], false);

    let request =
        serde_json::json!({"sql": "SELECT count(*) AS n FROM events WHERE asset_id = $1", "parameters": ["cart"]});
    let (_, body) = post(port, "/v1/sql?format=csv", "Content-Type: application/json\r\n", &request.to_string()).await;
    assert_eq!(body, format!("n\r\n{}\r\n", FILLERS / 2));
    let (_, body) =
        post(port, "/v1/sql", "Accept: text/csv\r\n", "SELECT 'a,\"b\"' AS \"x\", NULL AS y, '' AS z").await;
    assert_eq!(body, "x,y,z\r\n\"a,\"\"b\"\"\",,\"\"\r\n");
    let (status, body) = post(port, "/v1/sql?format=arrow", "", "SELECT * FROM events").await;
    assert!(status == 200 && body.contains("asset_id"), "{status}");

    for (sql, status, code) in [
        ("SELECT nope FROM events", 400, "42703"),
        ("DELETE FROM events", 400, "25006"),
        ("SELECT 1; SELECT 2", 400, "0A000"),
        ("", 400, "0A000"),
        ("{\"sqll\": 1}", 400, "22P02"),
    ] {
        let (got, body) = post(port, "/v1/sql", "", sql).await;
        let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!((got, answer["error"]["code"].as_str()), (status, Some(code)), "{sql}: {body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_beyond_the_limit_says_so() {
    let shop = Shop::empty().await;
    let options = crate::QueryOptions { http_rows: 10, ..crate::QueryOptions::default() };
    let engine = crate::QueryEngine::new(shop.store.clone(), Vec::new(), options).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, router(engine)).await });
    let (_, body) = post(port, "/v1/sql", "", "SELECT * FROM generate_series(1, 100000)").await;
    let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((answer["rows"].as_array().unwrap().len(), &answer["truncated"]), (10, &true.into()));
}
