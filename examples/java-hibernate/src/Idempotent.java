import jakarta.persistence.Tuple;
import java.util.function.Function;
import org.hibernate.JDBCException;
import org.hibernate.Session;
import org.hibernate.SessionFactory;

/** A transaction template that runs its work once for each key. */
record Idempotent(SessionFactory sessions) {
    record Answer(int status, String body) {}

    /**
     * Runs work once for each key of the scope. Claim, work and answer are one transaction. An
     * exception, and an answer of 500 and above, undoes all of it, and a retry runs the work again.
     * The request is compared: over HTTP, pass method, path, query and body.
     */
    Answer run(String key, String scope, String request, Function<Session, Answer> work) {
        return sessions.fromTransaction(session -> {
            var claim = session.createNativeQuery("""
                    SELECT outcome, status_code, CAST(response AS text)
                    FROM idempotency.claim(key => :key, scope => :scope, request => CAST(:request AS jsonb))""", Tuple.class)
                    .setParameter("key", key)
                    .setParameter("scope", scope)
                    .setParameter("request", request)
                    .getSingleResult();
            var outcome = claim.get("outcome", String.class);
            var status = claim.get("status_code", Integer.class);
            switch (outcome) {
                case "new" -> {}
                case "replay" -> {
                    return new Answer(status, claim.get("response", String.class));
                }
                // A previous owner has committed a part of the work.
                case "recovered" -> throw new IllegalStateException("claims of the scope have a lease: " + scope);
                default -> {
                    return new Answer(status, "{\"title\": \"" + outcome + "\"}");
                }
            }

            var answer = work.apply(session);
            if (answer.status() >= 500) {
                session.getTransaction().markRollbackOnly();
                return answer;
            }
            session.createNativeQuery("""
                    SELECT idempotency.complete(key => :key, scope => :scope, response => CAST(:response AS jsonb), status_code => :status)""", Object.class)
                    .setParameter("key", key)
                    .setParameter("scope", scope)
                    .setParameter("response", answer.body())
                    .setParameter("status", answer.status())
                    .getSingleResult();
            return answer;
        });
    }

    /** The HTTP status of an error that the client has caused; any other error is the service's own. */
    static int statusOf(JDBCException error) {
        var sqlstate = String.valueOf(error.getSQLState());
        return sqlstate.matches("IK(400|409|412|413|422)") ? Integer.parseInt(sqlstate.substring(2)) : 500;
    }
}
