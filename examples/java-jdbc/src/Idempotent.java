import java.sql.Connection;
import java.sql.SQLException;
import javax.sql.DataSource;

/** A transaction template that runs its work once for each key. */
record Idempotent(DataSource db) {
    record Answer(int status, String body) {}

    @FunctionalInterface
    interface Work {
        Answer in(Connection transaction) throws SQLException;
    }

    /**
     * Runs work once for each key of the scope. Claim, work and answer are one transaction. An
     * exception rolls all of it back, and a retry runs the work again.
     */
    Answer run(String key, String scope, String request, Work work) throws SQLException {
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

    /** The HTTP status that the extension's SQLSTATEs end in. */
    static int statusOf(SQLException error) {
        var sqlstate = String.valueOf(error.getSQLState());
        return sqlstate.startsWith("IK") ? Integer.parseInt(sqlstate.substring(2)) : 500;
    }
}
