// JDBC: every answer of DatabaseMetaData that DBeaver and its like ask for, row by row, so that it can be compared with a
// PostgreSQL's. Usage: java -cp postgresql.jar Metadata.java PORT USER. Prints one JSON line: for each part its rows, or
// what went wrong.

import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.List;

public class Metadata {
    interface Part {
        ResultSet run(DatabaseMetaData data) throws SQLException;
    }

    static final List<String> seen = new ArrayList<>();
    static Connection connection;

    static String quoted(Object value) {
        if (value == null || value instanceof Number || value instanceof Boolean) return String.valueOf(value);
        String text = value.toString();
        return "\"" + text.replace("\\", "\\\\").replace("\"", "\\\"").replace("\n", "\\n").replace("\t", "\\t") + "\"";
    }

    static String rows(ResultSet rows) throws SQLException {
        ResultSetMetaData columns = rows.getMetaData();
        List<String> all = new ArrayList<>();
        while (rows.next()) {
            List<String> row = new ArrayList<>();
            for (int at = 1; at <= columns.getColumnCount(); at++) {
                row.add(quoted(columns.getColumnLabel(at)) + ":" + quoted(rows.getString(at)));
            }
            all.add("{" + String.join(",", row) + "}");
        }
        rows.close();
        return "[" + String.join(",", all) + "]";
    }

    static void part(String name, Part part) {
        String value;
        try {
            value = rows(part.run(connection.getMetaData()));
        } catch (Exception error) {
            error.printStackTrace();
            value = quoted(error.getClass().getSimpleName() + ": " + error.getMessage());
        }
        seen.add(quoted(name) + ":" + value);
    }

    /** What a result set says about its own columns. */
    static void described(String name, String sql) {
        List<String> all = new ArrayList<>();
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            ResultSetMetaData columns = statement.getMetaData();
            for (int at = 1; at <= columns.getColumnCount(); at++) {
                all.add("[" + quoted(columns.getColumnLabel(at)) + "," + quoted(columns.getColumnTypeName(at)) + ","
                    + columns.getColumnType(at) + "," + quoted(columns.getColumnClassName(at)) + "," + columns.getPrecision(at) + "]");
            }
        } catch (SQLException error) {
            error.printStackTrace();
            all.add(quoted(error.getMessage()));
        }
        seen.add(quoted(name) + ":[" + String.join(",", all) + "]");
    }

    public static void main(String[] arguments) throws SQLException {
        String address = "jdbc:postgresql://127.0.0.1:" + arguments[0] + "/whence";
        connection = DriverManager.getConnection(address, arguments[1], "");
        String[] types = {"TABLE", "VIEW"};
        part("catalogs", data -> data.getCatalogs());
        part("schemas", data -> data.getSchemas());
        part("schemas like", data -> data.getSchemas(null, "pub%"));
        part("table types", data -> data.getTableTypes());
        part("tables", data -> data.getTables(null, "public", "%", types));
        part("tables of all kinds", data -> data.getTables("whence", "public", "event_", null));
        part("system tables", data -> data.getTables(null, "pg_catalog", "pg_class", new String[] {"SYSTEM TABLE"}));
        part("columns of events", data -> data.getColumns(null, "public", "events", "%"));
        part("columns of metrics", data -> data.getColumns(null, "public", "metrics", null));
        part("columns of a view", data -> data.getColumns(null, "public", "service_red", "%"));
        part("primary keys", data -> data.getPrimaryKeys(null, "public", "events"));
        part("indexes", data -> data.getIndexInfo(null, "public", "events", false, true));
        part("imported keys", data -> data.getImportedKeys(null, "public", "events"));
        part("exported keys", data -> data.getExportedKeys(null, "public", "events"));
        part("cross reference", data -> data.getCrossReference(null, "public", "events", null, "public", "metrics"));
        part("best row", data -> data.getBestRowIdentifier(null, "public", "events", DatabaseMetaData.bestRowSession, true));
        part("version columns", data -> data.getVersionColumns(null, "public", "events"));
        part("column privileges", data -> data.getColumnPrivileges(null, "public", "events", "id"));
        part("procedures", data -> data.getProcedures(null, "public", "%"));
        part("procedure columns", data -> data.getProcedureColumns(null, "public", "%", "%"));
        part("functions", data -> data.getFunctions(null, "pg_catalog", "date_part"));
        part("function columns", data -> data.getFunctionColumns(null, "pg_catalog", "date_part", "%"));
        part("user types", data -> data.getUDTs(null, "public", "%", null));
        part("client info", data -> data.getClientInfoProperties());
        part("types", data -> data.getTypeInfo());
        described("described", "SELECT id, timestamp, name, payload, duration_ns, timestamp_nanos, count(*) OVER () AS n, 1.5::float8 AS f, "
            + "'a'::text AS t, true AS b, now() - timestamp AS i, ARRAY['a'] AS l FROM events");
        System.out.println("{" + String.join(",", seen) + "}");
    }
}
