package payments;

import jakarta.servlet.http.HttpServletRequest;
import java.util.Map;
import org.springframework.boot.SpringApplication;
import org.springframework.dao.DataAccessException;
import org.springframework.http.HttpStatus;
import org.springframework.http.ResponseEntity;
import org.springframework.jdbc.core.JdbcTemplate;
import org.springframework.web.bind.annotation.PathVariable;
import org.springframework.web.bind.annotation.PostMapping;
import org.springframework.web.bind.annotation.RequestBody;
import org.springframework.web.bind.annotation.RestController;
import org.springframework.web.server.ResponseStatusException;

/** The service for promises.pl, with handlers that go wrong. */
class Main {
    @RestController
    static class Wrong {
        private final Payments payments;
        private final JdbcTemplate db;

        Wrong(Payments payments, JdbcTemplate db) {
            this.payments = payments;
            this.db = db;
        }

        @PostMapping("/payments/{how}")
        ResponseEntity<?> wrong(@PathVariable String how, @RequestBody Payments.Order order, HttpServletRequest request) {
            var answer = payments.pay(order, request);
            switch (how) {
                case "commit" -> db.execute("COMMIT");
                case "caught" -> {
                    try {
                        db.execute("SELECT 1/0");
                    } catch (DataAccessException error) {
                        answer = ResponseEntity.status(409).body(Map.of("title", "taken"));
                    }
                }
                case "nothing" -> {
                    return ResponseEntity.noContent().build();
                }
                case "refused" -> throw new ResponseStatusException(HttpStatus.PAYMENT_REQUIRED);
                case "unavailable" -> answer = ResponseEntity.status(503).body(Map.of());
                default -> throw new IllegalStateException(how);
            }
            return answer;
        }
    }

    public static void main(String[] arguments) {
        var env = System.getenv();
        // PgBouncer before 1.21 does not support prepared statements.
        var url = "jdbc:postgresql://%s:%s/%s?prepareThreshold=0"
                .formatted(env.get("PGHOST"), env.get("PGPORT"), env.get("PGDATABASE"));
        new SpringApplication(Payments.class, Wrong.class).run(
                "--server.address=127.0.0.1", "--server.port=" + env.get("PORT"), "--spring.main.banner-mode=off", "--logging.level.root=error",
                "--spring.datasource.url=" + url, "--spring.datasource.username=" + env.get("PGUSER"));
    }
}
