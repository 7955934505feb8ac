//! `POST /v1/sql`.

use super::fixture::{FILLERS, ROOT_ID, Shop};
use crate::serve::http::router;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

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
    let app = router(shop.engine.clone(), CancellationToken::new());
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
    let engine = crate::QueryEngine::new(shop.store.clone(), crate::Additions::default(), options).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, router(engine, CancellationToken::new())).await });
    let (_, body) = post(port, "/v1/sql", "", "SELECT * FROM generate_series(1, 100000)").await;
    let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((answer["rows"].as_array().unwrap().len(), &answer["truncated"]), (10, &true.into()));
    assert!(answer["note"].as_str().unwrap().contains("10 rows"), "{answer}");

    // A limit of the request's own, larger or smaller; exactly as many rows are not cut.
    let (_, body) = post(port, "/v1/sql?limit=20", "", "SELECT * FROM generate_series(1, 20)").await;
    let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&answer["row_count"], &answer["truncated"]), (&20.into(), &false.into()));
    for (rows, cut) in [(3, "false"), (4, "true")] {
        let sql = format!("SELECT * FROM generate_series(1, {rows}) AS n");
        let (head, body) = post_whole(port, "/v1/sql?limit=3&format=csv", "TE: trailers\r\n", &sql).await;
        assert!(head.to_lowercase().contains("whence-row-limit: 3"), "{head}");
        let last = body.rsplit("\r\n0\r\n").next().unwrap();
        assert_eq!(last.trim_end(), format!("whence-truncated: {cut}"), "{body}");
    }
}

/// Head and body of an HTTP/1.1 answer, chunks and trailers as they came.
async fn post_whole(port: u16, target: &str, headers: &str, body: &str) -> (String, String) {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let length = body.len();
    let request = format!(
        "POST {target} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_tell_columns_rows_progress_and_the_end_or_the_error() {
    let shop = Shop::with_history(true).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let app = router(shop.engine.clone(), CancellationToken::new());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let lines = |body: &str| -> Vec<serde_json::Value> {
        body.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let accept = "Accept: application/x-ndjson\r\n";
    let sql = "SELECT name FROM events WHERE signal = 'span' ORDER BY name";
    let (_, body) = post(port, "/v1/sql", accept, sql).await;
    let told = lines(&body);
    assert_eq!(told[0]["columns"], serde_json::json!([{"name": "name", "type": "text"}]));
    let rows: usize = told.iter().filter_map(|line| line["rows"].as_array()).map(Vec::len).sum();
    assert!(rows as u64 >= FILLERS, "{rows}");
    let read = told.iter().filter_map(|line| line["progress"]["rows_read"].as_u64()).max();
    assert!(read >= Some(FILLERS), "{read:?}");
    assert_eq!(told.last().unwrap()["end"], serde_json::json!({"row_count": rows, "truncated": false}));

    // The error comes after the columns: the status has left long before.
    let sql = "SELECT 1 / (n - 5) FROM generate_series(1, 10) AS t(n)";
    let (status, body) = post(port, "/v1/sql?format=ndjson", "", sql).await;
    assert_eq!((status, &lines(&body).last().unwrap()["error"]["code"]), (200, &"22012".into()), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_say_where_and_time_limits_hold_while_rows_stream() {
    let shop = Shop::with_history(false).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let app = router(shop.engine.clone(), CancellationToken::new());
    tokio::spawn(async move { axum::serve(listener, app).await });
    for (sql, place) in [("SELECT name,\n nope FROM events", 15), ("SELECT 1 FRO M x", 14)] {
        let (status, body) = post(port, "/v1/sql", "", sql).await;
        let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &answer["error"]["position"]), (400, &place.into()), "{sql}: {body}");
    }
    let typed = serde_json::json!({
        "sql": "SELECT count(*) AS n FROM events WHERE timestamp > $1 AND asset_id = $2",
        "params": [{"type": "timestamptz", "value": "2001-01-01T00:00:00Z"}, "cart"],
        "format": "csv"
    });
    let (_, body) = post(port, "/v1/sql", "", &typed.to_string()).await;
    assert_eq!(body, format!("n\r\n{}\r\n", FILLERS / 2));

    // Rows for a very long time: the limit ends them, and nothing goes on behind.
    let endless = "SELECT a.value FROM generate_series(1, 100000) a, generate_series(1, 100000) b";
    let target = "/v1/sql?limit=1000000000&timeout_ms=300";
    let (status, body) = post(port, target, "", endless).await;
    if status == 200 {
        assert!(body.contains("\"code\":\"57014\""), "{}", &body[body.len().saturating_sub(300)..]);
    } else {
        assert_eq!(status, 408, "{body}");
    }
    until_idle(&shop.engine).await;

    // A client that goes away in the middle of its answer.
    let mut socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let length = endless.len();
    let request = format!(
        "POST /v1/sql?format=csv&timeout_ms=0 HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{endless}"
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut some = [0; 4096];
    socket.read_exact(&mut some).await.unwrap();
    assert!(some.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&some));
    drop(socket);
    until_idle(&shop.engine).await;
}

/// Returns once no query runs any more.
pub(super) async fn until_idle(engine: &crate::QueryEngine) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while engine.busy_tasks() > 0 {
        assert!(std::time::Instant::now() < deadline, "{} tasks go on", engine.busy_tasks());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
