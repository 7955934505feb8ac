import java.sql.*;
import java.util.*;

/** Queries Whence with the Flight SQL JDBC driver. Usage: FlightQuery PORT SERVICE. Prints one line of JSON. */
public class FlightQuery {
    static final Map<String, String> result = new LinkedHashMap<>();

    static void say(String key, Object value) {
        result.put(key, "\"" + String.valueOf(value).replace("\\", "\\\\").replace("\"", "\\\"").replaceAll("\\s+", " ") + "\"");
    }

    static List<String> column(ResultSet rows, String name) throws SQLException {
        List<String> values = new ArrayList<>();
        try (rows) {
            while (rows.next()) values.add(rows.getString(name));
        }
        return values;
    }

    static String refused(Statement statement, String sql) {
        try {
            statement.execute(sql);
            return "answered";
        } catch (SQLException error) {
            return error.getMessage();
        }
    }

    public static void main(String[] arguments) throws Exception {
        String url = "jdbc:arrow-flight-sql://127.0.0.1:" + arguments[0] + "/?useEncryption=false";
        Properties properties = new Properties();
        properties.put("user", "anyone");
        properties.put("password", "anything");
        try (Connection connection = DriverManager.getConnection(url, properties)) {
            try (Statement statement = connection.createStatement()) {
                ResultSet rows = statement.executeQuery(
                    "SELECT name, timestamp, duration_ns, status, trace_id FROM events WHERE signal = 'span' ORDER BY timestamp");
                List<String> names = new ArrayList<>();
                while (rows.next()) {
                    names.add(rows.getString("name"));
                    if (rows.getTimestamp("timestamp") == null) throw new IllegalStateException("no time");
                    if (rows.getLong("duration_ns") <= 0) throw new IllegalStateException("no duration");
                }
                say("names", names);
                ResultSet many = statement.executeQuery("SELECT n FROM generate_series(1, 100000) AS t(n)");
                int count = 0;
                while (many.next()) count++;
                say("streamed", count);
                say("delete", refused(statement, "DELETE FROM events"));
                say("unknown", refused(statement, "SELECT nope FROM events"));
            }
            String counted = "SELECT count(*) AS n FROM events WHERE asset_id = ? AND duration_ns >= ?";
            try (PreparedStatement statement = connection.prepareStatement(counted.replaceFirst("\\?", "\\$1").replaceFirst("\\?", "\\$2"))) {
                statement.setString(1, arguments[1]);
                statement.setLong(2, 1);
                ResultSet rows = statement.executeQuery();
                rows.next();
                say("bound", rows.getLong(1));
            }
            DatabaseMetaData about = connection.getMetaData();
            say("product", about.getDatabaseProductName());
            say("read_only", about.isReadOnly());
            say("catalogs", column(about.getCatalogs(), "TABLE_CAT"));
            say("schemas", column(about.getSchemas(), "TABLE_SCHEM"));
            say("tables", column(about.getTables(null, "public", "%", null), "TABLE_NAME"));
            say("table_types", column(about.getTableTypes(), "TABLE_TYPE"));
            say("columns", column(about.getColumns(null, "public", "correlations", "%"), "COLUMN_NAME"));
            say("primary_keys", column(about.getPrimaryKeys(null, "public", "events"), "COLUMN_NAME"));
            say("imported_keys", column(about.getImportedKeys(null, "public", "events"), "PKCOLUMN_NAME"));
        }
        StringJoiner json = new StringJoiner(",", "{", "}");
        result.forEach((key, value) -> json.add("\"" + key + "\":" + value));
        System.out.println(json);
    }
}
