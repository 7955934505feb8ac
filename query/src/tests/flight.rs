//! Flight SQL, with the client of its Rust library.

use super::fixture::Shop;
use super::http::until_idle;
use crate::serve::flight::router;
use arrow::array::AsArray;
use arrow::record_batch::RecordBatch;
use arrow_flight::error::FlightError;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::{CommandGetCrossReference, CommandGetPrimaryKeys, CommandGetXdbcTypeInfo};
use arrow_flight::{Action, CancelFlightInfoRequest, FlightInfo};
use futures::{StreamExt, TryStreamExt};
use prost::Message;
use std::time::Duration;
use tokio::net::TcpListener;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use whence_storage::{NewKey, Scopes};

type Client = FlightSqlServiceClient<Channel>;

async fn connect(shop: &Shop) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let app = router(shop.engine.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    FlightSqlServiceClient::new(Endpoint::from_shared(address).unwrap().connect().await.unwrap())
}

/// The rows behind a FlightInfo, whose schema must be theirs.
async fn rows(client: &mut Client, info: FlightInfo) -> Result<Vec<RecordBatch>, FlightError> {
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let promised = info.try_decode_schema().unwrap();
    let mut stream = client.do_get(ticket).await?;
    let mut batches = Vec::new();
    while let Some(batch) = stream.try_next().await? {
        batches.push(batch);
    }
    assert_eq!(stream.schema().map(|schema| schema.as_ref().clone()), Some(promised));
    Ok(batches)
}

fn code_of(error: FlightError) -> Code {
    match error {
        FlightError::Tonic(status) => status.code(),
        other => panic!("no status: {other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn types_and_keys_are_told() {
    let shop = Shop::empty().await;
    let mut client = connect(&shop).await;
    let info = client.get_xdbc_type_info(CommandGetXdbcTypeInfo { data_type: None }).await.unwrap();
    let types = rows(&mut client, info).await.unwrap();
    let names: Vec<_> = types[0].column(0).as_string::<i32>().iter().flatten().collect();
    assert!(names.contains(&"timestamptz") && names.contains(&"uuid"), "{names:?}");
    let events = CommandGetPrimaryKeys { catalog: None, db_schema: None, table: "events".to_owned() };
    let info = client.get_primary_keys(events).await.unwrap();
    assert_eq!(info.clone().try_decode_schema().unwrap().fields().len(), 6);
    assert_eq!(rows(&mut client, info).await.unwrap().iter().map(RecordBatch::num_rows).sum::<usize>(), 0);
    let pair = CommandGetCrossReference { pk_table: "events".to_owned(), ..CommandGetCrossReference::default() };
    let info = client.get_cross_reference(pair).await.unwrap();
    assert_eq!(info.try_decode_schema().unwrap().fields().len(), 13);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_is_canceled_by_its_ticket_and_its_reader_is_told() {
    let shop = Shop::empty().await;
    let mut client = connect(&shop).await;
    let endless = "SELECT a.value FROM generate_series(1, 100000) a, generate_series(1, 100000) b";
    let info = client.execute(endless.to_owned(), None).await.unwrap();
    let mut stream = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
    assert!(stream.next().await.unwrap().unwrap().num_rows() > 0);
    let body = CancelFlightInfoRequest { info: Some(info) }.encode_to_vec().into();
    let answers = client.do_action(Action { r#type: "CancelFlightInfo".to_owned(), body }).await.unwrap();
    assert_eq!(answers.try_collect::<Vec<_>>().await.unwrap().len(), 1);
    let error = loop {
        match stream.next().await.expect("an end without an error would look like all rows") {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(code_of(error), Code::Cancelled);
    until_idle(&shop.engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_key_a_client_sees_its_tenant_and_without_it_nothing() {
    let shop = Shop::with_history(false).await;
    let mut client = connect(&shop).await;
    let scopes = Scopes::parse("read").unwrap();
    let new = NewKey { tenant: "other".to_owned(), name: "a test".to_owned(), scopes, expires_at: None, test: false };
    let made = shop.engine.keyring().create(new, Duration::ZERO).await.unwrap();
    let sql = || "SELECT name FROM events".to_owned();
    assert_eq!(code_of(client.execute(sql(), None).await.unwrap_err()), Code::Unauthenticated);
    assert!(client.handshake("anyone", "pk_live_wrong").await.is_err());
    client.handshake("anyone", &made.key).await.unwrap();
    let info = client.execute(sql(), None).await.unwrap();
    let batches = rows(&mut client, info.clone()).await.unwrap();
    let names: Vec<_> = batches.iter().flat_map(|batch| batch.column(0).as_string::<i32>().iter().flatten()).collect();
    assert_eq!(names, ["secret"]);
    client.set_token("pk_live_wrong".to_owned());
    assert_eq!(code_of(rows(&mut client, info).await.unwrap_err()), Code::Unauthenticated);
}
