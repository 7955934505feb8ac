import java.sql.*;
import java.util.*;

/** Declares, reads and drops a continuous aggregate with the Flight SQL JDBC driver. Usage: FlightDeclare PORT. */
public class FlightDeclare {
    public static void main(String[] arguments) throws Exception {
        String url = "jdbc:arrow-flight-sql://127.0.0.1:" + arguments[0] + "/?useEncryption=false";
        Properties properties = new Properties();
        properties.put("user", "anyone");
        properties.put("password", "anything");
        try (Connection connection = DriverManager.getConnection(url, properties);
             Statement statement = connection.createStatement()) {
            int changed = statement.executeUpdate("CREATE MATERIALIZED VIEW by_jdbc WITH (timescaledb.continuous) AS "
                + "SELECT time_bucket('1 hour', timestamp) AS bucket, count(*) AS n FROM events GROUP BY 1");
            ResultSet rows = statement.executeQuery("SELECT n FROM by_jdbc");
            rows.next();
            long read = rows.getLong(1);
            statement.execute("DROP MATERIALIZED VIEW by_jdbc");
            String left = "dropped";
            try {
                statement.executeQuery("SELECT n FROM by_jdbc");
                left = "still there";
            } catch (SQLException error) {
                if (!error.getMessage().contains("42P01")) left = error.getMessage();
            }
            System.out.println(changed + " " + read + " " + left);
        }
    }
}
