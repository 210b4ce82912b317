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
     * exception rolls all of it back, and a retry runs the work again.
     */
    Answer run(String key, String scope, String request, Function<Session, Answer> work) {
        return sessions.fromTransaction(session -> {
            var claim = session.createNativeQuery("""
                    SELECT outcome, proceed, status_code, CAST(response AS text)
                    FROM idempotency.claim(:key, :scope, CAST(:request AS jsonb))""", Tuple.class)
                    .setParameter("key", key)
                    .setParameter("scope", scope)
                    .setParameter("request", request)
                    .getSingleResult();
            if (!claim.get("proceed", Boolean.class)) {
                var outcome = claim.get("outcome", String.class);
                return new Answer(
                        claim.get("status_code", Integer.class),
                        outcome.equals("replay") ? claim.get("response", String.class) : "{\"title\": \"" + outcome + "\"}");
            }

            var answer = work.apply(session);
            session.createNativeQuery("""
                    SELECT idempotency.complete(:key, :scope, CAST(:response AS jsonb), status_code => :status)""", Object.class)
                    .setParameter("key", key)
                    .setParameter("scope", scope)
                    .setParameter("response", answer.body())
                    .setParameter("status", answer.status())
                    .getSingleResult();
            return answer;
        });
    }

    /** The HTTP status that the extension's SQLSTATEs end in. */
    static int statusOf(JDBCException error) {
        var sqlstate = String.valueOf(error.getSQLState());
        return sqlstate.startsWith("IK") ? Integer.parseInt(sqlstate.substring(2)) : 500;
    }
}
