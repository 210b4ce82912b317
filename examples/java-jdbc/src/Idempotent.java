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
     * exception, and an answer of 500 and above, undoes all of it, and a retry runs the work again.
     * The request is compared: over HTTP, pass method, path, query and body.
     */
    Answer run(String key, String scope, String request, Work work) throws SQLException {
        try (var connection = db.getConnection()) {
            connection.setAutoCommit(false);
            try {
                var answer = claim(connection, key, scope, request);
                if (answer == null) {
                    answer = work.in(connection);
                    if (answer.status() >= 500) {
                        connection.rollback();
                        return answer;
                    }
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
        try (var statement = connection.prepareStatement("""
                SELECT outcome, status_code, response
                FROM idempotency.claim(key => ?, scope => ?, request => ?::jsonb)""")) {
            statement.setString(1, key);
            statement.setString(2, scope);
            statement.setString(3, request);
            var claim = statement.executeQuery();
            claim.next();
            var outcome = claim.getString("outcome");
            return switch (outcome) {
                case "new" -> null;
                case "replay" -> new Answer(claim.getInt("status_code"), claim.getString("response"));
                // A previous owner has committed a part of the work.
                case "recovered" -> throw new IllegalStateException("claims of the scope have a lease: " + scope);
                default -> new Answer(claim.getInt("status_code"), "{\"title\": \"" + outcome + "\"}");
            };
        }
    }

    private static void complete(Connection connection, String key, String scope, Answer answer) throws SQLException {
        try (var statement = connection.prepareStatement(
                "SELECT idempotency.complete(key => ?, scope => ?, response => ?::jsonb, status_code => ?)")) {
            statement.setString(1, key);
            statement.setString(2, scope);
            statement.setString(3, answer.body());
            statement.setInt(4, answer.status());
            statement.execute();
        }
    }

    /** The HTTP status of an error that the client has caused; any other error is the service's own. */
    static int statusOf(SQLException error) {
        var sqlstate = String.valueOf(error.getSQLState());
        return sqlstate.matches("IK(400|409|412|413|422)") ? Integer.parseInt(sqlstate.substring(2)) : 500;
    }
}
