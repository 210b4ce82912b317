import java.sql.Connection;
import java.sql.SQLException;
import javax.sql.DataSource;

/** Payments with JDBC: a transaction template claims the key and stores the answer. */
final class Payments {
    record Answer(int status, String body) {}

    @FunctionalInterface
    interface Work {
        Answer in(Connection transaction) throws SQLException;
    }

    private final DataSource db;

    Payments(DataSource db) {
        this.db = db;
    }

    /**
     * Runs work once for each key of the scope. Claim, work and answer are one transaction. An
     * exception rolls all of it back, and a retry runs the work again.
     */
    Answer idempotently(String key, String scope, String request, Work work) throws SQLException {
        try (var connection = db.getConnection()) {
            connection.setAutoCommit(false);
            try {
                var answer = claim(connection, key, scope, request);
                if (answer == null) {
                    answer = work.in(connection);
                    complete(connection, key, scope, answer);
                }
                connection.commit();
                return answer;
            } catch (Throwable error) {
                connection.rollback();
                throw error;
            }
        }
    }

    /** The answer, or null if the work is to be done. */
    private static Answer claim(Connection connection, String key, String scope, String request) throws SQLException {
        try (var statement = connection.prepareStatement("SELECT * FROM idempotency.claim(?, ?, ?::jsonb)")) {
            statement.setString(1, key);
            statement.setString(2, scope);
            statement.setString(3, request);
            var claim = statement.executeQuery();
            claim.next();
            if (claim.getBoolean("proceed")) {
                return null;
            }
            var outcome = claim.getString("outcome");
            return new Answer(
                    claim.getInt("status_code"),
                    outcome.equals("replay") ? claim.getString("response") : "{\"title\": \"" + outcome + "\"}");
        }
    }

    private static void complete(Connection connection, String key, String scope, Answer answer) throws SQLException {
        try (var statement = connection.prepareStatement(
                "SELECT idempotency.complete(?, ?, ?::jsonb, status_code => ?)")) {
            statement.setString(1, key);
            statement.setString(2, scope);
            statement.setString(3, answer.body());
            statement.setInt(4, answer.status());
            statement.execute();
        }
    }

    Answer pay(String key, String customer, int amount) throws SQLException {
        return idempotently(key, "payments/" + customer, "{\"amount\": " + amount + "}", connection -> {
            try (var statement = connection.prepareStatement(
                    "INSERT INTO payments (customer, amount) VALUES (?, ?) RETURNING to_jsonb(payments)")) {
                statement.setString(1, customer);
                statement.setInt(2, amount);
                var payment = statement.executeQuery();
                payment.next();
                return new Answer(201, payment.getString(1));
            }
        });
    }

    /** The HTTP status that the extension's SQLSTATEs end in. */
    static int statusOf(SQLException error) {
        var sqlstate = String.valueOf(error.getSQLState());
        return sqlstate.startsWith("IK") ? Integer.parseInt(sqlstate.substring(2)) : 500;
    }
}
