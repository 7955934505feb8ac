//! Arrow Flight SQL, as routes for the listener that also answers HTTP.
//!
//! ```text
//! GetFlightInfo(sql) -> plan: columns, and a ticket that holds the SQL
//! DoGet(ticket)      -> Session::execute -> Arrow batches, made as the client reads
//! CreatePreparedStatement -> DoPut(parameters) -> GetFlightInfo -> DoGet
//! ```
//!
//! Reading only: everything that would write is refused as it is at the other doors.

mod answer;
mod information;
mod parameters;
mod service;
mod statements;

use crate::QueryEngine;
use arrow_flight::flight_service_server::FlightServiceServer;
use axum::Router;

/// Every call of the Flight service.
const ROUTE: &str = "/arrow.flight.protocol.FlightService/{call}";

/// Routes of Flight SQL.
pub fn router(engine: QueryEngine) -> Router {
    Router::new().route_service(ROUTE, FlightServiceServer::new(service::FlightSql::new(engine)))
}
