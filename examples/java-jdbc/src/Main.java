import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.sql.SQLException;
import org.postgresql.ds.PGSimpleDataSource;

/** Answers the requests of promises.pl. */
class Main {
    public static void main(String[] arguments) throws Exception {
        var env = System.getenv();
        var db = new PGSimpleDataSource();
        db.setServerNames(new String[] {env.get("PGHOST")});
        db.setPortNumbers(new int[] {Integer.parseInt(env.get("PGPORT"))});
        db.setDatabaseName(env.get("PGDATABASE"));
        db.setUser(env.get("PGUSER"));
        db.setPrepareThreshold(0); // PgBouncer before 1.21 does not support prepared statements.
        var payments = new Payments(new Idempotent(db));

        var input = new BufferedReader(new InputStreamReader(System.in));
        for (String line; (line = input.readLine()) != null; ) {
            var request = line.split(" ");
            Idempotent.Answer answer;
            try {
                answer = payments.pay(request[0], request[1], Integer.parseInt(request[2]));
            } catch (SQLException error) {
                answer = new Idempotent.Answer(Idempotent.statusOf(error), "{\"title\": \"" + error.getSQLState() + "\"}");
            }
            System.out.println(answer.status() + " " + answer.body());
        }
    }
}
