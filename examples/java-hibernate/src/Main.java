import java.io.BufferedReader;
import java.io.InputStreamReader;
import org.hibernate.JDBCException;
import org.hibernate.cfg.Configuration;

/** Answers the requests of promises.pl. */
class Main {
    public static void main(String[] arguments) throws Exception {
        var env = System.getenv();
        // PgBouncer before 1.21 does not support prepared statements.
        var url = "jdbc:postgresql://%s:%s/%s?prepareThreshold=0"
                .formatted(env.get("PGHOST"), env.get("PGPORT"), env.get("PGDATABASE"));
        var sessions = new Configuration()
                .addAnnotatedClass(Payments.Payment.class)
                .setJdbcUrl(url)
                .setCredentials(env.get("PGUSER"), "")
                .buildSessionFactory();
        var payments = new Payments(new Idempotent(sessions));

        var input = new BufferedReader(new InputStreamReader(System.in));
        for (String line; (line = input.readLine()) != null; ) {
            var request = line.split(" ");
            Idempotent.Answer answer;
            try {
                answer = payments.pay(request[0], request[1], Integer.parseInt(request[2]));
            } catch (JDBCException error) {
                answer = new Idempotent.Answer(Idempotent.statusOf(error), "{\"title\": \"" + error.getSQLState() + "\"}");
            }
            System.out.println(answer.status() + " " + answer.body());
        }
        sessions.close();
    }
}
