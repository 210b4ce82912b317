import jakarta.persistence.Entity;
import jakarta.persistence.GeneratedValue;
import jakarta.persistence.GenerationType;
import jakarta.persistence.Id;
import jakarta.persistence.Table;
import jakarta.persistence.Tuple;
import java.util.function.Function;
import org.hibernate.JDBCException;
import org.hibernate.Session;
import org.hibernate.SessionFactory;

/** Payments with Hibernate: a transaction template claims the key and stores the answer. */
final class Payments {
    record Answer(int status, String body) {}

    @Entity
    @Table(name = "payments")
    static class Payment {
        @Id
        @GeneratedValue(strategy = GenerationType.IDENTITY)
        Integer id;

        String customer;
        int amount;

        String toJson() {
            return "{\"id\": %d, \"customer\": \"%s\", \"amount\": %d}".formatted(id, customer, amount);
        }
    }

    private final SessionFactory sessions;

    Payments(SessionFactory sessions) {
        this.sessions = sessions;
    }

    /**
     * Runs work once for each key of the scope. Claim, work and answer are one transaction. An
     * exception rolls all of it back, and a retry runs the work again.
     */
    Answer idempotently(String key, String scope, String request, Function<Session, Answer> work) {
        return sessions.fromTransaction(session -> {
            var claim = session.createNativeQuery("SELECT * FROM idempotency.claim(:key, :scope, CAST(:request AS jsonb))", Tuple.class)
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
            session.createNativeQuery("SELECT idempotency.complete(:key, :scope, CAST(:response AS jsonb), status_code => :status)", Object.class)
                    .setParameter("key", key)
                    .setParameter("scope", scope)
                    .setParameter("response", answer.body())
                    .setParameter("status", answer.status())
                    .getSingleResult();
            return answer;
        });
    }

    Answer pay(String key, String customer, int amount) {
        return idempotently(key, "payments/" + customer, "{\"amount\": " + amount + "}", session -> {
            var payment = new Payment();
            payment.customer = customer;
            payment.amount = amount;
            session.persist(payment);
            session.flush();
            return new Answer(201, payment.toJson());
        });
    }

    /** The HTTP status that the extension's SQLSTATEs end in. */
    static int statusOf(JDBCException error) {
        var sqlstate = String.valueOf(error.getSQLState());
        return sqlstate.startsWith("IK") ? Integer.parseInt(sqlstate.substring(2)) : 500;
    }
}
