//! Tables of pg_catalog that depend on which tables and views there are.

use super::information_schema::DATABASE;
use super::pg_rows::Rows;
use super::pg_static::{TypeRow, known};
use super::relations::{Attribute, Kind, NAMESPACES, OWNER, OWNER_OID, Relation, Relations};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, TimeUnit};
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;

/// Number of `pg_class`, by which descriptions say what they describe.
const PG_CLASS: i32 = 1259;
const PG_NAMESPACE: i32 = 2615;
const PG_PROC: i32 = 1255;
/// Number of the one database.
const DATABASE_OID: i32 = 16_383;

fn texts() -> DataType {
    DataType::new_list(DataType::Utf8, true)
}

/// Each table with its name.
pub(crate) fn tables(relations: &Relations) -> Result<Vec<(&'static str, RecordBatch)>> {
    let all = relations.all();
    let of = |kind| all.iter().filter(|relation| relation.kind == kind).collect::<Vec<_>>();
    let (tables, views, materialized) = (of(Kind::Table), of(Kind::View), of(Kind::MaterializedView));
    let users: Vec<_> = relations.users().filter(|relation| relation.kind != Kind::View).collect();
    let roles = [OWNER];
    Ok(vec![
        ("pg_class", pg_class(all)?),
        ("pg_attribute", pg_attribute(all)?),
        ("pg_namespace", pg_namespace()?),
        ("pg_database", pg_database()?),
        ("pg_description", pg_description(relations)?),
        ("pg_tables", pg_tables(&tables)?),
        ("pg_views", pg_views(&views)?),
        ("pg_matviews", pg_matviews(&materialized)?),
        ("pg_stat_user_tables", pg_stat(&users)?),
        ("pg_roles", pg_roles(&roles)?),
        ("pg_authid", pg_roles(&roles)?),
        ("pg_user", pg_user(&roles)?),
    ])
}

fn pg_class(relations: &[Relation]) -> Result<RecordBatch> {
    let namespace = |relation: &Relation| {
        NAMESPACES.iter().find(|(name, ..)| *name == relation.schema).map_or(0, |(_, oid, _)| *oid)
    };
    Rows::of(relations)
        .oids("oid", |relation| relation.oid)
        .texts("relname", |relation| Some(relation.name.clone()))
        .oids("relnamespace", namespace)
        .oid("reltype", 0)
        .oid("reloftype", 0)
        .oid("relowner", OWNER_OID)
        .oid("relam", 0)
        .oid("relfilenode", 0)
        .oid("reltablespace", 0)
        .integer("relpages", 0)
        // Not known, as of a table that was never analysed.
        .real("reltuples", -1.0)
        .integer("relallvisible", 0)
        .oid("reltoastrelid", 0)
        .flag("relhasindex", false)
        .flag("relisshared", false)
        .text("relpersistence", "p")
        .texts("relkind", |relation| Some(relation.letter().to_owned()))
        .shorts("relnatts", |relation| i16::try_from(relation.columns.len()).unwrap_or(i16::MAX))
        .short("relchecks", 0)
        .flag("relhasrules", false)
        .flag("relhastriggers", false)
        .flag("relhassubclass", false)
        .flag("relrowsecurity", false)
        .flag("relforcerowsecurity", false)
        .flag("relispopulated", true)
        .texts("relreplident", |relation| Some(if relation.kind == Kind::View { "n" } else { "d" }.to_owned()))
        .flag("relispartition", false)
        .oid("relrewrite", 0)
        .integer("relfrozenxid", 0)
        .integer("relminmxid", 0)
        .nulls(&["relacl", "reloptions"], &texts())
        .nulls(&["relpartbound", "relhasoids"], &DataType::Utf8)
        .oid("tableoid", PG_CLASS)
        .build()
}

fn pg_attribute(relations: &[Relation]) -> Result<RecordBatch> {
    let variable = TypeRow {
        name: "text".to_owned(),
        element: 0,
        length: -1,
        by_value: false,
        alignment: "i".to_owned(),
        storage: "x".to_owned(),
        collation: 0,
    };
    let columns: Vec<(&Relation, i16, &Attribute, &TypeRow)> = relations
        .iter()
        .flat_map(|relation| relation.columns.iter().zip(1..).map(move |(column, number)| (relation, number, column)))
        .map(|(relation, number, column)| {
            (relation, number, column, known().types.get(&column.type_oid).unwrap_or(&variable))
        })
        .collect();
    Rows::of(&columns)
        .oids("attrelid", |(relation, ..)| relation.oid)
        .texts("attname", |(_, _, column, _)| Some(column.name.clone()))
        .oids("atttypid", |(_, _, column, _)| column.type_oid)
        .integer("attstattarget", -1)
        .shorts("attlen", |(.., kind)| kind.length)
        .shorts("attnum", |(_, number, ..)| *number)
        .integers("attndims", |(.., kind)| i32::from(kind.element != 0))
        .integer("attcacheoff", -1)
        .integer("atttypmod", -1)
        .flags("attbyval", |(.., kind)| kind.by_value)
        .texts("attalign", |(.., kind)| Some(kind.alignment.clone()))
        .texts("attstorage", |(.., kind)| Some(kind.storage.clone()))
        .text("attcompression", "")
        .flags("attnotnull", |(_, _, column, _)| !column.nullable)
        .flag("atthasdef", false)
        .flag("atthasmissing", false)
        .text("attidentity", "")
        .text("attgenerated", "")
        .flag("attisdropped", false)
        .flag("attislocal", true)
        .integer("attinhcount", 0)
        .oids("attcollation", |(.., kind)| kind.collation)
        .nulls(&["attacl", "attoptions", "attfdwoptions"], &texts())
        .nulls(&["attmissingval"], &DataType::Utf8)
        .build()
}

fn pg_namespace() -> Result<RecordBatch> {
    Rows::of(&NAMESPACES)
        .oids("oid", |(_, oid, _)| *oid)
        .texts("nspname", |(name, ..)| Some((*name).to_owned()))
        .oid("nspowner", OWNER_OID)
        .nulls(&["nspacl"], &texts())
        .oid("tableoid", PG_NAMESPACE)
        .build()
}

fn pg_database() -> Result<RecordBatch> {
    Rows::of(&[DATABASE])
        .oid("oid", DATABASE_OID)
        .texts("datname", |name| Some((*name).to_owned()))
        .oid("datdba", OWNER_OID)
        .integer("encoding", 6)
        .text("datlocprovider", "c")
        .flag("datistemplate", false)
        .flag("datallowconn", true)
        .integer("datconnlimit", -1)
        .integer("datfrozenxid", 0)
        .integer("datminmxid", 0)
        .oid("dattablespace", 1663)
        .text("datcollate", "C")
        .text("datctype", "C.UTF-8")
        .nulls(&["daticulocale", "datlocale", "daticurules", "datcollversion"], &DataType::Utf8)
        .nulls(&["datacl"], &texts())
        .oid("tableoid", 1262)
        .build()
}

/// PostgreSQL's own, then those of relations, their columns and schemas.
fn pg_description(relations: &Relations) -> Result<RecordBatch> {
    let mut described: Vec<(i32, i32, i32, String)> = Vec::new();
    for relation in relations.all() {
        described.extend(relation.comment.iter().map(|comment| (relation.oid, PG_CLASS, 0, comment.clone())));
        for (column, number) in relation.columns.iter().zip(1..) {
            described.extend(column.comment.iter().map(|comment| (relation.oid, PG_CLASS, number, comment.clone())));
        }
    }
    described.extend(NAMESPACES.iter().map(|(_, oid, comment)| (*oid, PG_NAMESPACE, 0, (*comment).to_owned())));
    let functions = relations.functions().iter();
    described.extend(functions.map(|function| (function.oid, PG_PROC, 0, function.description.clone())));
    let ours = Rows::of(&described)
        .oids("objoid", |(oid, ..)| *oid)
        .oids("classoid", |(_, class, ..)| *class)
        .integers("objsubid", |(_, _, column, _)| *column)
        .texts("description", |(.., text)| Some(text.clone()))
        .build()?;
    let Some(static_rows) = &known().pg_description else { return Ok(ours) };
    let of_static = RecordBatch::try_new(ours.schema(), static_rows.columns().to_vec())?;
    Ok(concat_batches(&ours.schema(), [&of_static, &ours])?)
}

fn pg_tables(tables: &[&Relation]) -> Result<RecordBatch> {
    Rows::of(tables)
        .texts("schemaname", |table| Some(table.schema.to_owned()))
        .texts("tablename", |table| Some(table.name.clone()))
        .text("tableowner", OWNER)
        .nulls(&["tablespace"], &DataType::Utf8)
        .flag("hasindexes", false)
        .flag("hasrules", false)
        .flag("hastriggers", false)
        .flag("rowsecurity", false)
        .build()
}

fn pg_views(views: &[&Relation]) -> Result<RecordBatch> {
    Rows::of(views)
        .texts("schemaname", |view| Some(view.schema.to_owned()))
        .texts("viewname", |view| Some(view.name.clone()))
        .text("viewowner", OWNER)
        .texts("definition", |view| view.shown_definition())
        .build()
}

fn pg_matviews(views: &[&Relation]) -> Result<RecordBatch> {
    Rows::of(views)
        .texts("schemaname", |view| Some(view.schema.to_owned()))
        .texts("matviewname", |view| Some(view.name.clone()))
        .text("matviewowner", OWNER)
        .nulls(&["tablespace"], &DataType::Utf8)
        .flag("hasindexes", false)
        .flag("ispopulated", true)
        .texts("definition", |view| view.shown_definition())
        .build()
}

/// What PostgreSQL counts for each table is not counted here.
fn pg_stat(tables: &[&Relation]) -> Result<RecordBatch> {
    const COUNTS: [&str; 18] = [
        "seq_scan",
        "seq_tup_read",
        "idx_scan",
        "idx_tup_fetch",
        "n_tup_ins",
        "n_tup_upd",
        "n_tup_del",
        "n_tup_hot_upd",
        "n_tup_newpage_upd",
        "n_live_tup",
        "n_dead_tup",
        "n_mod_since_analyze",
        "n_ins_since_vacuum",
        "vacuum_count",
        "autovacuum_count",
        "analyze_count",
        "autoanalyze_count",
        "total_vacuum_time",
    ];
    const TIMES: [&str; 6] =
        ["last_seq_scan", "last_idx_scan", "last_vacuum", "last_autovacuum", "last_analyze", "last_autoanalyze"];
    Rows::of(tables)
        .oids("relid", |table| table.oid)
        .texts("schemaname", |table| Some(table.schema.to_owned()))
        .texts("relname", |table| Some(table.name.clone()))
        .nulls(&COUNTS, &DataType::Int64)
        .nulls(&TIMES, &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())))
        .build()
}

fn pg_roles(roles: &[&str]) -> Result<RecordBatch> {
    Rows::of(roles)
        .oid("oid", OWNER_OID)
        .texts("rolname", |name| Some((*name).to_owned()))
        .flag("rolsuper", false)
        .flag("rolinherit", true)
        .flag("rolcreaterole", false)
        .flag("rolcreatedb", false)
        .flag("rolcanlogin", true)
        .flag("rolreplication", false)
        .integer("rolconnlimit", -1)
        .text("rolpassword", "********")
        .nulls(&["rolvaliduntil"], &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())))
        .flag("rolbypassrls", false)
        .nulls(&["rolconfig"], &texts())
        .build()
}

fn pg_user(roles: &[&str]) -> Result<RecordBatch> {
    Rows::of(roles)
        .texts("usename", |name| Some((*name).to_owned()))
        .oid("usesysid", OWNER_OID)
        .flag("usecreatedb", false)
        .flag("usesuper", false)
        .flag("userepl", false)
        .flag("usebypassrls", false)
        .text("passwd", "********")
        .nulls(&["valuntil"], &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())))
        .nulls(&["useconfig"], &texts())
        .build()
}
