//! The plan of the shop, and what a seed varies in it.
//!
//! Services stand in the order of the calls, so that an edge always leads down the list. A seed decides whether there
//! is a gateway, which optional calls exist and how likely they are, who has a database and of what kind, who speaks
//! gRPC, and all latencies, versions and numbers of pods.

use crate::random::stream;
use crate::shop::topology::{Call, Database, FRONTEND, Operation, Protocol, Service, ServiceIndex, Step, Topology};
use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

const GATEWAY: usize = 1;
const CHECKOUT: usize = 2;
const SEARCH: usize = 3;
const RECOMMENDATION: usize = 4;
const CART: usize = 5;
const ORDERS: usize = 6;
const CATALOG: usize = 7;
const USERS: usize = 8;
const PAYMENT: usize = 9;
const SHIPPING: usize = 10;
const INVENTORY: usize = 11;
const PRICING: usize = 12;
const FRAUD: usize = 13;
const CURRENCY: usize = 14;
const NOTIFICATION: usize = 15;

/// A service before a seed has decided about it.
struct Plan {
    name: &'static str,
    language: &'static str,
    exception: &'static str,
    /// Name of the gRPC service, for those that may speak gRPC.
    grpc: Option<&'static str>,
    database: Option<DatabasePlan>,
    operations: &'static [OperationPlan],
}

struct DatabasePlan {
    /// Share of the seeds in which the service has its database.
    chance: f64,
    systems: &'static [&'static str],
}

struct OperationPlan {
    http: (&'static str, &'static str),
    grpc: &'static str,
    /// Statement, verb, table: run when the service has a database.
    query: Option<(&'static str, &'static str, &'static str)>,
    calls: &'static [CallPlan],
}

struct CallPlan {
    service: usize,
    operation: usize,
    /// Share of the seeds that have this edge.
    chance: f64,
    /// The edge's probability is drawn from here up to 1.
    at_least: f64,
    essential: bool,
}

const fn always(service: usize, operation: usize) -> CallPlan {
    CallPlan { service, operation, chance: 1.0, at_least: 1.0, essential: true }
}
const fn often(service: usize, operation: usize) -> CallPlan {
    CallPlan { service, operation, chance: 0.8, at_least: 0.6, essential: true }
}
const fn sometimes(service: usize, operation: usize) -> CallPlan {
    CallPlan { service, operation, chance: 0.5, at_least: 0.3, essential: true }
}
const fn optional(service: usize, operation: usize) -> CallPlan {
    CallPlan { service, operation, chance: 0.7, at_least: 0.3, essential: false }
}

const SQL: &[&str] = &["postgresql", "mysql"];
const ANY_SQL: &[&str] = &["postgresql", "mysql", "microsoft.sql_server"];

const fn database(chance: f64, systems: &'static [&'static str]) -> Option<DatabasePlan> {
    Some(DatabasePlan { chance, systems })
}

const fn entry(method: &'static str, route: &'static str, calls: &'static [CallPlan]) -> OperationPlan {
    OperationPlan { http: (method, route), grpc: "", query: None, calls }
}

static SHOP: [Plan; 16] = [
    Plan {
        name: "frontend",
        language: "nodejs",
        exception: "TypeError",
        grpc: None,
        database: None,
        operations: &[
            entry("GET", "/", &[always(CATALOG, 0), optional(RECOMMENDATION, 0), sometimes(USERS, 0)]),
            entry("GET", "/products/{id}", &[always(CATALOG, 1), optional(RECOMMENDATION, 0)]),
            entry("GET", "/search", &[always(SEARCH, 0)]),
            entry("POST", "/cart", &[often(USERS, 0), always(CART, 0)]),
            entry("POST", "/checkout", &[often(USERS, 0), always(CHECKOUT, 0)]),
            entry("GET", "/orders/{id}", &[always(USERS, 0), always(ORDERS, 1)]),
        ],
    },
    // The gateway's operations are made from the front end's.
    Plan { name: "gateway", language: "go", exception: "*url.Error", grpc: None, database: None, operations: &[] },
    Plan {
        name: "checkout",
        language: "go",
        exception: "*errors.errorString",
        grpc: Some("shop.Checkout"),
        database: None,
        operations: &[OperationPlan {
            http: ("POST", "/checkout/orders"),
            grpc: "PlaceOrder",
            query: None,
            calls: &[
                always(CART, 1),
                often(SHIPPING, 0),
                sometimes(CURRENCY, 0),
                always(PAYMENT, 0),
                always(ORDERS, 0),
                CallPlan { service: NOTIFICATION, operation: 0, chance: 1.0, at_least: 1.0, essential: false },
            ],
        }],
    },
    Plan {
        name: "search",
        language: "java",
        exception: "org.shop.search.QueryParseException",
        grpc: Some("shop.Search"),
        database: database(0.6, &["opensearch", "elasticsearch"]),
        operations: &[OperationPlan {
            http: ("GET", "/search"),
            grpc: "Query",
            query: Some((
                "GET /products/_search {\"query\":{\"match\":{\"name\":\"?\"}},\"size\":20}",
                "search",
                "products",
            )),
            calls: &[often(PRICING, 0), sometimes(CATALOG, 0)],
        }],
    },
    Plan {
        name: "recommendation",
        language: "python",
        exception: "ValueError",
        grpc: Some("shop.Recommendation"),
        database: None,
        operations: &[OperationPlan {
            http: ("GET", "/recommendations"),
            grpc: "ListRecommendations",
            query: None,
            calls: &[often(CATALOG, 0)],
        }],
    },
    Plan {
        name: "cart",
        language: "dotnet",
        exception: "System.InvalidOperationException",
        grpc: Some("shop.Cart"),
        database: database(0.8, &["redis"]),
        operations: &[
            OperationPlan {
                http: ("POST", "/carts/{id}/items"),
                grpc: "AddItem",
                query: Some(("HSET cart:? ? ?", "HSET", "cart")),
                calls: &[often(CATALOG, 1), sometimes(INVENTORY, 0)],
            },
            OperationPlan {
                http: ("GET", "/carts/{id}"),
                grpc: "GetCart",
                query: Some(("HGETALL cart:?", "HGETALL", "cart")),
                calls: &[sometimes(PRICING, 0)],
            },
        ],
    },
    Plan {
        name: "orders",
        language: "java",
        exception: "org.shop.orders.OrderStateException",
        grpc: Some("shop.Orders"),
        database: database(1.0, ANY_SQL),
        operations: &[
            OperationPlan {
                http: ("POST", "/orders"),
                grpc: "CreateOrder",
                query: Some((
                    "INSERT INTO orders (id, user_id, currency, total_cents, state) VALUES ($1, $2, $3, $4, $5)",
                    "INSERT",
                    "orders",
                )),
                calls: &[often(INVENTORY, 1), often(SHIPPING, 1)],
            },
            OperationPlan {
                http: ("GET", "/orders/{id}"),
                grpc: "GetOrder",
                query: Some((
                    "SELECT o.*, i.sku, i.quantity FROM orders o JOIN order_items i ON i.order_id = o.id WHERE o.id = $1",
                    "SELECT",
                    "orders",
                )),
                calls: &[sometimes(SHIPPING, 1)],
            },
        ],
    },
    Plan {
        name: "catalog",
        language: "go",
        exception: "*json.SyntaxError",
        grpc: Some("shop.Catalog"),
        database: database(0.7, &["postgresql", "mongodb"]),
        operations: &[
            OperationPlan {
                http: ("GET", "/products"),
                grpc: "ListProducts",
                query: Some((
                    "SELECT id, name, price_cents FROM products ORDER BY rank LIMIT 24",
                    "SELECT",
                    "products",
                )),
                calls: &[often(PRICING, 0), sometimes(INVENTORY, 0)],
            },
            OperationPlan {
                http: ("GET", "/products/{id}"),
                grpc: "GetProduct",
                query: Some(("SELECT * FROM products WHERE id = $1", "SELECT", "products")),
                calls: &[often(INVENTORY, 0), often(PRICING, 0)],
            },
        ],
    },
    Plan {
        name: "users",
        language: "java",
        exception: "java.lang.IllegalStateException",
        grpc: Some("shop.Users"),
        database: database(0.7, SQL),
        operations: &[OperationPlan {
            http: ("GET", "/users/{id}/session"),
            grpc: "GetSession",
            query: Some(("SELECT id, locale, currency FROM users WHERE id = $1", "SELECT", "users")),
            calls: &[],
        }],
    },
    Plan {
        name: "payment",
        language: "java",
        exception: "org.shop.payment.CardTokenException",
        grpc: Some("shop.Payment"),
        database: database(0.6, ANY_SQL),
        operations: &[OperationPlan {
            http: ("POST", "/charges"),
            grpc: "Charge",
            query: Some((
                "INSERT INTO charges (id, order_id, amount_cents, currency) VALUES ($1, $2, $3, $4)",
                "INSERT",
                "charges",
            )),
            calls: &[often(FRAUD, 0), sometimes(CURRENCY, 0)],
        }],
    },
    Plan {
        name: "shipping",
        language: "rust",
        exception: "shipping::rates::RateTableError",
        grpc: Some("shop.Shipping"),
        database: database(0.4, SQL),
        operations: &[
            OperationPlan {
                http: ("POST", "/quotes"),
                grpc: "GetQuote",
                query: Some(("SELECT zone, cents FROM rates WHERE country = $1", "SELECT", "rates")),
                calls: &[sometimes(CURRENCY, 0)],
            },
            OperationPlan {
                http: ("POST", "/shipments"),
                grpc: "CreateShipment",
                query: Some(("INSERT INTO shipments (id, order_id, state) VALUES ($1, $2, $3)", "INSERT", "shipments")),
                calls: &[],
            },
        ],
    },
    Plan {
        name: "inventory",
        language: "java",
        exception: "java.lang.NullPointerException",
        grpc: Some("shop.Inventory"),
        database: database(0.8, SQL),
        operations: &[
            OperationPlan {
                http: ("GET", "/stock/{sku}"),
                grpc: "GetStock",
                query: Some(("SELECT quantity FROM stock WHERE sku = $1", "SELECT", "stock")),
                calls: &[],
            },
            OperationPlan {
                http: ("POST", "/reservations"),
                grpc: "Reserve",
                query: Some(("UPDATE stock SET quantity = quantity - $1 WHERE sku = $2", "UPDATE", "stock")),
                calls: &[],
            },
        ],
    },
    Plan {
        name: "pricing",
        language: "python",
        exception: "decimal.InvalidOperation",
        grpc: Some("shop.Pricing"),
        database: database(0.5, &["postgresql", "redis"]),
        operations: &[OperationPlan {
            http: ("POST", "/prices"),
            grpc: "Quote",
            query: Some(("SELECT cents, valid_until FROM prices WHERE sku = $1", "SELECT", "prices")),
            calls: &[often(CURRENCY, 0)],
        }],
    },
    Plan {
        name: "fraud",
        language: "python",
        exception: "KeyError",
        grpc: Some("shop.Fraud"),
        database: database(0.3, SQL),
        operations: &[OperationPlan {
            http: ("POST", "/scores"),
            grpc: "Score",
            query: Some(("SELECT count(*) FROM charges_seen WHERE card_hash = $1", "SELECT", "charges_seen")),
            calls: &[],
        }],
    },
    Plan {
        name: "currency",
        language: "cpp",
        exception: "std::out_of_range",
        grpc: Some("shop.Currency"),
        database: None,
        operations: &[OperationPlan { http: ("POST", "/conversions"), grpc: "Convert", query: None, calls: &[] }],
    },
    Plan {
        name: "notification",
        language: "nodejs",
        exception: "SMTPError",
        grpc: None,
        database: None,
        operations: &[entry("", "orders.placed", &[])],
    },
];

/// Builds the shop of a seed.
pub(crate) fn build(seed: u64) -> Topology {
    let mut rng = stream(seed, 1);
    let with_gateway = rng.random_bool(0.5);
    let mut services: Vec<Service> = SHOP.iter().map(|plan| service(&mut rng, plan)).collect();
    if with_gateway {
        put_gateway_before_services(&mut rng, &mut services);
    } else {
        remove_gateway(&mut services);
    }
    // Checkout comes first enough, so that whatever happens behind it is seen at the front end.
    let entry_weights = vec![
        rng.random_range(0.12..0.25),
        rng.random_range(0.12..0.25),
        rng.random_range(0.08..0.2),
        rng.random_range(0.08..0.16),
        rng.random_range(0.28..0.4),
        rng.random_range(0.05..0.12),
    ];
    Topology { seed, services, entry_weights, hosts: rng.random_range(3..7) }
}

fn service(rng: &mut ChaCha8Rng, plan: &Plan) -> Service {
    let grpc = plan.grpc.filter(|_| rng.random_bool(0.5));
    let database = plan.database.as_ref().filter(|database| rng.random_bool(database.chance)).map(|database| {
        let system = database.systems.choose(rng).copied().unwrap_or("postgresql");
        Database { system, address: format!("{}-db", plan.name), port: port(system) }
    });
    let protocol = match grpc {
        Some(_) => Protocol::Grpc,
        None if plan.name == "notification" => Protocol::Queue,
        None => Protocol::Http,
    };
    let operations = plan.operations.iter().map(|operation| {
        let (method, route) = grpc.map_or(operation.http, |name| (name, operation.grpc));
        let mut steps: Vec<Step> = operation.calls.iter().filter_map(|call| step(rng, call)).collect();
        if let (Some(_), Some((statement, verb, table))) = (&database, operation.query) {
            let query = Step::Query { statement, verb, table, median_ms: rng.random_range(1.0..9.0) };
            steps.insert(rng.random_range(0..=steps.len().min(2)), query);
        }
        Operation { method: method.into(), route: route.into(), self_ms: rng.random_range(1.0..7.0), steps }
    });
    let operations = operations.collect();
    Service {
        name: plan.name,
        language: plan.language,
        exception: plan.exception,
        protocol,
        database,
        pods: rng.random_range(1..=3),
        version: (rng.random_range(1..5), rng.random_range(0..30), rng.random_range(0..10)),
        operations,
    }
}

fn step(rng: &mut ChaCha8Rng, call: &CallPlan) -> Option<Step> {
    let &CallPlan { service, operation, chance, at_least, essential } = call;
    let drawn: f64 = rng.random();
    let probability = if at_least < 1.0 { rng.random_range(at_least..1.0) } else { 1.0 };
    if drawn >= chance {
        return None;
    }
    if service == NOTIFICATION {
        return Some(Step::Publish { topic: "orders.placed", service, operation });
    }
    Some(Step::Call(Call { service, operation, probability, essential }))
}

fn port(system: &str) -> i64 {
    match system {
        "mysql" => 3306,
        "microsoft.sql_server" => 1433,
        "mongodb" => 27017,
        "redis" => 6379,
        "opensearch" | "elasticsearch" => 9200,
        _ => 5432,
    }
}

/// The front end calls only the gateway, which has its routes under `/api` and makes its calls.
fn put_gateway_before_services(rng: &mut ChaCha8Rng, services: &mut [Service]) {
    let mut operations = services[FRONTEND].operations.clone();
    for (index, operation) in services[FRONTEND].operations.iter_mut().enumerate() {
        let call = Call { service: GATEWAY, operation: index, probability: 1.0, essential: true };
        operation.steps = vec![Step::Call(call)];
    }
    for operation in &mut operations {
        operation.route = format!("/api{}", if operation.route == "/" { "/home" } else { &operation.route });
        operation.self_ms = rng.random_range(0.5..2.0);
    }
    services[GATEWAY].operations = operations;
}

fn remove_gateway(services: &mut Vec<Service>) {
    services.remove(GATEWAY);
    let shifted = |service: &mut ServiceIndex| *service -= usize::from(*service > GATEWAY);
    for step in services.iter_mut().flat_map(|service| &mut service.operations).flat_map(|o| &mut o.steps) {
        match step {
            Step::Call(call) => shifted(&mut call.service),
            Step::Publish { service, .. } => shifted(service),
            Step::Query { .. } => {}
        }
    }
}
