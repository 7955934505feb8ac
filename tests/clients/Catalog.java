// JDBC: what DBeaver and its like ask of DatabaseMetaData, and queries. Usage: java -cp postgresql.jar Catalog.java PORT.
// Prints one JSON line: for each part the values it saw, or what went wrong.

import java.io.StringWriter;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.sql.Timestamp;
import java.util.ArrayList;
import java.util.List;
import java.util.UUID;

public class Catalog {
    interface Part {
        Object run(Connection connection) throws Exception;
    }

    static final List<String> seen = new ArrayList<>();
    static String address;

    static String quoted(Object value) {
        if (value == null || value instanceof Number || value instanceof Boolean) return String.valueOf(value);
        if (value instanceof List<?> list) {
            List<String> items = new ArrayList<>();
            for (Object item : list) items.add(quoted(item));
            return "[" + String.join(",", items) + "]";
        }
        return "\"" + value.toString().replace("\\", "\\\\").replace("\"", "\\\"").replace("\n", "\\n").replace("\t", "\\t") + "\"";
    }

    static void part(String name, Part part) {
        Object value;
        try (Connection connection = DriverManager.getConnection(address, "anyone", "")) {
            value = part.run(connection);
        } catch (Exception error) {
            error.printStackTrace();
            value = error.getClass().getSimpleName() + ": " + error.getMessage();
        }
        seen.add(quoted(name) + ":" + quoted(value));
    }

    static List<Object> column(ResultSet rows, String column) throws SQLException {
        List<Object> values = new ArrayList<>();
        while (rows.next()) values.add(rows.getObject(column));
        rows.close();
        return values;
    }

    static Object only(ResultSet rows) throws SQLException {
        rows.next();
        return rows.getObject(1);
    }

    public static void main(String[] arguments) {
        address = "jdbc:postgresql://127.0.0.1:" + arguments[0] + "/whence?ApplicationName=catalog";
        part("product", c -> List.of(c.getMetaData().getDatabaseProductName(), c.getMetaData().getDatabaseMajorVersion()));
        part("catalogs", c -> column(c.getMetaData().getCatalogs(), "TABLE_CAT"));
        part("schemas", c -> column(c.getMetaData().getSchemas(), "TABLE_SCHEM"));
        part("tableTypes", c -> column(c.getMetaData().getTableTypes(), "TABLE_TYPE").contains("TABLE"));
        part("tables", c -> column(c.getMetaData().getTables(null, "public", "%", new String[] {"TABLE", "VIEW"}), "TABLE_NAME"));
        part("columns", c -> {
            List<Object> found = new ArrayList<>();
            ResultSet rows = c.getMetaData().getColumns(null, "public", "events", "%");
            while (rows.next() && found.size() < 3) {
                found.add(List.of(rows.getString("COLUMN_NAME"), rows.getString("TYPE_NAME"), rows.getInt("DATA_TYPE")));
            }
            return found;
        });
        part("primaryKeys", c -> column(c.getMetaData().getPrimaryKeys(null, "public", "events"), "COLUMN_NAME"));
        part("indexes", c -> column(c.getMetaData().getIndexInfo(null, "public", "events", false, true), "INDEX_NAME"));
        part("importedKeys", c -> column(c.getMetaData().getImportedKeys(null, "public", "events"), "FKCOLUMN_NAME"));
        part("exportedKeys", c -> column(c.getMetaData().getExportedKeys(null, "public", "events"), "FKCOLUMN_NAME"));
        part("bestRow", c -> column(c.getMetaData().getBestRowIdentifier(null, "public", "events", 0, true), "COLUMN_NAME"));
        part("versionColumns", c -> column(c.getMetaData().getVersionColumns(null, "public", "events"), "COLUMN_NAME").size() >= 0);
        part("typeInfo", c -> column(c.getMetaData().getTypeInfo(), "TYPE_NAME").contains("int8"));
        part("procedures", c -> column(c.getMetaData().getProcedures(null, "public", "%"), "PROCEDURE_NAME"));
        part("procedureColumns", c -> column(c.getMetaData().getProcedureColumns(null, "public", "%", "%"), "COLUMN_NAME"));
        part("functions", c -> column(c.getMetaData().getFunctions(null, "public", "%"), "FUNCTION_NAME"));
        part("functionColumns", c -> column(c.getMetaData().getFunctionColumns(null, "public", "%", "%"), "COLUMN_NAME"));
        part("userTypes", c -> column(c.getMetaData().getUDTs(null, "public", "%", null), "TYPE_NAME"));
        part("tablePrivileges", c -> column(c.getMetaData().getTablePrivileges(null, "public", "events"), "PRIVILEGE").size() >= 0);
        part("columnPrivileges", c -> column(c.getMetaData().getColumnPrivileges(null, "public", "events", "name"), "PRIVILEGE").size() >= 0);
        part("clientInfo", c -> column(c.getMetaData().getClientInfoProperties(), "NAME"));
        part("words", c -> {
            DatabaseMetaData data = c.getMetaData();
            return List.of(data.getSQLKeywords().length() > 10, data.getMaxColumnNameLength(), data.getMaxConnections() > 0);
        });
        part("prepared", c -> {
            PreparedStatement statement = c.prepareStatement("SELECT id, timestamp, duration_ns FROM events WHERE asset_id = ? AND timestamp > ? LIMIT ?");
            List<Object> counts = new ArrayList<>();
            for (int round = 0; round < 7; round++) {
                // From the sixth on the driver uses a named statement and binary results.
                statement.setString(1, "checkout");
                statement.setTimestamp(2, new Timestamp(System.currentTimeMillis() - 3_600_000));
                statement.setInt(3, 1);
                ResultSet rows = statement.executeQuery();
                rows.next();
                counts.add(rows.getObject(1, UUID.class) != null && rows.getTimestamp(2) != null && rows.getLong(3) > 0);
            }
            return counts;
        });
        part("arrays", c -> {
            PreparedStatement statement = c.prepareStatement("SELECT count(*) FROM events WHERE name = ANY(?)");
            statement.setArray(1, c.createArrayOf("text", new Object[] {"pay", "x"}));
            return only(statement.executeQuery());
        });
        part("fetchSize", c -> {
            c.setAutoCommit(false);
            Statement statement = c.createStatement();
            statement.setFetchSize(100);
            ResultSet rows = statement.executeQuery("SELECT g FROM generate_series(1, 1000) AS t(g)");
            long sum = 0;
            while (rows.next()) sum += rows.getLong(1);
            c.commit();
            return sum;
        });
        part("savepoints", c -> {
            c.setAutoCommit(false);
            c.setReadOnly(false);
            Savepoint savepoint = c.setSavepoint("one");
            try {
                c.createStatement().executeQuery("SELECT nope FROM events");
            } catch (SQLException error) {
                c.rollback(savepoint);
            }
            Object value = only(c.createStatement().executeQuery("SELECT 2"));
            c.commit();
            return value;
        });
        part("timeout", c -> {
            Statement statement = c.createStatement();
            statement.setQueryTimeout(1);
            try {
                statement.executeQuery("SELECT count(*) FROM generate_series(1,1000000) a(x), generate_series(1,1000000) b(y) WHERE a.x + b.y = 3");
                return "no timeout";
            } catch (SQLException error) {
                return error.getSQLState();
            }
        });
        part("copy", c -> {
            StringWriter text = new StringWriter();
            new org.postgresql.copy.CopyManager((org.postgresql.core.BaseConnection) c)
                .copyOut("COPY (SELECT 1 AS a, 'x' AS b) TO STDOUT WITH (FORMAT csv, HEADER)", text);
            return text.toString();
        });
        part("valid", c -> List.of(c.isValid(2), c.getSchema(), c.getCatalog()));
        System.out.println("{" + String.join(",", seen) + "}");
    }
}
